"""TFDS dataset of flow around an aerofoil; see README.md."""
