"""Clothes: what goes with what, in which lengths and materials."""

from dataclasses import dataclass

from kseg.data.synthetic.canvas import Colour, Material
from kseg.data.synthetic.palette import DENIM, Rng, cloth, cloth_colour, pick, varied, weighted

LEATHER: tuple[Colour, ...] = ((40, 36, 36), (90, 60, 40), (232, 228, 222), (60, 70, 96), (170, 56, 50))


@dataclass(frozen=True)
class Outfit:
    """Clothes. Lengths of sleeves and legs are counted in bones: 0 none, 1 elbow or knee, 2 wrist or ankle."""

    top: str
    sleeves: float
    hem: float
    upper: Material
    inner: Material
    bottom: str
    legs: float
    lower: Material
    loose: float
    shoes: Colour

    @classmethod
    def random(cls, rng: Rng) -> "Outfit":
        """Any sensible combination."""
        top = weighted(
            rng, {"t-shirt": 3, "sweater": 2, "shirt": 2, "jacket": 2, "tank": 0.8, "coat": 0.8, "dress": 1.3}
        )
        sleeves = {"t-shirt": rng.uniform(0.45, 0.85), "tank": 0.0, "dress": pick(rng, (0.0, 0.5, 1.95))}.get(top, 1.95)
        if top == "shirt" and rng.uniform() < 0.3:
            sleeves = rng.uniform(0.8, 1.3)
        bottom = "dress" if top == "dress" else weighted(rng, {"trousers": 6, "shorts": 2, "skirt": 2})
        legs = {"trousers": rng.uniform(1.8, 1.97), "shorts": rng.uniform(0.5, 0.95)}.get(bottom, rng.uniform(0.7, 1.5))
        upper = cloth(rng, 0.1, 0.3 if top in ("jacket", "coat") else 0.55)
        lower = Material(varied(rng, pick(rng, DENIM), 12)) if rng.uniform() < 0.35 else cloth(rng, 0.1, 0.2)
        hem = {"coat": -0.62, "tank": 0.08}.get(top, rng.uniform(-0.12, 0.12))
        return cls(
            top=top,
            sleeves=float(sleeves),
            hem=hem,
            upper=upper,
            inner=Material(cloth_colour(rng)),
            bottom=bottom,
            legs=float(legs),
            lower=upper if bottom == "dress" else lower,
            loose=rng.uniform(1.0, 1.25),
            shoes=varied(rng, pick(rng, LEATHER), 14),
        )
