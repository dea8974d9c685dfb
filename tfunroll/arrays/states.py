"""States in files, [trajectory, frame, *space, channel], whatever their order there."""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfunroll.arrays.formats import Array
from tfunroll.core import InputError

ORDER = ("trajectory", "frame", "y", "x", "channel")


@dataclass(frozen=True)
class Field:
    """One array with the meaning of its axes; a trajectory or channel axis may be missing.

    Attributes:
      array: in a file. axes: of ORDER, one per axis of the array, each once.
    """

    array: Array
    axes: tuple[str, ...]

    def __post_init__(self):
        if self.array.stored.kind == "b":
            raise InputError(f"{self.array.where} must hold real numbers, not flags")

    def size(self, axis: str) -> int:
        """Length of an axis; 1 for one that is missing."""
        return self.array.shape[self.axes.index(axis)] if axis in self.axes else 1

    def read(self, trajectory: int, frames: slice) -> np.ndarray:
        """[frame, *space, channel] of one trajectory."""
        at = {"trajectory": trajectory, "frame": frames}
        values = self.array[tuple(at.get(axis, slice(None)) for axis in self.axes)]
        left = [axis for axis in self.axes if axis != "trajectory"]
        values = values.transpose([left.index(axis) for axis in ORDER if axis in left])
        return values if "channel" in left else values[..., None]


class States:
    """Trajectories of one or several files, read one at a time.

    Args:
      parts: of each file its fields, which together are the channels; all of one grid.
    """

    def __init__(self, parts: Sequence[Sequence[Field]]):
        self._parts = parts
        counts = [fields[0].size("trajectory") for fields in parts]
        self._ends = list(itertools.accumulate(counts))
        first = parts[0][0]
        space = tuple(first.size(axis) for axis in ("y", "x") if axis in first.axes)
        channels = sum(field.size("channel") for field in parts[0])
        self.shape = (self._ends[-1], first.size("frame"), *space, channels)
        self.dtype = np.result_type(*(f.array.dtype for fields in parts for f in fields))

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, trajectory: int, frames: slice = slice(None)) -> np.ndarray:
        """[frame, *space, channel] of one trajectory."""
        part = bisect.bisect_right(self._ends, trajectory)
        number = trajectory - (self._ends[part - 1] if part else 0)
        fields = [field.read(number, frames) for field in self._parts[part]]
        return fields[0] if len(fields) == 1 else np.concatenate(fields, -1)


class Pieces:
    """Some trajectories of States, which look like an array but stay in their files.

    It has shape, dtype, ndim, nbytes and len; iterating gives trajectories. An index takes a
    number, a slice or a list of trajectories, a number or a slice of frames, and what follows.

    Args:
      states: in files. chosen: their numbers. dtype: of what is read.
    """

    def __init__(self, states: States, chosen: Sequence[int], dtype: str):
        self._states, self._chosen = states, np.asarray(chosen, int)
        self.shape = (len(self._chosen), *states.shape[1:])
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)
        self.nbytes = int(np.prod(self.shape, dtype=float)) * self.dtype.itemsize

    def of(self, chosen: Sequence[int]) -> "Pieces":
        """Those of these numbers."""
        return Pieces(self._states, self._chosen[list(chosen)], self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index) -> np.ndarray:
        which, *rest = index if isinstance(index, tuple) else (index,)
        frames, *rest = rest or [slice(None)]
        chosen = self._chosen[which]
        if np.ndim(chosen) == 0:
            return self._read(chosen, frames)[tuple(rest)]
        read = [self._read(i, frames) for i in chosen]
        return np.stack(read)[(slice(None), *([] if self._one(frames) else [slice(None)]), *rest)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    @staticmethod
    def _one(frames) -> bool:
        return not isinstance(frames, slice)

    def _read(self, trajectory, frames) -> np.ndarray:
        one = self._one(frames)
        start = range(self.shape[1])[frames] if one else frames
        wanted = slice(start, start + 1) if one else slice(*frames.indices(self.shape[1]))
        values = self._states.read(int(trajectory), wanted).astype(self.dtype)
        return values[0] if one else values
