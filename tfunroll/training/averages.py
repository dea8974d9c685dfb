"""Means of the weights of one training, kept beside them and used in their place when it ends.

Values of Trainer(average=...): a number is the decay of an EMA, 0 is none.
"""

import abc
from dataclasses import dataclass

import tensorflow as tf

from tfunroll import options
from tfunroll.core import InputError
from tfunroll.options import Options, option


class Average(abc.ABC):
    """A running mean of weights."""

    @abc.abstractmethod
    def moved(self, mean: tf.Tensor, flat: tf.Tensor, update: tf.Tensor) -> tf.Tensor:
        """The mean after an update: ``mean`` that before, ``flat`` the weights after it, both [P],
        ``update`` the number of updates before it."""


@dataclass(frozen=True)
class EMA(Average):
    """An exponential moving average from the initial weights on.

        θ̄ ← b θ̄ + (1 − b) θ,   b = min(decay, (1 + t) / (10 + t)) at update t

    It forgets its start soon: it spans a ninth of the updates done, and at most 1 / (1 − decay).
    """

    decay: float = 0.999

    def __post_init__(self):
        if not 0 < self.decay < 1:
            raise InputError(f"average={self.decay} must lie in [0, 1); 0 keeps none")

    def moved(self, mean, flat, update):
        done = tf.cast(update, flat.dtype)
        keep = tf.minimum(tf.cast(self.decay, flat.dtype), (1 + done) / (10 + done))
        return keep * mean + (1 - keep) * flat


@dataclass(frozen=True)
class SWA(Average):
    """Stochastic weight averaging: the mean of the weights after all updates from one on.

        θ̄ ← θ̄ + (θ − θ̄) / n,   n = t + 1 − start at update t; θ̄ = θ before

    An update that was skipped counts as the mean so far. Good values: the last quarter of a
    training, at a rate that does not fall to zero.

    Attributes: start: updates before the first that counts.
    References: Izmailov et al. (2018), arXiv:1803.05407.
    """

    start: int

    def __post_init__(self):
        if isinstance(self.start, bool) or not isinstance(self.start, int) or self.start < 0:
            raise InputError(f"start={self.start!r} of SWA must be a whole number of at least 0")

    def moved(self, mean, flat, update):
        count = tf.maximum(tf.cast(update + 1 - self.start, flat.dtype), 1)
        return mean * (1 - 1 / count) + flat / count


@dataclass(frozen=True)
class Late(Options):
    """Which updates ``swa`` averages."""

    part: float = option(0.25, 0.0, 1.0, "last part of the updates that counts", 1, True)


def of(average: float | Average | None) -> Average | None:
    """What a Trainer is given as an Average, or None for 0; InputError for anything else."""
    if average is None or isinstance(average, Average):
        return average
    if isinstance(average, bool) or not isinstance(average, int | float):
        raise InputError(f"average={average!r} must be a number in [0, 1), an EMA or an SWA")
    return EMA(float(average)) if average else None


def read(text: str, updates: int = 1) -> Average | None:
    """The average that a setting names: "0.999", "swa" or "swa:part=0.5" of so many updates.

    Raises: InputError: for anything else.
    """
    decay = _number(text)
    if decay is not None:
        return of(decay)
    if not text.startswith("swa"):
        raise InputError(
            f"average={text!r} is unknown; allowed: a decay in [0, 1) such as 0.999, 0 for none, "
            "swa, or swa:part=0.5"
        )
    _, late = options.read("average", text, {"swa": Late})
    return SWA(updates - max(1, round(late.part * updates)))


def plain(text: str) -> str:
    """The one text of all that mean the same: "0", "0.999", "swa:part=0.5"; as ``read``."""
    if read(text) is None:
        return "0"
    decay = _number(text)
    return repr(decay) if decay else options.write(*options.read("average", text, {"swa": Late}))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
