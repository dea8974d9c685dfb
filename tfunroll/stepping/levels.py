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


@dataclass(frozen=True)
class Lyapunov(Options, Levels):
    """w_k = exp(−2 k / time): as the squares of errors grow in a chaotic system, levels weigh less.

    ``time`` is 1/λ1 in frames, System.lyapunov_time; a flag that names none takes that.
    """

    time: float = option(0.0, 0.0, 1e6, "Lyapunov time in frames; 0: the system's")

    def weights(self, steps: int) -> np.ndarray:
        if not self.time:
            raise InputError(
                "level_weights='lyapunov' needs a time, such as lyapunov:time=12 frames; this "
                "system names none"
            )
        return np.exp(-2 * np.arange(steps) / self.time)


@dataclass(frozen=True)
class Balanced(Options, Levels):
    """Each level's gradient counts alike: weights follow the inverse of its norm.

        w_k ← clamp(mean of G_1 / G_k, w_k / 10, 10 w_k),   G_k = ‖∂ℓ_k/∂θ‖

    measured every few updates on a quarter of the batch, with an exponential mean of span 50
    (training.balance). Large late gradients weigh less, so the effective horizon Σ k w_k / Σ w_k,
    which is recorded, shrinks. Reference: Gurumurthy et al. (CVPR 2024), arXiv:2406.07785.
    """

    def weights(self, steps: int) -> np.ndarray:
        """Those before the first measurement."""
        return np.ones(steps)


UNIFORM = Uniform()
KINDS = {
    "uniform": Uniform,
    "last": Last,
    "discount": Discount,
    "lyapunov": Lyapunov,
    "balanced": Balanced,
}


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
    if not weights[pushforward:].sum() > 0:
        raise InputError(
            f"{where} sum to zero over steps={steps} with pushforward={pushforward}; at least one "
            "level must count"
        )
    return normalised(weights, unrolling)


def normalised(weights: np.ndarray, unrolling: Unrolling) -> np.ndarray:
    """The same up to a factor, so that those after the push-forward average to one."""
    steps, pushforward = unrolling.steps, unrolling.pushforward
    return weights * (steps - pushforward) / weights[pushforward:].sum()


def read(text: str) -> Levels:
    """The value that a text such as "discount:factor=0.8" names; InputError for any other."""
    return options.read("level_weights", text, KINDS)[1]


def str_of(levels: Levels) -> str:
    """The text that ``read`` takes, or the class's name of one that is not of KINDS."""
    for name, kind in KINDS.items():
        if type(levels) is kind:
            return options.write(name, levels)
    return type(levels).__name__
