"""Training: compile and fit, checkpoints and exact resume, and the folder a run is kept in."""
