"""Everything kseg raises on purpose.

    KsegError
    +-- ConfigError     a setting that cannot be
    +-- DataError       a picture, a mask or a folder that cannot be used
    +-- WeightsError    weights trained before that cannot be had, read or made to fit
    +-- TrainingError   a training that cannot start, go on or be resumed
    +-- ExportError     a network that cannot be exported or published
    +-- ServingError    a server that cannot be reached, or answers what makes no sense

The library raises; the commands print the message, without a traceback, and leave with status 1.
A message names the file, what was found in it, and what to do about it.
"""

import difflib
from collections.abc import Iterable


class KsegError(Exception):
    """Base of all of kseg's own errors; its text is complete enough to be shown to the user as it is."""


class ConfigError(KsegError):
    """A setting is unknown, of the wrong type, or impossible."""


class DataError(KsegError):
    """A picture, a mask or a folder of them cannot be used."""


class WeightsError(KsegError):
    """Weights trained before cannot be fetched, read, or made to fit the network."""


class TrainingError(KsegError):
    """A training cannot start, go on, or be resumed."""


class ExportError(KsegError):
    """A network cannot be exported, or an export not be published."""


class ServingError(KsegError):
    """A server of models cannot be reached, refuses, takes too long, or answers what makes no sense."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` with the known word nearest to ``word``, or nothing where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
