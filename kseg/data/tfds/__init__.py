"""Sets of TensorFlow Datasets: written by ``kseg-data prepare``, read at any position, and those of its catalogue."""
