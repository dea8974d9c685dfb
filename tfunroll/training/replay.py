"""Replay: a buffer of the model's own states, from which a share of each batch starts.

Inputs then come from as many steps back as long unrolling would reach, at the price of a short one,
and the gradient stays what the modality says: with ONE it is the shift of the distribution without
any gradient through time.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, State

Buffer = dict[str, tf.Tensor]  # each [R, …], or [K, R, …] for K seeds side by side
Drawn = tuple[tf.Tensor, tf.Tensor]  # trajectories and frames
FAR = 2.0  # times the data's largest value of a channel: a state beyond has diverged
HELD, EMPTY, LOST = 1, 0, -1  # an entry: of use, of none, of none since the last update


@dataclass(frozen=True)
class Replay:
    """How many states are kept, and which of them are used.

    Each update writes the states that its unrolling ends in to as many entries, drawn at random,
    with their trajectory, frame and age, the frames since they left the data. A ``share`` of the
    entries is what the update starts from, where it can: unless they would be older than
    ``max_age`` afterwards, or their trajectory would end, or they have diverged: are not finite, or
    beyond FAR times the data. All other samples start from data. In units of the horizon, ages of
    starts are then geometrically distributed:

        P(age = j) = (1 − share) share^j     up to the limit

    Attributes:
      size: entries; at least the batch. share: in [0, 1]; 0 is training without replay.
      max_age: in frames; good value: the Lyapunov time, as older states have nothing in common with
        the frame that they are compared with. With the horizon it is training without replay.
    Raises: InputError: impossible numbers.
    """

    size: int = 256
    share: float = 0.5
    max_age: int = 12

    def __post_init__(self):
        if self.size < 1 or self.max_age < 1 or not 0 <= self.share <= 1:
            raise InputError(
                f"replay={self}: size and age must be at least 1, the share between 0 and 1"
            )

    def __str__(self) -> str:
        return f"{self.size}:{self.share:g}:{self.max_age}"

    @staticmethod
    def read(text: str, max_age: float | None = None) -> "Replay":
        """Of "size:share:max_age"; the latter, where it is left out, is ``max_age``.

        Raises: InputError: another text.
        """
        parts = text.split(":")
        if len(parts) == 2 and max_age is not None:
            parts.append(str(int(max_age)))
        try:
            size, share, age = parts
            values = int(size), float(share), int(age)
        except ValueError:
            left = "the last may be left out" if max_age is not None else "this system has no usual"
            raise InputError(
                f"replay={text!r} is not size:share:largest age in frames, such as 256:0.5:12; "
                f"{left}{'' if max_age is not None else ' age'}"
            ) from None
        return Replay(*values)

    def start(self, state: State, seeds: tuple[int, ...] = ()) -> Buffer:
        """An empty buffer for states like these, [batch, *space, channel]."""
        numbers = ("trajectory", "frame", "age", "held")
        shape = (*seeds, self.size)
        return {"states": tf.zeros([*shape, *state.shape[1:]], state.dtype)} | {
            name: tf.zeros(shape, tf.int64) for name in numbers
        }

    def slots(self, seed: tf.Tensor, update: tf.Tensor, updates: int, batch: int) -> tf.Tensor:
        """The entries that each of some updates from ``update`` on meets, [updates · batch] int64.

        Those of one update all differ.
        """
        of_update = tf.repeat(update + tf.range(updates, dtype=tf.int64), batch)
        zeros = tf.zeros_like(of_update)
        # as Windows.draw, whose keys have a horizon of at least 1 where this one has 0
        return tf.raw_ops.RandomIndexShuffle(
            index=tf.tile(tf.range(batch, dtype=tf.int64), [updates]),
            seed=tf.stack([zeros + tf.cast(seed, tf.int64), zeros, of_update], 1),
            max_index=tf.constant(self.size - 1, tf.int64),
        )

    def take(
        self, buffer: Buffer, slots: tf.Tensor, drawn: Drawn, steps: int, frames: int
    ) -> tuple[Drawn, tf.Tensor, tf.Tensor, State]:
        """What a batch starts from.

        Args:
          slots: [batch] or [K, batch]. drawn: from the data, likewise.
          frames: of a trajectory.
        Returns:
          trajectories and frames as ``drawn``; the ages, [K · batch], where at least one if it is
          from the buffer; and the states there, [K · batch, *space, channel].
        """
        place, batch = self._places(slots), slots.shape[-1]
        states, *numbers = (
            tf.gather(tf.reshape(buffer[n], [-1, *buffer[n].shape[slots.shape.rank :]]), place)
            for n in ("states", "trajectory", "frame", "age", "held")
        )
        trajectory, frame, age, held = numbers
        first = tf.range(batch) < round(self.share * batch)
        used = tf.tile(first, [place.shape[0] // batch]) & (held == HELD)
        used &= (age + steps <= self.max_age) & (frame + steps < frames)
        drawn = tuple(
            tf.reshape(tf.where(used, own, tf.reshape(other, [-1])), slots.shape)
            for own, other in zip((trajectory, frame), drawn, strict=True)
        )
        return drawn, tf.where(used, age, 0), states

    def give(
        self,
        buffer: Buffer,
        slots: tf.Tensor,
        drawn: Drawn,
        age: tf.Tensor,
        steps: int,
        final: State,
        applied: tf.Tensor,
        limit: np.ndarray | float = np.inf,
    ) -> Buffer:
        """The buffer after an update.

        Args:
          drawn, age: of ``take``. final: where the unrolling ended, [K · batch, *space, channel].
          applied: whether the update was, a scalar or [K]; else its entries are given up, but kept
            so that it can be diagnosed.
          limit: largest value of a state that is of use, [channel] or one for all.
        """
        place, rank = self._places(slots), slots.shape.rank
        applied = tf.repeat(tf.reshape(applied, [-1]), slots.shape[-1])
        near = tf.math.is_finite(final) & (tf.abs(final) <= tf.constant(limit, final.dtype))
        near = tf.reduce_all(near, list(range(1, final.shape.rank)))
        held = tf.gather(tf.reshape(buffer["held"], [-1]), place)
        new = {
            "states": final,
            "trajectory": tf.reshape(drawn[0], [-1]),
            "frame": tf.reshape(drawn[1], [-1]) + steps,
            "age": age + steps,
            "held": tf.where(near, tf.constant(HELD, tf.int64), EMPTY),
        }
        lost = tf.where(held == HELD, tf.constant(LOST, tf.int64), EMPTY)

        def written(name, values):
            old = tf.reshape(buffer[name], [-1, *buffer[name].shape[rank:]])
            kept = lost if name == "held" else tf.gather(old, place)
            mask = tf.reshape(applied, [-1] + [1] * (values.shape.rank - 1))
            values = tf.where(mask, values, kept)
            return tf.reshape(
                tf.tensor_scatter_nd_update(old, place[:, None], values), buffer[name].shape
            )

        return {name: written(name, values) for name, values in new.items()}

    def before(self, buffer: Buffer) -> Buffer:
        """The buffer that the last update met, if that was not applied."""
        lost = buffer["held"] == LOST
        return buffer | {"held": tf.where(lost, tf.constant(HELD, tf.int64), buffer["held"])}

    def _places(self, slots):
        """Of entries in the buffers of all seeds, one after the other: [K · batch]."""
        if slots.shape.rank == 1:
            return slots
        seeds = tf.range(slots.shape[0], dtype=slots.dtype)
        return tf.reshape(slots + self.size * seeds[:, None], [-1])
