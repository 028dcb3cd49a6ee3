"""Scores of a data set against scikit-learn on its pixels; tables, files, comparisons; what must hold of any scores."""

import csv
import json
import math

import numpy as np
import pytest
from evaluation.made import CLASSES, evaluation, make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from kseg.errors import DataError
from kseg.evaluation.boundary import count_boundary
from kseg.evaluation.evaluation import Evaluation, compare, write_evaluation
from kseg.evaluation.objects import count_objects
from kseg.objectives.metrics import Scores

SKLEARN = {"jaccard": jaccard_score, "dice": f1_score, "precision": precision_score, "recall": recall_score}
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def flat(photo):
    """Truth and decision of the counted pixels."""
    counted = photo.truth != 255
    return photo.truth[counted], decided(photo)[counted]


def slow_classes(photos, channels):
    """Scores by class over the pixels of some photos, NaN for a class that is nowhere in them."""
    truth, predicted = (np.concatenate(part) for part in zip(*map(flat, photos), strict=True))
    ids = [1] if channels == 1 else list(range(channels))
    seen = np.isin(ids, [*truth, *predicted])
    return {
        name: np.where(seen, score(truth, predicted, labels=ids, average=None, zero_division=0), math.nan)
        for name, score in SKLEARN.items()
    }


def mean_seen(values):
    """The rule for empty classes, said anew."""
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else 1.0


def decided(photo):
    logits = photo.logits
    return (logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)).astype(np.uint8)


def masks_of(photo, class_id):
    """Truth filled with the prediction, prediction, and what counts."""
    counted, predicted = photo.truth != 255, decided(photo)
    filled = np.where(counted, photo.truth, predicted)
    return (filled == class_id).astype(np.uint8), (predicted == class_id).astype(np.uint8), counted


@CHANNELS
def test_scores_are_those_of_the_pixels(channels):
    photos = make(channels, 7)
    # one photo without the class, one where it is only invented, one with nothing that counts
    photos[1].truth[...], photos[1].logits[...] = 0, np.eye(max(channels, 2))[0][-channels:] - 0.5
    photos[2].truth[...] = 0
    content = evaluation(photos).to_json()
    for name, by_class in slow_classes(photos, channels).items():
        assert content["scores"]["dataset"][name]["value"] == pytest.approx(mean_seen(by_class)), name
        images = [mean_seen(slow_classes([photo], channels)[name]) for photo in photos]
        assert content["scores"]["per_image"][name]["value"] == pytest.approx(np.mean(images)), name
        assert [row[name] for row in content["per_photo"]] == pytest.approx(images), name
        scored = CLASSES[channels][1:] if channels == 1 else CLASSES[channels]
        assert [content["per_class"][s][name] for s in scored] == pytest.approx(by_class.tolist()), name
    accuracies = [accuracy_score(*flat(photo)) for photo in photos]
    truth, predicted = (np.concatenate(part) for part in zip(*map(flat, photos), strict=True))
    assert content["scores"]["dataset"]["pixel_accuracy"]["value"] == pytest.approx(accuracy_score(truth, predicted))
    assert content["scores"]["per_image"]["pixel_accuracy"]["value"] == pytest.approx(np.mean(accuracies))
    assert content["confusion"] == confusion_matrix(truth, predicted).tolist()
    assert (content["photos"], content["pixels"]) == (7, truth.size)


@CHANNELS
def test_scores_are_those_of_training(channels):
    photos = make(channels, 5)
    metric = Scores(channels, ignore_class=255)
    for photo in photos:
        metric.update_state(photo.truth[None], photo.logits[None])
    content = evaluation(photos).to_json()
    expected = {name: float(value) for name, value in metric.result().items()}
    for name in ("jaccard", "dice", "precision", "recall", "pixel_accuracy"):
        assert content["scores"]["dataset"][name]["value"] == pytest.approx(expected[name], rel=1e-12)
    for name in ("jaccard", "dice"):
        assert content["scores"]["per_image"][name]["value"] == pytest.approx(expected[f"{name}_per_image"], rel=1e-12)
        of_classes = [values[f"{name}_per_image"] for values in content["per_class"].values()]
        assert of_classes == pytest.approx(metric.per_class()[f"{name}_per_image"].tolist(), rel=1e-12)


