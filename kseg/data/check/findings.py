"""What can be wrong, and how bad that is."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How bad a finding is; the worst first."""

    ERROR = "error"
    """Training would stop, or its scores would lie."""
    WARNING = "warning"
    """Training goes on, and somebody should look at it."""
    NOTE = "note"
    """Good to know."""


class Kind(StrEnum):
    """What a finding is about, in the order of a report."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    WRONG_TYPE = "wrong type"
    SAME_STEM = "same stem"
    NAME = "same name"
    NO_MASK = "missing mask"
    NO_PICTURE = "orphan mask"
    ENDING = "other file"
    ASPECT = "another aspect"
    EXIF = "EXIF orientation"
    UNKNOWN_VALUES = "unknown values"
    LOSSY = "lossy mask"
    LEAK = "duplicate across the split"
    NEAR_LEAK = "near duplicate across the split"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"
    EMPTY = "empty mask"
    FULL = "full mask"
    TINY = "tiny object"
    CLASS = "absent class"
    SPLIT = "split"


MEANINGS = {
    Kind.UNREADABLE: "Files that are empty, damaged, or of a kind that cannot be used.",
    Kind.TRUNCATED: "Files whose end is missing, as an interrupted copy or download leaves them.",
    Kind.WRONG_TYPE: "Files that are something else than their name says.",
    Kind.SAME_STEM: "Several files that are told apart by their endings only: which one belongs to the mask?",
    Kind.NAME: "Samples of several sources that have one name: lists and reports could not tell them apart.",
    Kind.NO_MASK: "Pictures without a mask.",
    Kind.NO_PICTURE: "Masks without a picture.",
    Kind.ENDING: "What lies in the folders and is not used.",
    Kind.ASPECT: "Masks of another shape than their photo, so that they cannot be of the same view.",
    Kind.EXIF: "Photos that their EXIF data turn upright, while their masks were drawn on the photo as it is stored.",
    Kind.UNKNOWN_VALUES: "Masks with values that no setting gives a meaning.",
    Kind.LOSSY: "Masks that were compressed with loss, or resized smoothly: their values are no labels any more.",
    Kind.LEAK: "The same file trains and validates: scores promise more than the network can do.",
    Kind.NEAR_LEAK: "The same picture, stored anew, trains and validates: scores promise more than the network can do.",
    Kind.DUPLICATE: "The same file more than once on one side of the split.",
    Kind.NEAR_DUPLICATE: "The same picture, stored anew, resized or mirrored, on one side of the split.",
    Kind.EMPTY: "Masks in which nothing is labelled: right where there is nothing, a lie where somebody forgot.",
    Kind.FULL: "Masks that are one class all over.",
    Kind.TINY: "Labelled spots of a few pixels at the network's size: slips of the pen, or too small to be learnt.",
    Kind.CLASS: "Classes that no mask shows: nothing can be learnt of them.",
    Kind.SPLIT: "Which samples train and which validate.",
}
"""For a reader of the report."""


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        kind: What it is about.
        severity: How bad it is.
        message: Names the file, the value and the fix.
        samples: Names of the samples it is about; none where a file belongs to none.
        files: Those it is about, if it is about files.
    """

    kind: Kind
    severity: Severity
    message: str
    samples: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
