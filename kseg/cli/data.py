"""``kseg-data``: what is to be known of photos and masks before a training, and what is to be done with them."""

import click

from kseg.cli.data_check import check
from kseg.cli.data_prepare import prepare
from kseg.cli.data_preview import preview
from kseg.cli.data_serve import serve


@click.group()
def main() -> None:
    """Look at data sets, find what is wrong with them, prepare them once for many trainings, and serve them."""


for command in (check, prepare, preview, serve):
    main.add_command(command)
