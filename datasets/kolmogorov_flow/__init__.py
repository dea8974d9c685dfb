"""TFDS dataset of Kolmogorov flow; see README.md."""
