"""TFDS dataset of the Kuramoto-Sivashinsky equation; see README.md."""
