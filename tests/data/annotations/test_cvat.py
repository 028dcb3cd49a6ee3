import numpy as np
import pytest
from outlines import filled, make_picture, settings

from kseg.data.annotations.cvat import CvatSource
from kseg.errors import ConfigError, DataError

META = "<meta><task><labels><label><name>person</name></label><label><name>dog</name></label></labels></task></meta>"
SQUARE = '<polygon label="person" points="1.00,1.00;4.00,1.00;4.00,4.00;1.00,4.00" z_order="0" occluded="0"/>'


@pytest.fixture
def root(tmp_path):
    make_picture(tmp_path / "images" / "a.png")
    return tmp_path


def image(*shapes, name="a.png", size='width="6" height="6"'):
    return f'<image id="0" name="{name}" {size}>{"".join(shapes)}</image>'


def opened(root, *images, head='<?xml version="1.0" encoding="utf-8"?>', **given):
    text = f"{head}<annotations><version>1.1</version>{META}{''.join(images)}</annotations>"
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return CvatSource(settings(root, **({"mask_values": {"dog": "background"}} | given)))


def mask_of(root, *shapes, **given):
    return opened(root, image(*shapes), **given).load(0).mask


def test_shapes_lie_above_one_another_by_their_z_order_then_by_the_files_order(root):
    def square(left, z_order):
        label = "dog" if left == 2 else "person"
        return f'<box label="{label}" xtl="{left}" ytl="1" xbr="{left + 3}" ybr="4" z_order="{z_order}"/>'

    above, below = filled((1, 1, 4, 4, 1), (1, 2, 4, 5, 0)), filled((1, 1, 4, 4, 1))
    np.testing.assert_array_equal(mask_of(root, square(1, 0), square(2, 0)), above)
    np.testing.assert_array_equal(mask_of(root, square(2, 0), square(1, 0)), below)
    np.testing.assert_array_equal(mask_of(root, square(2, 10), square(1, 9)), above)
    np.testing.assert_array_equal(mask_of(root, square(1, -1), square(2, -2)), below)


def test_each_kind_by_hand(root):
    for shape in (
        SQUARE,
        '<box label="person" xtl="1" ytl="1" xbr="4" ybr="4"/>',
        # around (2.5, 2.5), turned by a right angle: itself
        '<box label="person" xtl="1" ytl="1" xbr="4" ybr="4" rotation="90.00"/>',
        '<ellipse label="person" cx="2.5" cy="2.5" rx="1.5" ry="1.5"/>',
        '<mask label="person" rle="0, 9" left="1" top="1" width="3" height="3"/>',
    ):
        np.testing.assert_array_equal(mask_of(root, shape), filled((1, 1, 4, 4, 1)))
    lying = '<{} label="person" {} rotation="90.0"/>'
    shape = lying.format("box", 'xtl="0" ytl="2" xbr="4" ybr="3"')  # around (2, 2.5): x 1.5 to 2.5, y 0.5 to 4.5
    np.testing.assert_array_equal(mask_of(root, shape)[:, [0, 3, 4, 5]], 0)
    assert mask_of(root, shape)[1:4].any(axis=1).all()
    shape = lying.format("ellipse", 'cx="2.5" cy="2.5" rx="2.1" ry="0.4"')
    np.testing.assert_array_equal(
        mask_of(root, shape), filled((0, 2, 5, 3, 1)) & filled((1, 2, 6, 3, 1)) | filled((0, 2, 5, 3, 1))
    )


def test_a_rotation_goes_clockwise_as_seen(root):
    # from the middle (3, 3), a thin ellipse to the right and left; 45 degrees clockwise, it goes down to the right
    found = mask_of(root, '<ellipse label="person" cx="3" cy="3" rx="4" ry="0.5" rotation="45"/>')
    np.testing.assert_array_equal(found, np.eye(6))


def test_runs_go_row_by_row_within_their_box(root):
    # 1 outside, 2 inside | 1 inside, 2 outside
    found = mask_of(root, '<mask label="person" rle="1, 3, 2" left="2" top="3" width="3" height="2"/>')
    np.testing.assert_array_equal(found, filled((3, 3, 4, 5, 1), (4, 2, 5, 3, 1)))


def test_marks_are_passed_over_and_lines_are_of_no_class(root):
    marks = (
        '<tag label="blurred" source="manual"/><points label="nose" points="1,1"/>'
        '<skeleton label="body"><points label="hand" points="1,1"/></skeleton>'
    )
    np.testing.assert_array_equal(mask_of(root, marks, SQUARE), filled((1, 1, 4, 4, 1)))
    with pytest.raises(DataError, match=r"annotations\.xml: a\.png: shape 1, a polyline of person: it has no area"):
        mask_of(root, '<polyline label="person" points="1,1;4,4"/>')
    np.testing.assert_array_equal(mask_of(root, '<cuboid label="dog"/>', SQUARE), filled((1, 1, 4, 4, 1)))


