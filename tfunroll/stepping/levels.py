"""How much each level of an unrolling counts in what training minimises.

    loss = Σ_k w_k ℓ_k / Σ_k w_k      over the levels after the push-forward

A value of Supervised: ``Supervised(levels=Last())``. One of your own is a subclass of Levels.
"""

import abc
from dataclasses import dataclass

import numpy as np

from tfunroll import options
from tfunroll.core import InputError
from tfunroll.options import Options, option
from tfunroll.stepping.unrolling import Unrolling


class Levels(abc.ABC):
    """Weights of the levels of any horizon."""

    @abc.abstractmethod
    def weights(self, steps: int) -> np.ndarray:
        """Of the levels of a horizon, [steps], up to a common factor."""


@dataclass(frozen=True)
class Uniform(Options, Levels):
    """Every level counts alike."""

    def weights(self, steps: int) -> np.ndarray:
        return np.ones(steps)


@dataclass(frozen=True)
class Last(Options, Levels):
    """The last level alone."""

    def weights(self, steps: int) -> np.ndarray:
        return np.eye(steps)[-1]


@dataclass(frozen=True)
class Discount(Options, Levels):
    """Each level counts ``factor`` times as much as the one before."""

    factor: float = option(0.9, 0.0, 1.0, "weight of a level over that of the one before", 1, True)

    def weights(self, steps: int) -> np.ndarray:
        return np.float64(self.factor) ** np.arange(steps)


UNIFORM = Uniform()
KINDS = {"uniform": Uniform, "last": Last, "discount": Discount}


def relative(levels: Levels, unrolling: Unrolling) -> np.ndarray:
    """The weights that make the mean over levels the weighted one, [steps]: they average to one.

    Raises: InputError: of another number, negative or not finite, or of sum zero over the levels
      after the push-forward.
    """
    steps, pushforward = unrolling.steps, unrolling.pushforward
    weights = np.asarray(levels.weights(steps), np.float64)
    where = f"level_weights={str_of(levels)!r}"
    if weights.shape != (steps,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{where} must be {steps} finite numbers of at least 0, one per step")
    total = weights[pushforward:].sum()
    if not total > 0:
        raise InputError(
            f"{where} sum to zero over steps={steps} with pushforward={pushforward}; at least one "
            "level must count"
        )
    return weights * (steps - pushforward) / total


def read(text: str) -> Levels:
    """The value that a text such as "discount:factor=0.8" names; InputError for any other."""
    return options.read("level_weights", text, KINDS)[1]


def str_of(levels: Levels) -> str:
    """The text that ``read`` takes, or the class's name of one that is not of KINDS."""
    for name, kind in KINDS.items():
        if type(levels) is kind:
            return options.write(name, levels)
    return type(levels).__name__
