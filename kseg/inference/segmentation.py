"""What the network says of one photo, and what is made of it: overlay, cut-out, new background, outlines, COCO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from kseg.data.fitting import Box, fit_mask, fit_picture
from kseg.errors import DataError
from kseg.inference.cleaning import Cleaning
from kseg.inference.outlines import Polygon, outline, run_lengths
from kseg.logits import SOFT
from kseg.palette import Palette
from kseg.pictures import overlay, with_legend

BLUR = 0.025
"""Standard deviation of the blurred background's Gaussian, as a share of the photo's longer side."""

BLURRED_AT = 512
"""Longer side at which the background is blurred: nothing finer is left of it anyway."""

SHOWN_AT = 1024
"""Longest side of the picture a notebook shows."""


def black(size: tuple[int, int]) -> np.ndarray:
    """The picture of a photo that nobody will look at: uint8 (*size, 3), of no memory."""
    return np.broadcast_to(np.uint8(0), (*size, 3))


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """A photo and its classes, pixel by pixel. A notebook shows it as the photo with the classes over it.

    Attributes:
        picture: uint8 (H, W, 3), RGB.
        mask: uint8 (H, W), class ids.
        probabilities: float32 (H, W, C) in [0, 1]; C = 1: of the one class, else of every class id. None: not kept.
        classes: Names by class id. The first may be "background": what is left of the photo.
        colours: ``"#rrggbb"`` by name, of the classes that are not drawn in kseg's own.
        several: Whether the network had a probability for every class id; False: one, for the class against the
            background.

    Raises:
        DataError: the arrays do not belong together.
    """

    picture: np.ndarray
    mask: np.ndarray
    probabilities: np.ndarray | None
    classes: tuple[str, ...]
    colours: Mapping[str, str] = field(default_factory=dict)
    several: bool = False

    def __post_init__(self) -> None:
        size, names = self.mask.shape, len(self.classes)
        if names != 2 and not self.several:
            raise DataError(f"{names} classes, and only one probability: that is for two; pass several=True")
        expected = {"picture": (*size, 3)}
        if self.probabilities is not None:
            expected["probabilities"] = (*size, names if self.several else 1)
        for what, shape in expected.items():
            if (found := getattr(self, what).shape) != shape:
                raise DataError(
                    f"{what} of shape {found}; {shape} belongs to a mask of shape {size} and {names} classes"
                )
        for what in ("picture", "mask"):
            if (dtype := getattr(self, what).dtype) != np.uint8:
                raise DataError(f"{what} of {dtype}; uint8 is needed")

    def __repr__(self) -> str:
        height, width = self.mask.shape
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.coverage.items() if share)
        return f"Segmentation({width} x {height}: {shares})"

    def _repr_png_(self) -> bytes:
        """The overlay with its legend, reduced to ``SHOWN_AT``, as a PNG file; Jupyter asks for it."""
        size = _reduced(self.mask.shape, SHOWN_AT)
        whole = Box(0, 0, *size)
        mask = fit_mask(self.mask, size, whole)
        shown = overlay(fit_picture(self.picture, size, whole), mask, self._palette)
        shown = with_legend(shown, mask, self._palette)
        return cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))[1].tobytes()

    @property
    def _palette(self) -> Palette:
        return Palette.of(self.classes, self.colours)

    @property
    def coverage(self) -> dict[str, float]:
        """The share of the photo's pixels that every class has, by its name."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes)) / self.mask.size
        return dict(zip(self.classes, counts.tolist(), strict=False))  # an ignored pixel has no class

    def overlay(self, strength: float = 0.55, legend: bool = False) -> np.ndarray:
        """The photo with every class but the background tinted and outlined: uint8 (H, W, 3).

        Args:
            strength: Of the tint, 0 to 1.
            legend: Name the classes that are there, in the lower left corner.
        """
        tinted = overlay(self.picture, self.mask, self._palette, strength)
        return with_legend(tinted, self.mask, self._palette) if legend else tinted

    def cutout(self) -> np.ndarray:
        """The photo without its background, with a soft edge: uint8 (H, W, 4), RGBA, colours as in the photo.

        Opacity follows the probability of the class, see ``SOFT`` in ``kseg.logits``; with more classes, that of not
        being background.

        Raises:
            DataError: the probabilities were not kept, or none of the classes is the background.
        """
        return np.dstack([self.picture, self._alpha()])

    def on_background(self, background: str | Sequence[int] | np.ndarray) -> np.ndarray:
        """The cut-out before another background: uint8 (H, W, 3).

        Args:
            background: A colour (r, g, b) of 0 to 255; a picture, uint8 (h, w, 3), which is scaled to cover the photo
                and loses what sticks out, equally on both sides; or ``"blur"``, the photo's own background, blurred
                without a trace of what was cut out of it.

        Raises:
            DataError: the background is none of these, or as for ``cutout``.
        """
        alpha = self._alpha()[..., None] / np.float32(255)
        behind = self._background(background, alpha)
        return np.rint(alpha * self.picture + (1 - alpha) * behind).astype(np.uint8)

    def polygons(self, tolerance: float = 1.0) -> dict[str, list[Polygon]]:
        """The outlines of every class but the background, by its name; regions touch over corners, too.

        Args:
            tolerance: How far, in pixels, an outline may be off for the sake of fewer points (Douglas & Peucker 1973);
                0 keeps every corner. What shrinks to under three points is left out.
        """
        return {name: outline(self.mask == class_id, tolerance) for class_id, name in self._palette.foreground.items()}

    def to_coco(self, image_id: int = 1, file_name: str | None = None, start_id: int = 1) -> dict[str, Any]:
        """The photo's objects in COCO's format for ``json.dump``: ``images``, ``annotations`` and ``categories``.

        An object is a connected region (over corners, too) of a class other than the background. Its ``segmentation``
        is an uncompressed run-length code, its ``score`` the mean probability of its class over its pixels.

        Args:
            image_id: Of the photo.
            file_name: Of the photo; None leaves it out.
            start_id: Of the first object; they are numbered from there.
        """
        height, width = self.mask.shape
        image: dict[str, Any] = {"id": image_id, "width": width, "height": height}
        if file_name is not None:
            image["file_name"] = file_name
        objects = [found for class_id in self._palette.foreground for found in self._objects(class_id)]
        annotations = [
            {"id": number, "image_id": image_id, **found, "iscrowd": 0}
            for number, found in enumerate(objects, start_id)
        ]
        categories = [{"id": number, "name": name} for number, name in self._palette.foreground.items()]
        return {"images": [image], "annotations": annotations, "categories": categories}

    def cleaned(self, cleaning: Cleaning) -> "Segmentation":
        """The same with a tidied mask.

        Where that changed it, the probabilities are certain of the new class; and of the background in what is left
        around a region that was dropped. Raises DataError where dropped regions have no background to go to.
        """
        if cleaning.needs_background:
            self._require_background("regions are dropped and holes filled")
        mask = cleaning(self.mask)
        if self.probabilities is None:
            return replace(self, mask=mask)
        certain = mask != self.mask
        if self._palette.background is not None:
            _, parts = cv2.connectedComponents((self._alpha() > 0).view(np.uint8), connectivity=8)
            certain |= (parts > 0) & ~np.isin(parts, np.unique(parts[mask > 0]))
        probabilities = self.probabilities.copy()
        sure = mask[certain]
        probabilities[certain] = np.eye(len(self.classes))[sure] if self.several else sure[:, None]
        return replace(self, mask=mask, probabilities=probabilities)

    def kept_probabilities(self) -> np.ndarray:
        """``probabilities``. Raises DataError where they were not kept."""
        if self.probabilities is None:
            raise DataError("this segmentation was made without its probabilities; ask for them with soft=True")
        return self.probabilities

    def _require_background(self, what: str) -> None:
        if self._palette.background is None:
            raise DataError(f"{what} where there is a background; class 0 of this network is {self.classes[0]}")

    def _alpha(self) -> np.ndarray:
        """The cut-out's opacity: uint8 (H, W)."""
        self._require_background("photos are cut out")
        probabilities = self.kept_probabilities()
        first = probabilities[..., 0]
        foreground = 1 - first if self.several else first
        return np.rint(255 * np.clip((foreground - SOFT) / (1 - 2 * SOFT), 0, 1)).astype(np.uint8)

    def _background(self, background: str | Sequence[int] | np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Float32 or uint8, of a shape that goes with (H, W, 3); ``alpha`` is float32 (H, W, 1) in [0, 1]."""
        if isinstance(background, str):
            if background != "blur":
                raise DataError(f'background "{background}": "blur" is known, or give a colour or a picture')
            return _blurred(self.picture, 1 - alpha)
        given = np.asarray(background)
        if given.ndim == 3 and given.shape[-1] == 3 and given.size and given.dtype == np.uint8:
            return _covering(given, self.mask.shape)
        if given.shape == (3,) and (given >= 0).all() and (given <= 255).all():
            return given.astype(np.float32)
        raise DataError(
            f"background of shape {given.shape} and {given.dtype}; give a colour (r, g, b) of 0 to 255 "
            "or a picture, uint8 (height, width, 3)"
        )

    def _objects(self, class_id: int) -> list[dict[str, Any]]:
        """What an annotation says of every object of a class, without the ids."""
        height, width = self.mask.shape
        probabilities = self.kept_probabilities()
        channel = class_id if self.several else 0
        inside = (self.mask == class_id).view(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        objects = []
        for label, (left, top, across, down, area) in enumerate(stats[1:].tolist(), 1):
            box = slice(top, top + down), slice(left, left + across)
            there = labels[box] == label
            columns, rows = np.nonzero(there.T)  # in the order of COCO's codes: down the columns
            counts = run_lengths((columns + left) * height + rows + top, height * width)
            objects.append(
                {
                    "category_id": class_id,
                    "segmentation": {"size": [height, width], "counts": counts},
                    "area": area,
                    "bbox": [left, top, across, down],
                    "score": float(probabilities[box][there, channel].mean(dtype=np.float64)),
                }
            )
        return objects


def _reduced(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A (height, width) brought down in proportion, if need be, to a longer side of ``longest``."""
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _covering(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture, of the aspect of ``size`` and scaled to it: uint8 (*size, 3)."""
    factor = max(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (min(whole, max(1, round(side / factor))) for side, whole in zip(size, picture.shape, strict=False))
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return fit_picture(picture[top : top + height, left : left + width], size, Box(0, 0, *size))


def _blurred(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The picture blurred, every pixel counting by its weight: float32 (H, W, 3), 0 where no weight is near.

    Normalised convolution (Knutsson & Westin 1993): the blurred sum over the blurred weights, which are float32
    (H, W, 1) in [0, 1]. Sum and weights are reduced and enlarged apart, so that nothing of weight 0 gets in there.
    """
    height, width = _reduced(picture.shape[:2], BLURRED_AT)
    weighted = cv2.resize(np.dstack([picture * weights, weights]), (width, height), interpolation=cv2.INTER_AREA)
    weighted = cv2.GaussianBlur(weighted, (0, 0), BLUR * max(height, width))
    weighted = cv2.resize(weighted, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    total, weight = weighted[..., :3], weighted[..., 3:]
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