def test_pictures_are_listed_by_name_and_turned(root):
    make_picture(root / "images" / "day 1" / "b.jpg", 6, 8, orientation=6)
    source = opened(root, image(SQUARE, name="day 1/b.jpg", size='width="8" height="6"'), image())
    assert source.names == [f"{root.name}/a", f"{root.name}/day 1/b"]
    assert not source.load(0).mask.any()
    stored = filled((1, 1, 4, 4, 1), size=(6, 8))
    np.testing.assert_array_equal(source.load(1).mask, stored[::-1].T)  # a quarter turn to the right
    source = opened(root, image(name="day 1/b.jpg", size='width="9" height="6"'))
    with pytest.raises(DataError, match=r"states 9 x 6 .*b\.jpg, which is 6 x 8"):
        source.load(0)
    assert opened(root, image(SQUARE, size="")).load(0).mask.any()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<polygon label="person" points="1,1;2,2"/>', "a polygon of person: an outline of 2 points"),
        ('<polygon label="person"/>', "no pairs of numbers"),
        ('<polygon label="person" points="1,1;2,2;3"/>', "no pairs of numbers"),
        ('<polygon label="person" points="1,1;2,2;nan,3"/>', "not finite"),
        ('<polygon label="person" points="1,1;2,2;1e99,3"/>', "far outside"),
        ('<box label="person" xtl="1" ytl="1" xbr="4"/>', "ybr is None, and no finite number"),
        ('<box label="person" xtl="1" ytl="1" xbr="4" ybr="inf"/>', "ybr is 'inf', and no finite number"),
        ('<box label="person" xtl="1" ytl="1" xbr="4" ybr="4" rotation="x"/>', "rotation is 'x'"),
        ('<ellipse label="person" cx="2.5" cy="2.5" rx="-1" ry="1.5"/>', "radii -1 and 1.5"),
        ('<mask label="person" left="1" top="1" width="3" height="3"/>', "its runs"),
        ('<mask label="person" rle="9, x" left="1" top="1" width="3" height="3"/>', "its runs"),
        ('<mask label="person" rle="8" left="1" top="1" width="3" height="3"/>', "fill 8 pixels"),
        ('<mask label="person" rle="0, 9" left="5" top="1" width="3" height="3"/>', "one of another picture"),
        ('<mask label="person" rle="0, 1" left="0" top="0" width="1e18" height="1"/>', "one of another picture"),
    ],
)
def test_shapes_that_cannot_be_drawn_are_named_when_loaded(root, shape, message):
    source = opened(root, image(shape))
    with pytest.raises(DataError, match=rf"annotations\.xml: a\.png: shape 1, .*{message}"):
        source.load(0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no picture in it"),
        (["<image>"], "no sound XML"),
        (["<image/>"], "leads out of"),
        (['<track id="0" label="person"/>'], "tracks of a video"),
        ([image(name="../a.png")], r"a\.png' leads out of"),
        ([image(), image(name="a.jpg")], "two pictures have the name a,"),
        ([image(size='width="x" height="6"')], "width is 'x', and no finite number"),
        ([image('<box label="person" z_order="top"/>')], "z_order is 'top'"),
        (["&bomb;"], "no sound XML"),
    ],
)
def test_a_file_that_is_not_of_images_is_refused_when_opened(root, images, message):
    with pytest.raises(DataError, match=rf"annotations\.xml: .*{message}"):
        opened(root, *images)


@pytest.mark.parametrize("before", ["", "<!-- " + "x" * 100_000 + " -->"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_definitions_are_refused_before_any_is_used(root, before, encoding):
    bomb = '<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;">]>'
    text = f'<?xml version="1.0" encoding="{encoding}"?>{before}{bomb}<annotations>&b;{image()}</annotations>'
    (root / "annotations.xml").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="has a document type"):
        CvatSource(settings(root))


def test_what_is_not_text_and_what_is_missing_is_named(root):
    with pytest.raises(DataError, match=r"annotations\.xml: cannot be read: No such file"):
        CvatSource(settings(root))
    for content in (b"", b"\x00\xff", b'<?xml version="1.0" encoding="nonsense"?><a/>'):
        (root / "annotations.xml").write_bytes(content)
        with pytest.raises(DataError, match="no sound XML"):
            CvatSource(settings(root))


def test_unknown_labels_and_labels_of_the_settings_that_do_not_exist(root):
    with pytest.raises(DataError, match=r"unknown labels dog \(1\)"):
        opened(root, image(SQUARE.replace("person", "dog")), mask_values={})
    with pytest.raises(ConfigError, match=r"\"horse\" is no label .*there are dog, person"):
        opened(root, image(SQUARE), mask_values={"horse": "background"})
