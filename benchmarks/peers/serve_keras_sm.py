"""Export networks of segmentation_models 1.0 (Keras) as they come: ``model.export``, weights of their own.

python serve_keras_sm.py FOLDER [--size 256]        writes FOLDER/unet and FOLDER/linknet, both on ResNet34
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["SM_FRAMEWORK"] = "tf.keras"  # without it, the import fails on today's Keras

import keras
import segmentation_models as sm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    for name, network in (("unet", sm.Unet), ("linknet", sm.Linknet)):
        model = network(
            "resnet34", input_shape=(options.size, options.size, 3), activation="linear", encoder_weights=None
        )
        model.export(options.folder / name, verbose=False)


if __name__ == "__main__":
    main()
