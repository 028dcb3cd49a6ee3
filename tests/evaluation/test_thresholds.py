"""The sweep against deciding anew at every threshold, and reliability against a loop over pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from kseg.evaluation.counting import count_photo
from kseg.evaluation.thresholds import BINS, CUTS, THRESHOLDS, count_probabilities, reliability, sweep
from kseg.objectives.overlap import predicted_ids

ON_A_CUT = st.sampled_from([*CUTS.tolist(), *np.nextafter(CUTS, np.float32(9)).tolist()])
LOGITS = st.floats(-120, 120, width=32) | ON_A_CUT


def made(seed, photos, shape=(24, 30)):
    """Photos whose probabilities are near the truth, and not at their best at 0.5; one has no class in it."""
    dice = np.random.default_rng(seed)
    truths = (dice.random((photos, *shape)) < dice.uniform(0.1, 0.6, (photos, 1, 1))).astype(np.uint8)
    truths[0] = 0
    return truths, (dice.normal(size=truths.shape) + 2.5 * truths - 2).astype(np.float32)


def histograms(truths, logits):
    return np.stack([count_probabilities(t.ravel(), x.reshape(-1, 1))[0] for t, x in zip(truths, logits, strict=True)])


@given(hnp.arrays(np.float32, (4, 25), elements=LOGITS), hnp.arrays(np.uint8, (4, 25), elements=st.integers(0, 1)))
@settings(deadline=None, max_examples=30)
def test_every_threshold_of_the_sweep_decides_as_the_confusion_does(logits, truth):
    histogram, _ = count_probabilities(truth.ravel(), logits.reshape(-1, 1))
    assert histogram.sum() == truth.size
    for number, threshold in enumerate(THRESHOLDS.tolist(), start=1):
        predicted = np.asarray(predicted_ids(logits[..., None], threshold))
        above = histogram[:, number:].sum(axis=1)
        assert above.tolist() == [((truth == t) & (predicted == 1)).sum() for t in (0, 1)]


def test_even_odds_are_the_confusions_exactly():
    truths, logits = made(3, 5)
    logits[:, :4] = 0.0  # exactly even odds: not above
    truths[:, 5] = 255
    photos = [count_photo("p", t, x[..., None]) for t, x in zip(truths, logits, strict=True)]
    for photo in photos:
        assert photo.histogram[:, 50:].sum(axis=1).tolist() == photo.confusion[:, 1].tolist()
        assert photo.histogram.sum(axis=1).tolist() == photo.confusion.sum(axis=1).tolist()
    (_, fp), (fn, tp) = np.sum([photo.confusion for photo in photos], axis=0)
    swept = sweep(np.stack([photo.histogram for photo in photos]))
    assert swept["threshold"][49] == 0.5
    assert swept["jaccard"][49] == tp / (tp + fp + fn)


def test_sweep_is_deciding_anew():
    truths, logits = made(1, 6)
    logits[0] = np.minimum(logits[0], 1)  # in a photo without the class, nothing is predicted from 0.74 on
    swept = sweep(histograms(truths, logits))
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    per_image = []
    for number, threshold in enumerate(swept["threshold"]):
        flat, decided = truths.ravel(), (probabilities > threshold).ravel()
        for name, slow in (
            ("jaccard", jaccard_score),
            ("dice", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            assert swept[name][number] == pytest.approx(slow(flat, decided, zero_division=0)), (name, threshold)
        images = zip(truths, probabilities > threshold, strict=True)
        per_image.append(np.mean([jaccard_score(t.ravel(), p.ravel(), zero_division=1) for t, p in images]))
    assert swept["jaccard_per_image"] == pytest.approx(per_image)
    assert swept["best"]["jaccard"] == max(swept["jaccard"])
    assert swept["jaccard"][round(100 * swept["best"]["threshold"]) - 1] == swept["best"]["jaccard"]
    assert swept["best"]["threshold"] != 0.5
    assert swept["threshold"] == [float(f"0.{number:02}") for number in range(1, 100)]


def histogram_of(*pixels):
    """One photo's histogram from (truth, probability, how many pixels)."""
    histogram = np.zeros((1, 2, BINS), np.int64)
    for truth, probability, number in pixels:
        histogram[0, truth, math.ceil(100 * probability) - 1] += number
    return histogram


