"""Scenes: who stands where, in front of what, behind what; and the one call that draws them.

A scene unit is the frame's height, or less in very narrow frames: the frame is (width / unit, height / unit).
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from kseg.data.synthetic.background import Backdrop, random_backdrop
from kseg.data.synthetic.canvas import OVERSAMPLING, Canvas, Layer, Material, Piece
from kseg.data.synthetic.decoys import WOOD
from kseg.data.synthetic.figure import Figure
from kseg.data.synthetic.optics import Optics
from kseg.data.synthetic.palette import Rng, pick, varied, weighted
from kseg.data.synthetic.props import FOREGROUND
from kseg.data.synthetic.shapes import limb, rounded

PARTS = ("background", "head", "upper clothes", "lower clothes", "limbs")

# In frames narrower than this share of their height, people are drawn smaller so that they still fit.
NARROW = 0.62


@dataclass(frozen=True)
class Shot:
    """How the camera frames people: their stature, in scene units, from smallest to largest.

    ``cropped`` keeps heads in the frame and lets it cut the legs off; otherwise feet stand on the floor.
    ``close`` puts the first person before all others, larger.
    """

    stature: tuple[float, float]
    cropped: bool = False
    close: bool = False


SHOTS = {
    "far": Shot((0.4, 0.6)),
    "full": Shot((0.62, 0.92)),
    "knee": Shot((1.0, 1.35), cropped=True),
    "half": Shot((1.5, 2.1), cropped=True, close=True),
    "portrait": Shot((2.4, 3.8), cropped=True, close=True),
}


@dataclass(frozen=True)
class Level:
    """How hard scenes make it to find the people.

    Attributes:
        people: How many there are, with weights; empty pictures teach a network to say nothing.
        shots: How they are framed, keys of ``SHOTS``, with weights.
        camouflaged: Share of people whose clothes are the very background, copied from nearby.
        decoys: Share of scenes with things among them that have people's colours and outlines.
        things: The largest number of other things.
        hidden: Share of scenes with something before the people.
        defocused: Shares of scenes whose backdrop is out of focus: of close shots, and of all others.
        defocus: How far, from least to most, as a share of the picture's height.
    """

    people: dict[int, float]
    shots: dict[str, float]
    camouflaged: float
    decoys: float
    things: int
    hidden: float
    defocused: tuple[float, float]
    defocus: tuple[float, float]


LEVELS = {
    "easy": Level(
        people={0: 0.05, 1: 0.95},
        shots={"knee": 0.6, "half": 2.0, "portrait": 1.6},
        camouflaged=0.0,
        decoys=0.0,
        things=1,
        hidden=0.0,
        defocused=(1.0, 1.0),
        defocus=(0.015, 0.045),
    ),
    "full": Level(
        people={0: 0.07, 1: 0.45, 2: 0.27, 3: 0.14, 4: 0.07},
        shots={"far": 1.2, "full": 3.6, "knee": 2.0, "half": 2.2, "portrait": 1.3},
        camouflaged=0.08,
        decoys=0.5,
        things=4,
        hidden=0.22,
        defocused=(0.5, 0.1),
        defocus=(0.004, 0.02),
    ),
}


@dataclass(frozen=True)
class Stage:
    """Where people can be: the level, the framing, the height of the floor's far end, and the frame."""

    level: Level
    shot: Shot
    floor: float
    width: float
    height: float


