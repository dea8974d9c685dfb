"""Shuffled windows of trajectories, as a pure function of (seed, position): nothing to save."""

import math

import numpy as np
import tensorflow as tf

from tfunroll.arrays import Pieces
from tfunroll.core import InputError, Params
from tfunroll.data.trajectories import Trajectories, check_split

HELD = 2**26  # bytes of windows that are read ahead of a compiled call, at most


def windows_of(trajectories: Trajectories, dtype: str = "float32") -> "Windows":
    """Windows of trajectories in memory, or of those that stay in their files."""
    states = check_split("data", trajectories).states
    kind = Streamed if isinstance(states, Pieces) else Windows
    return kind(trajectories, dtype)


class Windows:
    """Every stretch of ``steps + 1`` frames of the trajectories, shuffled anew in each epoch.

    There is one endless stream of windows per horizon and seed. Its order in each epoch is a
    stateless pseudo-random permutation (RandomIndexShuffle) of the epoch's number, so that the data
    position of a resumed run is one integer, and no window comes twice before all came once.

    Args:
      trajectories: one split in memory, [trajectory, frame, *space, channel].
      dtype: of the batches.
    """

    streamed = False  # whether windows are fetched outside the graph

    def __init__(self, trajectories: Trajectories, dtype: str = "float32"):
        states = check_split("data", trajectories).states
        self.trajectories, self.frames = states.shape[:2]
        self._ids = trajectories.ids
        self._params = {k: tf.constant(v, dtype) for k, v in trajectories.params.items()}
        self._hold(states, dtype)

    def _hold(self, states, dtype):
        try:  # all of it in the device's memory, where compiled updates read it
            self._states = tf.constant(states.reshape(-1, *states.shape[2:]), dtype)
        except tf.errors.ResourceExhaustedError:
            raise InputError(
                f"the training split of {states.nbytes / 1e9:.1f} GB does not fit the device's "
                "memory; use a smaller dataset_config"
            ) from None
        self._mean_squares = np.mean(np.square(states, dtype=np.float64), (0, 1))
        axes = tuple(range(states.ndim - 1))
        self._largest = np.maximum(states.max(axes), -states.min(axes))

    def rms(self, active: np.ndarray | None = None) -> np.ndarray:
        """Root mean square of each channel where it lives, and 0 elsewhere: [*space, channel].

        Args: active: True where a channel lives, [*space, channel]; None: everywhere.
        """
        alive = np.ones(self._mean_squares.shape, bool) if active is None else active
        space = tuple(range(alive.ndim - 1))
        count = np.maximum(alive.sum(space), 1)
        return np.sqrt(np.where(alive, self._mean_squares, 0).sum(space) / count) * alive

    def largest(self) -> np.ndarray:
        """The largest absolute value of each channel, [channel]; of states in memory."""
        return self._largest

    def check(self, steps: int) -> None:
        """InputError if a window does not fit the trajectories."""
        if steps >= self.frames:
            raise InputError(
                f"steps={steps} does not fit trajectories of {self.frames} frames; "
                f"allowed: 1 to {self.frames - 1}"
            )

    def count(self, steps: int) -> int:
        """Number of windows."""
        return self.trajectories * (self.frames - steps)

    def draw(
        self, seed: int | tf.Tensor, position: tf.Tensor, size: int, steps: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Which windows are samples ``position`` to ``position + size`` of the shuffled stream.

        Returns: their trajectories and start frames, each [size] int64.
        """
        samples = tf.cast(position, tf.int64) + tf.range(size, dtype=tf.int64)
        count, starts = self.count(steps), self.frames - steps
        epoch, place = samples // count, samples % count
        # One permutation per (seed, horizon, epoch). The raw op: its wrapper pads a key per sample
        # wrongly (TensorFlow 2.21).
        key = tf.stack(
            [
                tf.zeros_like(samples) + tf.cast(seed, tf.int64),
                tf.zeros_like(samples) + steps,
                epoch,
            ],
            1,
        )
        window = tf.raw_ops.RandomIndexShuffle(
            index=place, seed=key, max_index=tf.constant(count - 1, tf.int64)
        )
        return window // starts, window % starts

    def most(self, size: int, steps: int) -> float:
        """Batches of ``size`` windows that may be fetched at once."""
        return math.inf

    def fetch(
        self, trajectory: tf.Tensor, start: tf.Tensor, steps: int, needed: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What ``read`` takes, of windows that were drawn, each [..., size].

        Args: needed: of the last axis, how many will be read; None: all.
        """
        return trajectory, start

    def read(self, trajectory: tf.Tensor, start: tf.Tensor, steps: int) -> tuple[tf.Tensor, Params]:
        """The windows at ``start`` of ``trajectory``, each [size], after ``fetch``.

        Returns: [size, steps + 1, *space, channel] and the parameters, each [size].
        """
        first = trajectory * self.frames + start
        frames = first[:, None] + tf.range(steps + 1, dtype=tf.int64)
        params = {name: tf.gather(values, trajectory) for name, values in self._params.items()}
        return tf.gather(self._states, frames), params

    def example(self) -> tuple[tf.Tensor, Params]:
        """The first frame of all and its parameters, as a batch of one."""
        return self._states[:1], {name: values[:1] for name, values in self._params.items()}

    def name(self, trajectory: int, start: int) -> tuple[str, int]:
        """The trajectory's id and the frame of one window."""
        return self._ids[trajectory], start


class Streamed(Windows):
    """The same windows in the same order, of trajectories that stay in their files.

    ``fetch`` reads them, on the host and outside a graph, and ``read`` takes the states it gives in
    place of the start frames.
    """

    streamed = True

    def _hold(self, states, dtype):
        self._pieces, self._dtype = states, dtype
        sums = sum(np.square(u, dtype=np.float64).sum(0) for u in states)
        self._mean_squares = sums / (self.trajectories * self.frames)

    def most(self, size: int, steps: int) -> float:
        item = tf.as_dtype(self._dtype).size
        return HELD / (size * (steps + 1) * math.prod(self._pieces.shape[2:]) * item)

    def fetch(self, trajectory, start, steps, needed=None):
        shape = (*trajectory.shape, steps + 1, *self._pieces.shape[2:])
        states = np.zeros(shape, tf.as_dtype(self._dtype).as_numpy_dtype)
        which, first = trajectory.numpy(), start.numpy()
        for place in np.ndindex(which[..., :needed].shape):
            states[place] = self._pieces[which[place], first[place] : first[place] + steps + 1]
        return trajectory, tf.constant(states)

    def read(self, trajectory, start, steps):
        params = {name: tf.gather(values, trajectory) for name, values in self._params.items()}
        return start, params

    def example(self):
        first = {name: values[:1] for name, values in self._params.items()}
        return tf.constant(self._pieces[:1, 0], self._dtype), first
