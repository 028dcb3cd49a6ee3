import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kseg.data.loading import Loader
from kseg.data.pipeline import TrainingOrder, data_errors, evaluation_pipeline, training_pipeline
from kseg.data.samples import Original
from kseg.errors import DataError
from kseg.settings import AugmentationSettings


class Numbered:
    """Sample k is a picture of value k, dark on its left half, so that a flip shows; its mask likewise."""

    def __init__(self, count, broken=-1):
        self.names = [f"s{index}" for index in range(count)]
        self.skipped = {}
        self.broken = broken

    def load(self, index, view=None):
        if index == self.broken:
            raise DataError(f"s{index}.jpg: broken")
        mask = np.full((32, 32), index, np.uint8)
        mask[:, :16] = 0
        return Original.whole(np.repeat(mask[..., None], 3, axis=2), mask)


def batches(indices, *, first_step=0, steps=12, batch_size=3, seed=5, count=10, flip=0.5):
    pipeline = training_pipeline(
        Loader(Numbered(count), (32, 32)),
        TrainingOrder(indices, seed),
        AugmentationSettings(horizontal_flip=flip),
        ignore_class=255,
        batch_size=batch_size,
        first_step=first_step,
        steps=steps,
    )
    return [(pictures.numpy(), masks.numpy()) for pictures, masks in pipeline]


def numbers(some):
    return np.concatenate([masks.max(axis=(1, 2)) for _, masks in some])


INDICES = [1, 2, 3, 5, 6, 7, 9]


def test_every_pass_holds_every_sample_once_in_another_order():
    seen = numbers(batches(INDICES, steps=14)).reshape(6, 7)
    assert all(sorted(row) == INDICES for row in seen)
    assert len({tuple(row) for row in seen}) > 4


def test_the_order_of_a_pass_is_a_fair_shuffle():
    """Over many passes every sample stands at every place about equally often (chi-squared, 99.99 %)."""
    passes = 600
    stream = TrainingOrder(range(6), 3).from_position(0).take(6 * passes)
    places = np.array([index for index, _ in stream.as_numpy_iterator()]).reshape(passes, 6)
    for place in range(6):
        counts = np.bincount(places[:, place], minlength=6)
        assert ((counts - passes / 6) ** 2 / (passes / 6)).sum() < 25.7


def test_training_can_begin_at_any_step():
    whole = batches(INDICES)
    for first_step in (1, 5, 11):
        for (pictures, masks), (same_pictures, same_masks) in zip(
            whole[first_step:], batches(INDICES, first_step=first_step), strict=True
        ):
            np.testing.assert_array_equal(pictures, same_pictures)
            np.testing.assert_array_equal(masks, same_masks)
    assert batches(INDICES, first_step=12) == []


def test_another_seed_is_another_order_and_other_flips():
    assert not np.array_equal(numbers(batches(INDICES)), numbers(batches(INDICES, seed=6)))


def test_flips_differ_from_pass_to_pass_and_move_the_pair():
    flipped = {index: set() for index in INDICES}
    for pictures, masks in batches(INDICES, steps=40):
        np.testing.assert_array_equal(pictures[..., 0], masks)
        for mask in masks:
            flipped[mask.max()].add(bool(mask[0, 0] > 0))
    assert all(seen == {True, False} for seen in flipped.values())


def test_flips_depend_on_pass_and_sample_not_on_the_batch():
    def flips(batch_size):
        some = batches(INDICES, steps=42 // batch_size, batch_size=batch_size)
        return np.concatenate([masks[:, 0, 0] > 0 for _, masks in some])

    np.testing.assert_array_equal(flips(3), flips(7))
    np.testing.assert_array_equal(flips(3), flips(1))


def test_the_names_of_a_step_are_those_of_its_batch():
    order = TrainingOrder(INDICES, 5)
    for step, (_, masks) in enumerate(batches(INDICES)):
        assert order.batch(step, 3) == masks.max(axis=(1, 2)).tolist()


def test_every_batch_is_full_and_uint8():
    for pictures, masks in batches(INDICES, steps=5):
        assert pictures.shape == (3, 32, 32, 3)
        assert masks.shape == (3, 32, 32)
        assert pictures.dtype == masks.dtype == np.uint8


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 20])
def test_evaluation_gives_every_sample_once_unchanged_in_order(batch_size):
    some = list(evaluation_pipeline(Loader(Numbered(10), (32, 32)), INDICES, batch_size=batch_size))
    masks = np.concatenate([masks.numpy() for _, masks in some])
    assert masks.max(axis=(1, 2)).tolist() == INDICES
    assert not masks[:, :, 0].any()


