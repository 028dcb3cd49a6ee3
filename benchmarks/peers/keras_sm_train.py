"""Train a network of segmentation_models 1.0 (Keras) on the pictures that accuracy.py hands over.

In its own form: float32, `fit`, binary cross-entropy on logits, Adam. One class only.
"""

import argparse
import importlib.metadata
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["SM_FRAMEWORK"] = "tf.keras"  # without it, the import fails on today's Keras

import keras
import numpy as np
import scoring
import segmentation_models as sm


class Validation(keras.callbacks.Callback):
    """Scores the validation pictures after each epoch, and counts the pictures trained on."""

    def __init__(self, samples: scoring.Samples, options: argparse.Namespace, record: scoring.Record) -> None:
        super().__init__()
        self.samples = samples
        self.options = options
        self.record = record
        self.seen = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the epoch's clock."""
        self.record.begin()

    def on_train_batch_end(self, batch, logs=None):
        """Count a batch."""
        self.seen += self.options.batch

    def on_epoch_end(self, epoch, logs=None):
        """Validate, without random layers and with BatchNorm's moving averages."""
        counts = [
            scoring.count(self.model.predict_on_batch(pictures)[..., 0] > 0, masks)
            for pictures, masks in self.samples.validation_batches(self.options.batch)
        ]
        self.record.end(counts, float(logs["loss"]))


def main() -> None:
    options = scoring.argument_parser(__doc__).parse_args()
    keras.utils.set_random_seed(options.seed)
    samples = scoring.Samples(options.samples)
    network = {"unet": sm.Unet, "linknet": sm.Linknet}[options.network]
    model = network(
        "resnet34", input_shape=(samples.size, samples.size, 3), classes=1, activation="linear", encoder_weights=None
    )
    model.compile(keras.optimizers.Adam(options.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True))
    packages = ("segmentation-models", "tensorflow", "keras", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    record = scoring.Record(options, samples, parameters, versions)
    validation = Validation(samples, options, record)
    model.fit(
        ((x, np.float32(y[..., None])) for x, y in samples.training_batches(options.seed, options.batch, options.flip)),
        epochs=options.epochs,
        steps_per_epoch=samples.steps_per_epoch(options),
        callbacks=[validation],
        verbose=0,
    )
    record.write(validation.seen)


if __name__ == "__main__":
    main()