@pytest.mark.parametrize(
    ("pixels", "best", "jaccard"),
    [
        # between the classes' probabilities all thresholds are perfect; the nearest to 0.5 is taken
        ([(0, 0.105, 5), (1, 0.905, 3)], 0.5, 1),
        ([(0, 0.605, 5), (1, 0.905, 3)], 0.61, 1),
        ([(0, 0.105, 5), (1, 0.305, 3)], 0.3, 1),
        # to 0.4: 6 / 10; from 0.41 to 0.9, what is at 0.405 is not predicted: 4 / 6
        ([(1, 0.405, 2), (1, 0.905, 4), (0, 0.405, 4)], 0.5, 4 / 6),
        # as far from 0.5 on either side: the smaller. To 0.4: 2 / 4; 0.41 to 0.59: 1 / 3; from 0.6: 1 / 2
        ([(1, 0.405, 1), (1, 0.905, 1), (0, 0.595, 1), (0, 0.405, 1)], 0.4, 1 / 2),
        # the class is nowhere: perfect wherever it is not predicted
        ([(0, 0.705, 5)], 0.71, 1),
        ([], 0.5, 1),
    ],
)
def test_best_threshold(pixels, best, jaccard):
    assert sweep(histogram_of(*pixels))["best"] == {"threshold": best, "jaccard": jaccard}


def test_photos_without_a_counted_pixel_are_no_images():
    truths, logits = made(2, 4)
    some = histograms(truths, logits)
    assert sweep(np.concatenate([some, np.zeros((3, 2, BINS), np.int64)])) == sweep(some)


def test_reliability_is_a_loop_over_pixels():
    truths, logits = made(4, 3)
    counted = [count_probabilities(t.ravel(), x.reshape(-1, 1)) for t, x in zip(truths, logits, strict=True)]
    got = reliability(sum(h for h, _ in counted), sum(p for _, p in counted))
    bins = [[] for _ in range(10)]
    for truth, logit in zip(truths.ravel().tolist(), logits.ravel().tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        bins[math.ceil(10 * probability) - 1].append((probability, truth))
    ece = 0
    for index, (entry, pixels) in enumerate(zip(got["bins"], bins, strict=True)):
        confidence, frequency = np.mean(pixels, axis=0)
        assert entry["pixels"] == len(pixels)
        assert (entry["from"], entry["to"]) == pytest.approx((index / 10, (index + 1) / 10))
        assert entry["confidence"] == pytest.approx(confidence, abs=1e-6)
        assert entry["frequency"] == pytest.approx(frequency)
        ece += len(pixels) / truths.size * abs(confidence - frequency)
    assert got["ece"] == pytest.approx(ece, abs=1e-6)


def test_reliability_by_hand():
    # logit(3/4) = log 3. Eight pixels of 3/4, of which 4 are of the class; two of 1/4, of which none is.
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], np.uint8)
    logits = np.array(8 * [math.log(3)] + 2 * [-math.log(3)], np.float32)
    got = reliability(*count_probabilities(truth, logits[:, None]))
    filled = {index: entry for index, entry in enumerate(got["bins"]) if entry["pixels"]}
    assert [(index, entry["pixels"], entry["frequency"]) for index, entry in filled.items()] == [(2, 2, 0), (7, 8, 0.5)]
    assert [entry["confidence"] for entry in filled.values()] == pytest.approx([1 / 4, 3 / 4], abs=1e-6)
    # 8/10 * |3/4 - 1/2| + 2/10 * |1/4 - 0|
    assert got["ece"] == pytest.approx(0.25, abs=1e-6)
    assert math.isnan(got["bins"][0]["confidence"])
    assert math.isnan(got["bins"][0]["frequency"])


def test_nothing_counted_has_no_reliability():
    assert math.isnan(reliability(np.zeros((2, BINS), np.int64), np.zeros(BINS))["ece"])
