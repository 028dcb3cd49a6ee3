"""Semantic segmentation with Keras and TensorFlow: from photos and masks to a trained, servable model."""

__version__ = "0.1.0"
