"""What commands share: options, TensorFlow kept quiet, and how they end when something is wrong."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from kseg.errors import KsegError

Command = TypeVar("Command", bound=Callable[..., object])

INTERRUPTED = 130
"""The exit status of a program ended by Ctrl-C: 128 + SIGINT."""


def data_option(explained: str) -> Callable[[Command], Command]:
    """``--data DIR``, any number of times, as ``roots``."""
    place = click.Path(path_type=Path)
    return click.option("--data", "roots", multiple=True, type=place, metavar="DIR", help=explained)


def set_option(explained: str) -> Callable[[Command], Command]:
    """``--set KEY=VALUE``, any number of times, as ``overrides``."""
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=explained)


def batch_size_option(explained: str) -> Callable[[Command], Command]:
    """``--batch-size N``, at least 1."""
    number = click.IntRange(min=1)
    return click.option("--batch-size", type=number, default=4, show_default=True, metavar="N", help=explained)


def import_tensorflow() -> None:
    """Import TensorFlow, without its remarks on CPU instructions and on GPUs that are not there.

    They come from C++, on the process's own standard error, before any log level counts. Whoever sets
    ``TF_CPP_MIN_LOG_LEVEL`` wants to see them, and does.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import tensorflow as tf

        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device, not a path
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for GPUs now, where its failure is not heard
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def errors_as_messages(
    saves_memory: str = "lower training.batch_size or data.image_size, or set data.cache=false",
) -> Iterator[None]:
    """Print what kseg raises on purpose as a message, without a traceback, and leave with status 1.

    ``saves_memory`` is what to advise whoever has not enough, with the options of this command.
    """
    try:
        yield
    except KsegError as error:
        _leave(str(error), 1)
    except MemoryError:
        _leave(f"not enough memory; {saves_memory}", 1)


def progress(length: int, label: str) -> Any:
    """A progress bar on standard error, where that is a terminal; ``update(1)`` moves it."""
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def interrupted(message: str) -> NoReturn:
    """End after Ctrl-C, saying how to go on."""
    _leave(message, INTERRUPTED)


def _leave(message: str, status: int) -> NoReturn:
    sys.stdout.flush()
    command = click.get_current_context().info_name
    click.echo(f"{command}: {message}", err=True)
    sys.exit(status)
