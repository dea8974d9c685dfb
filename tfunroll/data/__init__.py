"""Trajectories in memory: of a TFDS dataset, of the user's own files, or of NumPy arrays."""

from tfunroll.data.trajectories import (
    MEMORY,
    DataRecord,
    Dataset,
    Split,
    Trajectories,
    generate,
    load,
    of,
)

__all__ = ["MEMORY", "DataRecord", "Dataset", "Split", "Trajectories", "generate", "load", "of"]