@CHANNELS
def test_boundaries_over_photos_and_classes(channels):
    photos = make(channels, 4)
    ids = [1] if channels == 1 else range(channels)
    counts = [[count_boundary(*masks_of(photo, class_id)) for class_id in ids] for photo in photos]

    def iou(bands):
        both, truth, predicted = bands
        return both / (truth + predicted - both)

    def f(contours):
        recall, precision = contours[0] / contours[1], contours[2] / contours[3]
        return stats.hmean([recall, precision])

    content = evaluation(photos).to_json()
    ious = [[iou(bands) for bands, _ in of_photo] for of_photo in counts]
    fs = [[f(contours) for _, contours in of_photo] for of_photo in counts]
    whole = [iou(sum(of_photo[index][0] for of_photo in counts)) for index in range(len(ids))]
    assert content["scores"]["dataset"]["boundary_iou"]["value"] == pytest.approx(np.mean(whole))
    assert content["scores"]["per_image"]["boundary_iou"]["value"] == pytest.approx(np.mean(ious))
    assert content["scores"]["per_image"]["boundary_f"]["value"] == pytest.approx(np.mean(fs))
    assert "boundary_f" not in content["scores"]["dataset"]
    assert [row["boundary_f"] for row in content["per_photo"]] == pytest.approx(np.mean(fs, axis=1).tolist())
    for index, values in enumerate(content["per_class"].values()):
        assert values["boundary_iou"] == pytest.approx(whole[index])
        assert values["boundary_iou_per_image"] == pytest.approx(np.mean(ious, axis=0)[index])
        assert values["boundary_f_per_image"] == pytest.approx(np.mean(fs, axis=0)[index])


@CHANNELS
def test_objects_and_areas_by_class(channels):
    photos = make(channels, 3, side=120)
    photos[0].truth[photos[0].truth == 1] = 0
    content = evaluation(photos).to_json()
    for class_id, name in list(enumerate(CLASSES[channels]))[1 if channels == 1 else 0 :]:
        tables = [count_objects((p.truth == class_id).astype(np.uint8), masks_of(p, class_id)[1]) for p in photos]
        numbers = [[size["count"], size["from"], size["to"]] for size in content["objects"][name]]
        bounds = [(0, 1024), (1024, 9216), (9216, None)]
        assert numbers == [[count, *b] for count, b in zip(sum(tables)[:, 0].tolist(), bounds, strict=True)]
        per_class = content["per_class"][name]
        assert per_class["truth_pixels"] == sum((flat(photo)[0] == class_id).sum() for photo in photos)
        assert per_class["predicted_pixels"] == sum((flat(photo)[1] == class_id).sum() for photo in photos)
        assert per_class["photos"] == (2 if class_id == 1 else 3)


@CHANNELS
def test_a_perfect_prediction_scores_one(channels):
    photos = [photo._replace(truth=np.where(photo.truth == 255, 255, decided(photo))) for photo in make(channels, 4)]
    content = evaluation(photos).to_json()
    for named in content["scores"].values():
        assert all(set(score.values()) == {1.0} for score in named.values())
    assert all(size["found"] in (1, None) for sizes in content["objects"].values() for size in sizes)


@CHANNELS
@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=5)
def test_the_order_of_the_photos_does_not_matter(channels, random):
    photos = make(channels, 5, side=24)
    mixed = random.sample(photos, len(photos))
    one, other = evaluation(photos), evaluation(mixed)
    assert one.dataset == other.dataset
    for name, values in one.by_photo.items():
        assert sorted(values) == sorted(other.by_photo[name])
    first, second = one.to_json(), other.to_json()
    for key in ("confusion", "objects", "pixels"):
        assert first[key] == second[key]
    for name, values in first["per_class"].items():
        assert second["per_class"][name] == pytest.approx(values)
    for name, score in first["scores"]["per_image"].items():
        assert second["scores"]["per_image"][name]["value"] == pytest.approx(score["value"])
    if channels == 1:
        assert second["thresholds"]["jaccard"] == first["thresholds"]["jaccard"]
        assert second["reliability"]["ece"] == pytest.approx(first["reliability"]["ece"])