def test_a_broken_sample_raises_its_own_error_not_tensorflows():
    loader = Loader(Numbered(10, broken=6), (32, 32))
    with pytest.raises(DataError, match=r"^s6\.jpg: broken$"), data_errors(loader):
        list(evaluation_pipeline(loader, INDICES, batch_size=2))


def test_other_errors_of_tensorflow_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError), data_errors(Loader(Numbered(3), (32, 32))):
        tf.reshape(tf.zeros(3), (2, 2))


def times_in_passes(weights, passes):
    """How often each sample comes in each of the first passes: int (passes, samples)."""
    order = TrainingOrder(range(len(weights)), 3, weights)
    stream = order.from_position(0).take(passes * order.length)
    indices = np.array([int(index) for index, _ in stream.as_numpy_iterator()]).reshape(passes, order.length)
    return np.stack([np.bincount(row, minlength=len(weights)) for row in indices])


def test_a_sample_comes_as_often_as_its_weight_says():
    weights = [0.5, 1.0, 2.25, 1.25]
    times = times_in_passes(weights, 400)
    assert (times >= np.floor(weights)).all()
    assert (times <= np.ceil(weights)).all()
    # a share p of 400 passes has the deviation sqrt(p (1 - p) / 400), at most 0.025
    np.testing.assert_allclose(times.mean(axis=0), weights, atol=0.1)


def test_weights_of_one_change_nothing():
    plain, weighted = (TrainingOrder(INDICES, 5, weights) for weights in (None, [1.0] * len(INDICES)))
    for one, other in zip(plain.from_position(0).take(40), weighted.from_position(0).take(40), strict=True):
        assert [part.numpy().tolist() for part in one] == [part.numpy().tolist() for part in other]


@pytest.mark.parametrize("weights", [[0.1], [1 / 3] * 7, [0.7, 1.9, 0.2, 3.3, 1e-3], [1e6, 1.0]])
def test_every_pass_is_equally_long(weights):
    order = TrainingOrder(range(len(weights)), 3, weights)
    assert order.length == max(1, round(sum(weights)))
    if order.length < 100:
        times_in_passes(weights, 5)


def test_what_else_the_source_holds_changes_neither_order_nor_augmentation():
    """So that skipped samples, and such as come to a folder before a run is resumed, change no bit of a training."""
    alone, among = (list(TrainingOrder(at, 5).from_position(0).take(30)) for at in (range(len(INDICES)), INDICES))
    for (place, seed), (index, other) in zip(alone, among, strict=True):
        assert INDICES[int(place)] == int(index)
        assert seed.numpy().tolist() == other.numpy().tolist()


def test_a_sample_that_comes_again_in_a_pass_is_augmented_in_another_way():
    seeds = {}
    for index, seed in TrainingOrder(range(3), 3, [4.0, 1.0, 2.0]).from_position(0).take(7):
        seeds.setdefault(int(index), []).append(tuple(seed.numpy()))
    assert {index: len(set(kinds)) for index, kinds in seeds.items()} == {0: 4, 1: 1, 2: 2}


def test_neither_samples_nor_passes_are_flipped_alike():
    """Their seeds differ by one only; Fisher's exact test would see if that showed in what is drawn by them."""
    count, passes = 200, 6
    stream = TrainingOrder(range(count), 11).from_position(0).take(count * passes)
    seeds = np.zeros((passes, count, 2), np.int64)
    for position, (index, seed) in enumerate(stream):
        seeds[position // count, int(index)] = seed
    assert len({tuple(seed) for seed in seeds.reshape(-1, 2)}) == count * passes
    drawn = np.stack([tf.random.stateless_uniform((2,), seed) for seed in seeds.reshape(-1, 2)])
    flipped = drawn.reshape(passes, count, 2) < 0.5
    pairs = {
        "neighbours": (flipped[:, :-1, 0], flipped[:, 1:, 0]),
        "passes": (flipped[:-1, :, 0], flipped[1:, :, 0]),
        "diagonal": (flipped[:-1, 1:, 0], flipped[1:, :-1, 0]),
        "draws": (flipped[..., 0], flipped[..., 1]),
    }
    for name, (one, other) in pairs.items():
        table = [[int((one == a).astype(int)[other == b].sum()) for a in (0, 1)] for b in (0, 1)]
        assert scipy.stats.fisher_exact(table).pvalue > 1e-3, name
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(flipped.size)
