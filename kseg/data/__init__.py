"""A sample is a picture and its mask: where samples come from, and how they reach the network."""