@CHANNELS
def test_photos_without_a_counted_pixel_are_no_images(channels):
    photos = make(channels, 4)
    empty = photos[0]._replace(name="empty", truth=np.full_like(photos[0].truth, 255))
    more = evaluation([*photos, empty])
    expected, got = evaluation(photos).to_json(), more.to_json()
    row = got["per_photo"].pop()
    assert row == {**dict.fromkeys(row), "name": "empty", "height": len(empty.truth), "width": len(empty.truth[0])}
    for key in ("per_photo", "per_class", "objects", "thresholds", "reliability", "pixels", "confusion"):
        assert got[key] == expected[key], key
    for kind, named in expected["scores"].items():
        for name, score in named.items():
            assert got["scores"][kind][name]["value"] == pytest.approx(score["value"]), (kind, name)
    assert more.ranked() == evaluation(photos).ranked()

    alone = evaluation([empty]).to_json()
    assert alone["scores"]["per_image"]["jaccard"] == {"value": 1, "low": 1, "high": 1}
    for values in alone["per_class"].values():
        assert all(value is None for name, value in values.items() if not isinstance(value, int)), values
        assert (values["jaccard_per_image"], values["photos"], values["truth_pixels"]) == (None, 0, 0)
    assert alone["objects"][alone["scored"][-1]][0]["recall"] is None
    json.dumps(alone, allow_nan=False)


def test_nobody_there_and_nobody_found_is_perfect():
    photos = make(1, 3)
    photos[0].truth[...], photos[0].logits[...] = 0, -1
    photos[1].truth[...], photos[1].logits[...] = 0, 1
    result = evaluation(photos)
    rows = result.per_photo()
    assert (rows[0]["jaccard"], rows[0]["boundary_iou"], rows[0]["boundary_f"]) == (1, 1, 1)
    assert (rows[1]["jaccard"], rows[1]["precision"], rows[1]["recall"]) == (0, 0, 0)
    # of a class, only photos with the class in truth or prediction have a score
    person = result.per_class()["person"]
    assert person["jaccard_per_image"] == pytest.approx(rows[2]["jaccard"] / 2)
    assert person["photos"] == 1


def test_intervals_are_those_of_resampled_photos():
    photos = make(1, 12)
    scores = evaluation(photos).scores
    pixels = [confusion_matrix(*flat(photo)).ravel() for photo in photos]  # tn, fp, fn, tp

    def jaccard(drawn):
        _, fp, fn, tp = np.sum([pixels[index] for index in drawn], axis=0)
        return tp / (tp + fp + fn)

    images = [jaccard([index]) for index in range(12)]
    dice = np.random.default_rng(8)
    draws = dice.integers(12, size=(4000, 12))
    for kind, samples in (
        ("dataset", [jaccard(drawn) for drawn in draws]),
        ("per_image", [np.mean([images[index] for index in drawn]) for drawn in draws]),
    ):
        low, high = np.percentile(samples, [2.5, 97.5])
        got = scores[kind]["jaccard"]
        assert (got["low"], got["high"]) == pytest.approx((low, high), abs=0.08 * (high - low))
        assert got["low"] < got["value"] < got["high"]


@CHANNELS
def test_comparison_with_a_better_network(channels):
    ours, theirs = make(channels, 10, error=0.5), make(channels, 10, error=1.0)
    ours[3] = theirs[3]
    ours[4], theirs[4] = theirs[4], ours[4]
    better, baseline = evaluation(ours), evaluation(theirs, "runs/b")
    entry = better.to_json(baseline)["baseline"]
    assert entry["model"] == "runs/b"
    expected = baseline.to_json()
    assert entry["scores"] == expected["scores"]
    assert entry["per_photo"] == [{key: row[key] for key in ("name", "jaccard")} for row in expected["per_photo"]]

    def images(photos):
        return np.array([mean_seen(slow_classes([photo], channels)["jaccard"]) for photo in photos])

    difference = entry["difference"]
    by_photo = images(ours) - images(theirs)
    assert (difference["better"], difference["worse"], difference["equal"]) == (8, 1, 1)
    assert difference["p_value"] == pytest.approx(stats.wilcoxon(by_photo[by_photo != 0], method="exact").pvalue)
    assert difference["jaccard_per_image"]["value"] == pytest.approx(by_photo.mean())
    value = mean_seen(slow_classes(ours, channels)["jaccard"]) - mean_seen(slow_classes(theirs, channels)["jaccard"])
    assert difference["jaccard"]["value"] == pytest.approx(value)
    # what is resampled are pairs: the differences, photo by photo
    drawn = np.random.default_rng(9).integers(10, size=(20_000, 10))
    low, high = np.percentile(by_photo[drawn].mean(axis=1), [2.5, 97.5])
    got = difference["jaccard_per_image"]
    assert (got["low"], got["high"]) == pytest.approx((low, high), abs=0.08 * (high - low))
    for score in (difference["jaccard"], got):
        assert score["low"] < score["value"] < score["high"]


