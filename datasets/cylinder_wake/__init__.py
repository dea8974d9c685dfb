"""TFDS dataset of the flow around a cylinder; see README.md."""
