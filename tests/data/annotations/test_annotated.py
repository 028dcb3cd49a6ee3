"""What all sources of outlines ask for."""

import pytest
from outlines import settings

from kseg.data.sources import FILES
from kseg.errors import ConfigError, KsegError

OUTLINES = ("coco", "labelme", "cvat")


@pytest.mark.parametrize("kind", OUTLINES)
@pytest.mark.parametrize("classes", [("person", "car"), ("person", "background", "car")])
def test_what_no_outline_holds_needs_a_class(tmp_path, kind, classes):
    message = rf'class 0, which data\.source = {kind} .*classes = \["background", "person", "car"\]'
    with pytest.raises(ConfigError, match=message):
        FILES[kind](settings(tmp_path, classes=classes))


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        *((kind, classes) for kind in OUTLINES for classes in (("person",), ("background", "person", "car"))),
        ("panoptic", ("person", "car")),
    ],
)
def test_where_it_has_one_the_files_are_looked_for(tmp_path, kind, classes):
    with pytest.raises(KsegError, match=r"data\.annotations|no such folder|annotations\.xml"):
        FILES[kind](settings(tmp_path, classes=classes))