@dataclass(frozen=True)
class Scene:
    """All that is drawn, from back to front, in scene units; still without a size in pixels.

    ``defocus`` is how far the backdrop is blurred, as a share of the picture's height.
    """

    backdrop: Backdrop
    layers: list[Layer]
    light: np.ndarray
    defocus: float
    optics: Optics

    @classmethod
    def compose(cls, seed: int, index: int, width: float, height: float, level: Level) -> "Scene":
        """The scene of this seed and index in a frame of ``width`` by ``height`` scene units."""
        rng = np.random.default_rng([seed, index])
        people, setting, camera = rng.spawn(3)
        shot = SHOTS[weighted(people, level.shots)]
        backdrop = random_backdrop(setting, width, height, sum(shot.stature) / 2, level.decoys, level.things)
        layers = _people(people, Stage(level, shot, backdrop.floor, width, height))
        if people.uniform() < level.hidden:
            layers.append(_foreground(people, width, height))
        angle = camera.uniform(-2.7, -0.45)
        light = np.array([np.cos(angle), np.sin(angle)])
        # A camera that is close to people often leaves what is behind them out of focus.
        defocus = camera.uniform(*level.defocus) if camera.uniform() < level.defocused[not shot.close] else 0.0
        return cls(backdrop, layers, light, defocus, Optics.random(camera, light))

    def render(
        self, height: int, width: int, people: bool = True, shadows: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Picture uint8 (height, width, 3) and labels uint8 (height, width), before the camera's optics.

        ``people`` and ``shadows`` leave people, or what they and things cast on the ground, out of the picture.
        """
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        image = cv2.resize(self.backdrop.base, size, interpolation=cv2.INTER_CUBIC)
        canvas = Canvas(image, np.zeros(size[::-1], np.uint8), scene_unit(height, width) * OVERSAMPLING, self.light)
        for layer in self.backdrop.layers:
            canvas.paint(layer, shadows)
        if self.defocus:
            blurred = 2 * round(self.defocus * size[1]) + 1
            canvas.image = cv2.blur(canvas.image, (blurred, blurred))
        canvas.backdrop = canvas.image.copy()
        for layer in self.layers:
            if people or not layer.person:
                canvas.paint(layer, shadows)
        return canvas.reduced()


def draw_scene(seed: int, index: int, height: int, width: int, level: str = "full") -> tuple[np.ndarray, np.ndarray]:
    """Picture uint8 (height, width, 3) RGB and parts uint8 (height, width), whose values index ``PARTS``.

    The same numbers always give the same bytes; other sizes of one shape show the same scene. ``level`` is a key of
    ``LEVELS``.
    """
    unit = scene_unit(height, width)
    scene = Scene.compose(seed, index, width / unit, height / unit, LEVELS[level])
    image, parts = scene.render(height, width)
    return scene.optics.apply(np.random.default_rng([seed, index, 1]), image), parts


def scene_unit(height: int, width: int) -> float:
    """How many pixels a scene unit is."""
    return min(float(height), width / NARROW)


def _people(rng: Rng, stage: Stage) -> list[Layer]:
    """Layers of people and what they sit on, the farthest first."""
    count = weighted(rng, stage.level.people)
    stature = rng.uniform(*stage.shot.stature)
    places = (np.arange(count) + 0.5) / count if count > 1 else np.array([rng.uniform(0.3, 0.7)])
    places = rng.permutation(places + rng.normal(0, 0.07, len(places))) * stage.width
    layers: list[Layer] = []
    for k, near in enumerate(np.sort(rng.uniform(0, 1, count)).tolist()):
        if stage.shot.close and k == count - 1:
            near = 1.0
        layers += _person(rng, stage, stature * (0.7 + 0.3 * near), float(places[k]), near)
    return layers


def _person(rng: Rng, stage: Stage, stature: float, x: float, near: float) -> list[Layer]:
    """One person and a seat where needed; ``near`` runs from 0, at the back, to 1."""
    cropped = stage.shot.cropped
    child = near < 1 and rng.uniform() < 0.15
    figure = Figure.random(rng, child, standing=cropped)
    if rng.uniform() < stage.level.camouflaged:
        copied = Material(figure.outfit.upper.colour, copied=float(rng.uniform(0.05, 0.3)) / stature)
        figure = replace(figure, outfit=replace(figure.outfit, upper=copied))
    scale = stature * (rng.uniform(0.55, 0.75) if child else rng.uniform(0.93, 1.05))
    lowest = figure.bones.lowest
    if cropped:
        # Heads are kept in the frame, those at the back a little lower.
        y = (rng.uniform(0.03, 0.16) + 0.12 * (1 - near)) * stage.height - scale * figure.top
        x -= scale * float(figure.bones.neck[0])
    else:
        ground = stage.floor + (stage.height - stage.floor) * (0.12 + 0.8 * near)
        y = ground - scale * (lowest + figure.pose.airborne)
    layers = [Layer(_stool(rng, lowest), scale, x, y)] if figure.pose.seat else []
    ankles = figure.bones.ankles[:, 0]
    shadow = (float(ankles.mean()), lowest - 0.005, 0.16 + 0.5 * float(np.ptp(ankles)), 0.035)
    return [*layers, Layer(figure.pieces(rng), scale, x, y, person=True, shadow=shadow)]


def _stool(rng: Rng, lowest: float) -> list[Piece]:
    wood = Material(varied(rng, pick(rng, WOOD)))
    legs = [limb(np.array([(side * 0.1, 0.1), (side * 0.12, lowest)]), (0.012, 0.012)) for side in (-1, 1)]
    seat = rounded(-0.14, 0.07, 0.14, 0.11, 0.02)
    return [Piece([*legs[0], *legs[1]], wood, roundness=0.01), Piece([seat], wood, roundness=0.015)]


def _foreground(rng: Rng, width: float, height: float) -> Layer:
    """Something between the camera and the people."""
    thing = pick(rng, FOREGROUND)
    return Layer(thing(rng), rng.uniform(0.5, 0.9), rng.uniform(0.1, 0.9) * width, height * rng.uniform(0.92, 1.1))
