"""Export for TensorFlow Serving, and the client that talks to it."""
