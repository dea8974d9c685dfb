"""Trajectories in memory: of a TFDS dataset, of the user's own files, or of NumPy arrays."""

from tfunroll.data.trajectories import (
    DataRecord,
    Dataset,
    Split,
    Trajectories,
    generate,
    load,
    of,
)

__all__ = ["DataRecord", "Dataset", "Split", "Trajectories", "generate", "load", "of"]
