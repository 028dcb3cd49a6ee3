"""The bytes of any photo to upright pixels, inside a TensorFlow graph that strangers send bytes to."""
