"""TensorFlow Datasets' catalogue, made on the spot: its own code says what is in a record; nothing is fetched."""

import numpy as np
import tensorflow_datasets as tfds


def made_examples(name, count):
    """Records of a catalogue set with random content, as TensorFlow Datasets' own ``mock_data`` makes them."""
    with tfds.testing.mock_data(num_examples=count):
        return [dict(example) for example in tfds.as_numpy(tfds.load(name, split="train"))]


def write_set(name, data_dir, splits, labels=None, per_file=2):
    """A catalogue set in ``data_dir``, two records a file, as its own code would have written it.

    ``splits``: name -> records; ``labels``: feature -> names that are known only once the set is downloaded.
    """
    builder = tfds.builder(name, data_dir=str(data_dir))
    for path, names in (labels or {}).items():
        outer, inner = path.split("/")
        builder.info.features[outer][inner].names = names
    builder.data_path.mkdir(parents=True)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=per_file)
    writer.initialize_splits(list(splits))
    for split, examples in splits.items():
        writer.add_examples({split: examples})
    writer.close_all()
    return tfds.builder(name, data_dir=str(data_dir))


def picture(seed, height=40, width=56):
    """A uint8 (height, width, 3) picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
