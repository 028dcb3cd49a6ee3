"""Counts of one photo against scikit-learn; what changes nothing, and what is refused."""

from dataclasses import asdict

import numpy as np
import pytest
from evaluation.made import make
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix

from kseg.errors import ConfigError, DataError
from kseg.evaluation import counting
from kseg.evaluation.counting import count_photo
from kseg.logits import decide
from kseg.objectives import overlap

SHAPE = 7, 9
IDS = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 255]))


def assert_equal(one, other, but=()):
    for name, value in asdict(one).items():
        if name not in but:
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@given(
    IDS,
    hnp.arrays(np.float32, (*SHAPE, 3), elements=st.floats(-4, 4, width=16)),
    st.sampled_from([1, 3]),
    st.floats(0.001, 0.999),
)
@settings(deadline=None, max_examples=40)
def test_confusion_is_scikit_learns(truth, logits, channels, threshold):
    truth, logits = (np.where(truth == 2, 0, truth) if channels == 1 else truth), logits[..., :channels]
    logits[0] = np.log(threshold / (1 - threshold))  # at the threshold; for several classes, all the same
    photo = count_photo("p", truth, logits, threshold=threshold)
    predicted = np.asarray(overlap.predicted_ids(logits, threshold))
    counted = truth != 255
    expected = np.zeros_like(photo.confusion)
    if counted.any():
        expected = confusion_matrix(truth[counted], predicted[counted], labels=range(max(2, channels)))
    assert photo.confusion.tolist() == expected.tolist()
    assert photo.confusion.dtype == np.int64
    assert (photo.height, photo.width) == SHAPE
    assert (photo.histogram is None) == (photo.probabilities is None) == (channels > 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_predicted_in_ignored_pixels_changes_no_count_of_pixels_or_objects(channels):
    (photo,) = make(channels, 1)
    ignored = photo.truth == 255
    assert ignored.any()
    other = photo.logits.copy()
    other[ignored] = np.random.default_rng(1).normal(size=other[ignored].shape)
    assert_equal(photo.count(), photo._replace(logits=other).count(), but=("bands", "contours"))


@pytest.mark.parametrize("channels", [1, 3])
def test_no_outline_runs_along_an_ignored_frame(channels):
    # Along the photo's edge the prediction is right, and it goes on into the frame.
    (photo,) = make(channels, 1)
    frame = 6
    edge = np.pad(np.zeros(np.subtract(photo.truth.shape, 2), bool), 1, constant_values=True)
    truth = np.where(edge & (photo.truth != 255), decide(photo.logits), photo.truth)
    larger = photo._replace(
        truth=np.pad(truth, frame, constant_values=255),
        logits=np.pad(photo.logits, [(frame, frame), (frame, frame), (0, 0)], "edge"),
    )
    # bands, unlike contours, know the photo's border
    assert_equal(photo._replace(truth=truth).count(), larger.count(), but=("height", "width", "bands"))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_empty_photo_counts_nothing(channels):
    (photo,) = make(channels, 1)
    counts = photo._replace(truth=np.full_like(photo.truth, 255)).count()
    arrays = counts.confusion, counts.bands, counts.contours, counts.objects, counts.histogram, counts.probabilities
    assert not any(array.any() for array in arrays if array is not None)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [1, 500])
def test_strips_change_nothing(channels, pixels, monkeypatch):
    (photo,) = make(channels, 1)
    whole = photo.count()
    monkeypatch.setattr(counting, "STRIP_PIXELS", pixels)
    strips = photo.count()
    assert_equal(whole, strips, but=("probabilities",))
    if channels == 1:  # a sum of floats depends on the order, a little
        np.testing.assert_allclose(strips.probabilities, whole.probabilities, rtol=1e-12)


def test_another_ignored_id():
    (photo,) = make(3, 1)
    truth = np.where(photo.truth == 255, 7, photo.truth)
    assert_equal(photo.count(), count_photo("p0", truth, photo.logits, ignore_class=7))


def test_what_cannot_be_counted():
    truth, logits = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 1), np.float32)
    with pytest.raises(DataError, match=r"photo 7: a mask of \(4, 5\) pixels does not fit logits of shape \(5, 4, 1\)"):
        count_photo("photo 7", truth, logits.reshape(5, 4, 1))
    with pytest.raises(DataError, match="photo 7: the mask has no pixels"):
        count_photo("photo 7", truth[:0], logits[:0])
    with pytest.raises(DataError, match=r"ids \[2, 9\], which are neither one of the 2 classes \(0 to 1\) nor"):
        count_photo("photo 7", np.array([[0, 1], [2, 9]], np.uint8), logits[:2, :2])
    with pytest.raises(DataError, match="photo 7: a logit is not a number"):
        count_photo("photo 7", truth, np.where(np.arange(20).reshape(4, 5, 1) == 3, np.nan, logits))
    with pytest.raises(ConfigError, match="threshold=1"):
        count_photo("photo 7", truth, logits, threshold=1)
