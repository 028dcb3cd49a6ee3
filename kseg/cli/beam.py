"""The options of commands whose work Apache Beam can spread over many machines."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from kseg.errors import ConfigError

if TYPE_CHECKING:
    from kseg.beam import Beam

Command = TypeVar("Command", bound=Callable[..., object])


def beam_options(command: Command) -> Command:
    """``--beam-runner [NAME]`` as ``beam_runner``; ``--beam-option KEY=VALUE``, any number of times."""
    runner = click.option(
        "--beam-runner",
        is_flag=False,
        flag_value="DirectRunner",
        metavar="[NAME]",
        help="Spread the work by Apache Beam: DirectRunner, DataflowRunner, FlinkRunner, ...  [alone: DirectRunner]",
    )
    option = click.option(
        "--beam-option",
        "beam_options",
        multiple=True,
        metavar="KEY[=VALUE]",
        help="Of that runner, such as direct_num_workers=8; may be given several times.",
    )
    return runner(option(command))


def chosen_beam(runner: str | None, options: Sequence[str]) -> "Beam | None":
    """What the options say, if anything. Raises ConfigError if that cannot be, or Beam is not installed."""
    if runner is None:
        if options:
            raise ConfigError(f"--beam-option {options[0]}: belongs to --beam-runner, which is not given")
        return None
    logging.disable(logging.WARNING)  # Beam warns of the parts of Google's cloud that are not installed
    try:
        from kseg.beam import Beam  # takes a second, and few need it
    except ModuleNotFoundError as error:
        raise ConfigError(f"--beam-runner needs Apache Beam ({error}); pip install 'kseg[beam]'") from None
    finally:
        logging.disable(logging.NOTSET)
    return Beam(runner, options)