@CHANNELS
def test_comparison_with_itself(channels):
    photos = make(channels, 3)
    nothing = {"value": 0, "low": 0, "high": 0}
    assert compare(evaluation(photos), evaluation(photos, "runs/b"))["difference"] == {
        "jaccard": nothing,
        "jaccard_per_image": nothing,
        "p_value": 1,
        "better": 0,
        "worse": 0,
        "equal": 3,
    }


def test_comparison_on_one_photo():
    entry = compare(evaluation(make(1, 1, error=0.2)), evaluation(make(1, 1)))["difference"]
    assert (entry["p_value"], entry["better"], entry["worse"], entry["equal"]) == (1, 1, 0, 0)
    assert len(set(entry["jaccard"].values())) == 1


def test_what_cannot_be_compared():
    photos = make(1, 4)
    ours = evaluation(photos)
    with pytest.raises(DataError, match=r"runs/a and runs/b were not evaluated on the same photos: p3 \(and 0 more\)"):
        compare(ours, evaluation(photos[:3], "runs/b"))
    with pytest.raises(DataError, match="their order differs"):
        compare(ours, evaluation(photos[::-1], "runs/b"))
    with pytest.raises(DataError, match="runs/b knows the classes background, road, car, runs/a background, person"):
        compare(ours, evaluation(make(3, 4), "runs/b"))
    others = [photo._replace(truth=1 - np.minimum(photo.truth, 1)) for photo in photos]
    with pytest.raises(DataError, match="were not evaluated with the same masks"):
        compare(ours, evaluation(others, "runs/b"))


def test_no_photo_is_refused():
    with pytest.raises(DataError, match="no photo in the split 'validation'"):
        Evaluation("runs/a", "validation", CLASSES[1], CLASSES[1][1:], 0.5, False, ())


@CHANNELS
def test_files(channels, tmp_path):
    photos = make(channels, 3)
    photos[1].truth[...] = 255
    photos[2].truth[photos[2].truth == 1] = 255
    result = evaluation(photos)
    write_evaluation(tmp_path / "new", result.to_json(evaluation(photos, "runs/b")))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "evaluation.json",
        "per_class.csv",
        "per_photo.csv",
    ]
    content = json.loads((tmp_path / "new/evaluation.json").read_text())
    assert content == result.to_json(evaluation(photos, "runs/b"))
    assert list(content) == [
        *("kseg", "created", "model", "split", "photos", "pixels", "classes", "scored", "threshold", "flip", "scores"),
        *("per_class", "confusion", "objects", "thresholds", "reliability", "per_photo", "baseline"),
    ]
    assert (content["thresholds"] is None) == (content["reliability"] is None) == (channels > 1)
    assert (content["model"], content["split"], content["flip"]) == ("runs/a", "validation", False)
    for name, key in (("per_photo", "name"), ("per_class", "class")):
        with (tmp_path / "new" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        expected = content[name]
        if name == "per_class":
            expected = [{"class": label, **values} for label, values in expected.items()]
        assert [row[key] for row in rows] == [row[key] for row in expected]
        for row, wanted in zip(rows, expected, strict=True):
            assert row == {column: "" if value is None else str(value) for column, value in wanted.items()}


def test_ranked_from_the_worst():
    photos = [photo for error in (0.0, 3.0, 0.6) for photo in make(1, 1, error=error)]
    assert evaluation(photos).ranked() == [1, 2, 0]
    assert evaluation([photos[0], photos[0]]).ranked() == [0, 1]  # of equal ones, the first
