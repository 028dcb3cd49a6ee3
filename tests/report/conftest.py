"""Evaluations and reports of made numbers and made photos."""

import numpy as np
import pytest

from kseg.data.synthetic import draw_scene
from kseg.report.contents import Report, Shot

SCORES = ("jaccard", "dice", "precision", "recall", "pixel_accuracy", "boundary_iou")
PER_CLASS = (*SCORES[:4], "boundary_iou", *(f"{name}_per_image" for name in ("jaccard", "dice", "boundary_iou")))


def with_interval(value):
    return {"value": value, "low": value - 0.03, "high": value + 0.02}


def scores_around(value):
    per_image = {name: with_interval(value - 0.02 + 0.01 * i) for i, name in enumerate((*SCORES, "boundary_f"))}
    return {"dataset": {name: with_interval(value + 0.01 * i) for i, name in enumerate(SCORES)}, "per_image": per_image}


def class_row(value):
    row = {name: value - 0.02 * i for i, name in enumerate((*PER_CLASS, "boundary_f_per_image"))}
    return {**row, "truth_pixels": 10_000, "predicted_pixels": 11_000, "photos": 40}


def sizes_of_objects():
    sizes = (("small", 0, 1024), ("medium", 1024, 9216), ("large", 9216, None))
    return [
        {"size": size, "from": low, "to": high, "count": 3 * i, "recall": 0.3 + 0.3 * i, "found": 0.5 if i else None}
        for i, (size, low, high) in enumerate(sizes)
    ]


def sweep():
    thresholds = np.round(np.linspace(0.01, 0.99, 99), 2)
    jaccard = 0.84 - (thresholds - 0.47) ** 2
    return {
        "threshold": thresholds.tolist(),
        "jaccard": jaccard.tolist(),
        "dice": (2 * jaccard / (1 + jaccard)).tolist(),
        "jaccard_per_image": (jaccard - 0.02).tolist(),
        "precision": (0.5 + 0.45 * thresholds).tolist(),
        "recall": (0.98 - 0.4 * thresholds**2).tolist(),
        "best": {"threshold": 0.47, "jaccard": 0.84},
    }


def bins():
    edges = np.linspace(0, 1, 11)
    return [
        {"from": low, "to": low + 0.1, "confidence": low + 0.05, "frequency": (low + 0.05) ** 1.2, "pixels": 100}
        for low in edges[:-1]
    ]


def make_evaluation(classes=("background", "person"), photos=55, baseline=False):
    """What evaluation.json may hold; for two classes, of a binary model."""
    dice, binary = np.random.default_rng(3), len(classes) == 2
    scored = list(classes[1:] if binary else classes)
    jaccards = np.sqrt(dice.beta(6, 1, photos))
    names = ("jaccard", "dice", "precision", "recall", "pixel_accuracy", "boundary_iou", "boundary_f")
    per_photo = [
        {"name": f"people/{i:03}", "height": 480, "width": 640 + 10 * i, **dict.fromkeys(names, float(value))}
        for i, value in enumerate(jaccards)
    ]
    confusion = dice.integers(0, 2000, (len(classes), len(classes))) + np.eye(len(classes), dtype=int) * 50_000
    evaluation = {
        "kseg": "0.1.0",
        "created": "2030-05-01T10:00:00+0000",
        "model": "runs/people-001",
        "split": "validation",
        "photos": photos,
        "pixels": 16_896_000,
        "classes": list(classes),
        "scored": scored,
        "threshold": 0.5 if binary else None,
        "flip": False,
        "scores": scores_around(0.83),
        "per_class": {name: class_row(0.9 - 0.02 * i) for i, name in enumerate(scored)},
        "confusion": confusion.tolist(),
        "objects": {name: sizes_of_objects() for name in scored},
        "thresholds": sweep() if binary else None,
        "reliability": {"bins": bins(), "ece": 0.0134} if binary else None,
        "per_photo": per_photo,
    }
    if baseline:
        evaluation["baseline"] = {
            "model": "runs/people-000",
            "scores": scores_around(0.81),
            "per_photo": [{"name": photo["name"], "jaccard": photo["jaccard"] - 0.02} for photo in per_photo],
            "difference": {
                "jaccard": {"value": 0.02, "low": -0.004, "high": 0.041},
                "jaccard_per_image": {"value": 0.021, "low": 0.002, "high": 0.04},
                "p_value": 0.0123,
                "better": photos - 2,
                "worse": 1,
                "equal": 1,
            },
        }
    return evaluation


def make_shot(index, height=60, width=80, other=False):
    picture, parts = draw_scene(7, index, height, width)
    truth = (parts > 0).astype(np.uint8)
    truth[:4] = 255
    moved = np.roll(parts > 0, 5, axis=1).astype(np.uint8)
    scores = {"jaccard": 0.71, "boundary_f": None}
    return Shot(f"people/{index:03}", picture, truth, moved, scores, np.roll(moved, 5, axis=0) if other else None)


def make_history(epochs=8):
    rows = []
    for epoch in range(1, epochs + 1):
        loss, jaccard = 1 / epoch, 0.9 - 0.6 / epoch
        scores = {"loss": loss, "jaccard": jaccard, "dice": 2 * jaccard / (1 + jaccard)}
        rows.append({"epoch": float(epoch), **scores, **{f"val_{k}": 0.95 * v for k, v in scores.items()}})
    return rows


def make_report(**changes):
    """A report with every section, but for what ``changes`` says."""
    whole = {
        "title": "people-001",
        "evaluation": make_evaluation(baseline=True),
        "history": make_history(),
        "best_epoch": 7,
        "galleries": {
            "Worst": [make_shot(0), make_shot(1, 90, 50)],
            "Best": [make_shot(2)],
            "Most different": [make_shot(3, other=True)],
        },
        "data": {
            "training photos": 500,
            "share of each class": {"person": 0.21},
            "skipped": [f"p{i}" for i in range(9)],
        },
        "changed": {"training.epochs": 50, "data.image_size": [256, 320], "model.detail": True},
        "settings": 'seed = 1\n\n[data]\nsource = "folder"\n',
        "versions": {"kseg": "0.1.0", "python": "3.11"},
        "commands": ["kseg-train configs/people.toml --data photos", "kseg-evaluate runs/people-001"],
        "notes": ["The photos of both splits come from the same folder."],
        "random_weights": True,
    }
    return Report(**(whole | changes))


@pytest.fixture(scope="session")
def evaluation_of():
    return make_evaluation


@pytest.fixture(scope="session")
def report_of():
    return make_report


@pytest.fixture(scope="session")
def shot_of():
    return make_shot
