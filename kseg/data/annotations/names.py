"""From the labels of outlines and segments, which are names, to class ids."""

from collections.abc import Iterable, Mapping, Sequence

from kseg.data.labels import OTHER, class_id
from kseg.errors import ConfigError, DataError, did_you_mean
from kseg.palette import BACKGROUND

CROWD = "crowd"
"""The key of ``data.mask_values`` for regions that hold many objects of a label, not drawn one by one."""

VOID = "void"
"""The key for the pixels of a panoptic picture that belong to no segment."""

SHOWN = 30
"""How many labels a message lists."""


class LabelNames:
    """What each label means.

    A label that ``mask_values`` names is what it says there; else, one with the name of a class is that class; else,
    it is what ``"other"`` says. Upper and lower case differ. In the binary case ``background`` is a class, too.
    """

    def __init__(
        self,
        classes: Sequence[str],
        mask_values: Mapping[str, str | int] | None = None,
        ignore_class: int = 255,
    ) -> None:
        self.classes = (BACKGROUND, *classes) if len(classes) == 1 else tuple(classes)
        """By class id."""
        self.no_object = {ignore_class, *([0] if self.classes[0] == BACKGROUND else [])}
        """The ids of what is no object: ignored or, where there is such a class, background."""
        self._given = {key: class_id(key, value, classes, ignore_class) for key, value in (mask_values or {}).items()}
        self._other = self._given.pop(OTHER, None)
        self._ids = {name: number for number, name in enumerate(self.classes)} | self._given
        self.void = self._given.get(VOID, ignore_class)
        """The id of what belongs to no segment of a panoptic picture."""
        self._crowd = self._given.get(CROWD, ignore_class)

    def id_of(self, label: str, crowd: bool = False) -> int:
        """The class id of a label; of a crowd, what ``"crowd"`` says (unless told, it is ignored).

        A crowd of what is background, or ignored, stays that: whatever ``"crowd"`` says, sheep are no people.
        Raises DataError if the label is unknown.
        """
        found = self._ids.get(label, self._other)
        if found is None:
            raise DataError(self._complain({label: 1}))
        return self._crowd if crowd and found not in self.no_object else found

    def require_known(self, where: str, counts: Mapping[str, int], declared: Iterable[str] | None = None) -> None:
        """Check the labels of a whole data set against the settings.

        Args:
            where: What messages call the data set.
            counts: How often each label is used; 0 where that is not known.
            declared: Labels that exist, used or not; None if nothing lists them, so that a label of the settings may
                only happen not to be used.

        Raises:
            DataError: some labels mean nothing; all are listed.
            ConfigError: ``mask_values`` names a label that does not exist, or seems to be misspelt.
        """
        unknown = {label: count for label, count in counts.items() if self._ids.get(label, self._other) is None}
        if unknown:
            raise DataError(f"{where}: {self._complain(unknown)}")
        labels = {*counts, *(declared or ())}
        for key in self._given.keys() - labels - {CROWD, VOID}:
            meant = did_you_mean(key, labels - self._given.keys())
            if meant or declared is not None:
                raise ConfigError(
                    f'data.mask_values: "{key}" is no label of {where}{meant}; '
                    f"there are {_listing(sorted(labels))}; correct it, or name the other one as well"
                )

    def _complain(self, unknown: Mapping[str, int]) -> str:
        by_count = sorted(unknown, key=lambda label: (-unknown[label], label))
        found = [
            label + (f" ({unknown[label]})" if unknown[label] else "") + did_you_mean(label, self._ids)
            for label in by_count
        ]
        rest = BACKGROUND if BACKGROUND in self.classes else "ignore"
        return (
            f"unknown labels {_listing(found)}; known are {', '.join(self._ids)}; "
            f'map them, such as mask_values = {{ "{by_count[0]}" = "{rest}" }}, or all of them with "other" = "{rest}"'
        )


def _listing(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more
