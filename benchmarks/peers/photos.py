"""Photos to measure with: drawn scenes, as JPEG of 640 x 480 with PNG masks of 0 and 255."""

from pathlib import Path

import cv2
import numpy as np

from kseg.data.synthetic import draw_scene

FILES = 200
"""Scenes that are drawn; more samples are links to them."""

Pair = tuple[Path, Path]


def make_photos(root: Path, count: int) -> Path:
    """``count`` samples in root/images and root/masks."""
    drawn = [_pair(root, index) for index in range(min(count, FILES))]
    _make_folders(root)
    for index, (photo, mask) in enumerate(drawn):
        picture, parts = draw_scene(0, index, 120, 160)
        large = cv2.resize(picture, (640, 480), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(photo), cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
        people = np.where(parts > 0, 255, 0).astype(np.uint8)
        cv2.imwrite(str(mask), cv2.resize(people, (640, 480), interpolation=cv2.INTER_NEAREST))
    _link(root, drawn, range(len(drawn), count))
    return root


def link_photos(root: Path, data: Path, count: int) -> Path:
    """``count`` samples in root/images and root/masks that are links to those of ``data``."""
    _make_folders(root)
    pairs = [(photo, data / "masks" / f"{photo.stem}.png") for photo in sorted((data / "images").iterdir())]
    _link(root, pairs, range(count))
    return root


def _make_folders(root: Path) -> None:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)


def _link(root: Path, originals: list[Pair], indices: range) -> None:
    for index in indices:
        for link, file in zip(_pair(root, index), originals[index % len(originals)], strict=True):
            link.with_suffix(file.suffix).symlink_to(file.resolve())


def _pair(root: Path, index: int) -> Pair:
    return root / "images" / f"{index:06}.jpg", root / "masks" / f"{index:06}.png"
