import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFont

from kseg.cli.data_preview import preview
from kseg.palette import OKABE_ITO, Palette
from kseg.pictures import GAP, LINE, TILE, draw_samples, sheet

SMALL = ("--set", "data.image_size=[64, 64]")


def run(*arguments):
    return CliRunner().invoke(preview, [str(argument) for argument in arguments], prog_name="kseg-data preview")


def test_samples_come_in_sheets_of_eight(photos, config, tmp_path):
    done = run(config(), "--data", photos, *SMALL, "--samples", 11, "--variants", 2, "--out", tmp_path / "x" / "s.png")
    assert done.exit_code == 0, done.output
    first, second = (np.asarray(Image.open(tmp_path / "x" / f"s-{number}.png")) for number in (1, 2))
    assert first.shape == (4 * (TILE + LINE) + 2 * LINE + 2 * GAP, GAP + 8 * (TILE + GAP), 3)
    assert second.shape[1] == GAP + 3 * (TILE + GAP)


def test_a_named_sample_is_drawn_and_variants_are_those_of_the_settings(photos, config, tmp_path):
    """Without augmentation all variants are the mask's row; with flips for certain, its mirror image."""
    rows = {}
    for flip in (0.0, 1.0):
        out = tmp_path / f"{flip}.png"
        options = ("--name", "p003", "--out", out, "--set", f"augmentation.horizontal_flip={flip}", "--variants", 1)
        assert run(config(), "--data", photos, *SMALL, *options).exit_code == 0
        page = np.asarray(Image.open(out))
        tops = [row * (TILE + LINE) + LINE for row in range(3)]
        rows[flip] = [page[top : top + TILE, GAP : GAP + TILE] for top in tops]
    np.testing.assert_array_equal(rows[0.0][2], rows[0.0][1])
    assert (rows[1.0][2] != rows[1.0][1]).any()
    # outlines are drawn after mirroring and smoothed, so the two differ by a shade there
    assert np.abs(rows[1.0][2][:, ::-1].astype(int) - rows[1.0][1]).mean() < 2


def test_a_broken_sample_is_named_and_left_out(photos, config, tmp_path):
    (photos / "images" / "p000.jpg").write_bytes(b"junk")
    done = run(config(), "--data", photos, *SMALL, "--out", tmp_path / "s.png")
    assert done.exit_code == 0
    assert "left out: " in done.output
    assert "p000.jpg: not a picture" in done.output
    for path in (photos / "images").iterdir():
        path.write_bytes(b"junk")
    done = run(config(), "--data", photos, *SMALL, "--out", tmp_path / "t.png")
    assert done.exit_code == 1
    assert not (tmp_path / "t.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--name", "p0033"), "--name: no sample is called p0033"), (("--set", "data.rots=1"), "data.rots")],
)
def test_bad_input_is_explained(photos, config, options, message):
    done = run(config(), "--data", photos, *options)
    assert done.exit_code == 1
    assert message in done.output


def test_a_long_legend_takes_several_lines_and_names_only_what_is_seen(tmp_path):
    palette = Palette.of(["background", *(f"a rather long name {number}" for number in range(40))])
    picture = np.zeros((64, 64, 3), np.uint8)
    everything = np.arange(64 * 64, dtype=np.int64).reshape(64, 64) % 41
    draw_samples(tmp_path / "all.png", {"x": [(picture, everything.astype(np.uint8))]}, palette)
    draw_samples(tmp_path / "one.png", {"x": [(picture, np.ones((64, 64), np.uint8))]}, palette)
    every, one = (np.asarray(Image.open(tmp_path / name)) for name in ("all.png", "one.png"))
    assert len(every) - len(one) == 39 * LINE  # on a narrow page every class has a line of its own
    below = one[2 * (TILE + LINE) :]
    assert (below == OKABE_ITO[0]).all(axis=-1).any()
    assert not (below == OKABE_ITO[1]).all(axis=-1).any()


def test_a_long_caption_keeps_its_end():
    """What tells two names apart is at their end."""
    font = ImageFont.load_default(15)
    pages = [
        sheet({"a": [np.zeros((TILE, TILE, 3), np.uint8)] * 2}, {"b": (1, 2, 3)}, [f"{'long/' * 30}{end}", "short"])
        for end in ("one", "two")
    ]
    assert font.getlength("long/" * 30) > TILE
    band = slice(TILE + LINE, TILE + 2 * LINE + GAP)
    assert (pages[0][band] != pages[1][band]).any()
    gap = slice(GAP + TILE, GAP + TILE + GAP)
    np.testing.assert_array_equal(pages[0][band, gap], 255)


@pytest.mark.parametrize("name", ["sheet", "sheet.jpgg", "sheet.tiff"])
def test_an_ending_of_no_picture_is_refused(photos, config, tmp_path, name):
    done = run(config(), "--data", photos, *SMALL, "--out", tmp_path / name)
    assert done.exit_code == 1
    assert f"--out {tmp_path / name}: ends in none of .png, .jpg, .jpeg, .webp" in done.output
    assert not (tmp_path / name).exists()
