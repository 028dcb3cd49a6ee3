"""What light and a camera do to a picture: none of it moves an edge."""

from dataclasses import dataclass

import cv2
import numpy as np

from kseg.data.synthetic.palette import Rng

# Light varies smoothly over a picture: it is computed on a grid this fine and stretched.
GRID = 12


@dataclass(frozen=True)
class Optics:
    """One exposure. ``light`` float32 (GRID, GRID, 3) multiplies the picture; ``blur`` is a share of its height."""

    light: np.ndarray
    blur: float
    noise: float
    grey: bool
    softness: int

    @classmethod
    def random(cls, rng: Rng, direction: np.ndarray) -> "Optics":
        """Mostly a good photograph in fair light; sometimes a bad one."""
        y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j]
        slope = rng.uniform(0, 0.24) * (x * direction[0] + y * direction[1])
        vignette = rng.uniform(0, 0.22) * (x**2 + y**2) / 2
        spots = cv2.resize(rng.standard_normal((4, 4)), (GRID, GRID), interpolation=cv2.INTER_CUBIC) * rng.uniform(
            0, 0.07
        )
        warmth = rng.normal(0, 0.05)
        tint = np.array([1 + warmth, 1.0, 1 - warmth])
        gain = rng.uniform(0.88, 1.1) if rng.uniform() < 0.85 else rng.uniform(0.5, 1.4)
        light = (gain * (1 + slope - vignette + spots))[:, :, None] * tint
        blur = rng.uniform(0.001, 0.004) if rng.uniform() < 0.3 else 0.0
        noise = rng.uniform(0.5, 3) if rng.uniform() < 0.85 else rng.uniform(3, 11)
        softness = int(rng.integers(35, 92)) if rng.uniform() < 0.3 else 0
        return cls(light.astype(np.float32), blur, noise, rng.uniform() < 0.06, softness)

    def apply(self, rng: Rng, image: np.ndarray) -> np.ndarray:
        """A new uint8 (H, W, 3) from one."""
        height, width = image.shape[:2]
        if self.blur * height > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.blur * height)
        light = cv2.resize(self.light, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = cv2.multiply(image, light, dtype=cv2.CV_32F)
        noise = rng.standard_normal((height, width, 1), np.float32)
        pixels += noise * np.float32(self.noise)
        image = cv2.convertScaleAbs(np.maximum(pixels, 0))
        if self.grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.softness:
            _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.softness])
            softened = cv2.imdecode(packed, cv2.IMREAD_COLOR)
            assert softened is not None  # it was packed a line above
            return softened
        return image
