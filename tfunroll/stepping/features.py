"""What a network sees and what its output means: the only place where scaling lives."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import NotRequired

import numpy as np
import tensorflow as tf
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll.core import InputError, Params, State

ARRAYS = ("static", "active")


class SavedFeatures(TypedDict):
    """Features as JSON values."""

    param_scales: dict[str, float]
    state_channels: int
    out_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    static: NotRequired[list | None]
    active: NotRequired[list | None]


@dataclass(frozen=True)
class Features:
    """Builds the network's input from state and parameters, and state increments from its output.

        input = [(state − mean) / std, scale_p · p for each parameter p, static channels]
        increment = std · output, zero in the channels the network leaves alone

    Attributes:
      param_scales: factor per parameter name, in the order of the input channels.
      state_channels: channels of the state.
      out_channels: leading state channels the network changes.
      mean, std: of the training split per state channel; 0 and 1 where states enter raw (KS).
      static: channels that never change, [*space, channel], or None.
      active: where a state channel lives, [*space, channel] bool, or None: everywhere. Increments
        are zero elsewhere.
    """

    param_scales: Mapping[str, float]
    state_channels: int
    out_channels: int
    mean: tuple[float, ...] = field(default=())
    std: tuple[float, ...] = field(default=())
    static: np.ndarray | None = None
    active: np.ndarray | None = None

    def __post_init__(self):
        for values in (self.mean, self.std):
            if len(values) != (self.state_channels if self.mean or self.std else 0):
                raise InputError(
                    f"mean={self.mean}, std={self.std}: needs one value of each per state channel, "
                    f"{self.state_channels}, or none"
                )

    @property
    def in_channels(self) -> int:
        static = 0 if self.static is None else self.static.shape[-1]
        return self.state_channels + len(self.param_scales) + static

    def bind(self, params: Params):
        """Returns state -> network input, [batch, *space, in_channels]."""

        def inputs(state: State) -> tf.Tensor:
            ones = tf.ones_like(state[..., :1])
            rank = state.shape.rank
            parts = [self._normalised(state)]
            for name, scale in self.param_scales.items():
                value = tf.reshape(scale * params[name], [-1] + [1] * (rank - 1))
                parts.append(value * ones)
            if self.static is not None:
                parts.append(tf.constant(self.static, state.dtype) * ones)
            return tf.concat(parts, -1)

        return inputs

    def increment(self, output: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Network output as a change of the state, [batch, *space, state_channels]."""
        if output.shape[-1] != self.out_channels:  # one channel would broadcast over all
            raise ValueError(f"output has {output.shape[-1]} channels, not {self.out_channels}")
        output = tf.cast(output, dtype)
        if self.std:
            output *= tf.constant(self.std[: self.out_channels], dtype)
        if self.active is not None:
            output *= tf.constant(self.active[..., : self.out_channels].astype(float), dtype)
        missing = self.state_channels - self.out_channels
        if missing:
            output = tf.pad(output, [[0, 0]] * (output.shape.rank - 1) + [[0, missing]])
        return output

    def _normalised(self, state):
        if not self.std:
            return state
        return (state - tf.constant(self.mean, state.dtype)) / tf.constant(self.std, state.dtype)

    def to_json(self) -> SavedFeatures:
        """Plain values for a run's config file; from_json inverts it."""
        values = asdict(self)
        for name in ARRAYS:
            values[name] = None if values[name] is None else values[name].tolist()
        return values

    @staticmethod
    def from_json(values: SavedFeatures) -> "Features":
        """The inverse of ``to_json``. Raises: InputError: for arrays that are none."""
        values = dict(values, mean=tuple(values["mean"]), std=tuple(values["std"]))
        for name in ARRAYS:
            if values.get(name) is not None:
                try:
                    values[name] = np.asarray(values[name])
                    if values[name].dtype.kind not in "bif":
                        raise ValueError
                except ValueError:  # lists of different lengths, or of something else
                    raise InputError(f"features.{name} is no array of numbers") from None
        return Features(**values)
