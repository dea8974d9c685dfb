"""Losses of one time level, as objects that add up: what training minimises.

    loss = Supervised() + 0.1 * PhysicsResidual(reference)

A loss is bound to the parameters of a batch and is then a function of one unrolled step, which
gives a value per sample. A loss of your own is a subclass with ``bind``.
"""

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Stepper
from tfunroll.stepping.levels import UNIFORM, Levels, relative
from tfunroll.stepping.unrolling import LevelLoss, Unrolling

LOSSES = ("supervised", "physics", "crps")


def mean_squared_error(
    state: State,
    target: State,
    channels: int | None = None,
    active: np.ndarray | None = None,
    std: tuple[float, ...] = (),
) -> tf.Tensor:
    """Mean of (state − target)² over space and leading channels (None: all), [batch].

    Args:
      active: where a channel counts, [*space, channel] bool; None: everywhere.
      std: of each channel, in units of which it counts; empty: as it is.
    """
    squares = tf.math.squared_difference(state[..., :channels], target[..., :channels])
    if std:
        squares /= tf.constant(np.square(std[:channels]), squares.dtype)
    return _mean(squares, None if active is None else active[..., :channels])


def _mean(values, counts=None):
    """Over space and channels, where these count: [batch]."""
    axes = list(range(1, values.shape.rank))
    if counts is None:
        return tf.reduce_mean(values, axes)
    # tf.where, not a product: what is not finite where nothing counts has no say
    counted = tf.where(tf.constant(counts), values, 0)
    return tf.reduce_mean(counted, axes) / float(counts.mean())


class Loss(abc.ABC):
    """What one unrolled step costs.

    Attributes:
      compilable: whether XLA can compile it. differentiable: whether it has a gradient by the state
        that enters the step; WIG needs one.
      members: rollouts of each sample that it compares; they stand one after the other.
      solvers: in it, which a ladder may refine.
    """

    compilable: bool = True
    differentiable: bool = True
    members: int = 1
    solvers: tuple[Solver, ...] = ()

    @abc.abstractmethod
    def bind(self, params: Params) -> LevelLoss:
        """(k, before, after, target) -> value of each sample, [batch], for these parameters.

        k counts the steps from 0; target is the reference frame after step k.
        """

    def fitted(self, stepper: Stepper) -> "Loss":
        """The same with what it leaves open filled in from the stepper that is trained."""
        return self

    def unrolled(self, unrolling: Unrolling) -> "Loss":
        """The same for this unrolling; InputError if it cannot serve it."""
        return self

    def at(self, knob: str, count: int | tf.Tensor) -> "Loss":
        """The same with its solvers at another number of a knob: see Solver.at."""
        return self

    def __add__(self, other: "Loss") -> "Loss":
        return Sum((self, other))

    def __rmul__(self, factor: float) -> "Loss":
        return Scaled(self, factor)

    __mul__ = __rmul__


@dataclass(frozen=True, eq=False)
class Supervised(Loss):
    """The mean squared distance of each unrolled state to the reference frame.

    Attributes:
      channels: leading state channels that count; by default those that the network changes.
      active: where a channel counts, [*space, channel] bool; by default where it lives.
      std: of each channel, in units of which it counts; by default those of the features.
      levels: how much each level counts in the gradient; the loss that is reported remains the
        plain mean over levels, so that trainings can be compared.
    """

    channels: int | None = None
    active: np.ndarray | None = None
    levels: Levels = UNIFORM
    std: tuple[float, ...] = ()

    def fitted(self, stepper: Stepper) -> Loss:
        fitted, features = _fitted(self, stepper), getattr(stepper, "features", None)
        return fitted if features is None or self.std else replace(fitted, std=features.std)

    def unrolled(self, unrolling: Unrolling) -> Loss:
        weights = relative(self.levels, unrolling)
        if (weights[unrolling.pushforward :] == 1).all():
            return self
        return Weighted(self, tuple(weights))

    def bind(self, params: Params) -> LevelLoss:
        return lambda k, before, after, target: mean_squared_error(
            after, target, self.channels, self.active, self.std
        )


@dataclass(frozen=True, eq=False)
class PhysicsResidual(Loss):
    """The mean squared distance of each state to one reference-solver step from the state before.

    Needs no reference frames, only a differentiable solver on the data's own grid.

    Attributes:
      reference: the solver; None as in System.reference, which is refused.
      channels, active: as in Supervised.
    """

    reference: Solver
    channels: int | None = None
    active: np.ndarray | None = None

    def __post_init__(self):
        if not callable(getattr(self.reference, "bind", None)):
            raise InputError(
                f"reference={self.reference!r} of PhysicsResidual is no solver; it needs the "
                "solver that made the data: system.reference()"
            )

    @property
    def compilable(self) -> bool:
        return getattr(self.reference, "compilable", True)

    @property
    def differentiable(self) -> bool:
        return getattr(self.reference, "differentiable", True)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (self.reference,)

    def at(self, knob: str, count: int | tf.Tensor) -> Loss:
        return replace(self, reference=self.reference.at(knob, count))

    def fitted(self, stepper: Stepper) -> Loss:
        return _fitted(self, stepper)

    def bind(self, params: Params) -> LevelLoss:
        step = self.reference.bind(params)
        return lambda k, before, after, target: mean_squared_error(
            after, step(before), self.channels, self.active
        )


@dataclass(frozen=True, eq=False)
class CRPS(Loss):
    """Fair continuous ranked probability score of a stochastic stepper's members, level by level.

        1/M Σ_i |x_i − y| − 1/(M (M − 1)) Σ_{i<j} |x_i − x_j|

    mean over space and channels, in units of the state. It is least, on average, where members and
    truth are of one distribution, so that noise is trained to be as large as what is not known.

    Attributes:
      members: M, at least 2; the batch takes as many times the memory.
      channels, active: as in Supervised.
    References: Gneiting & Raftery, JASA 102, 359 (2007); Ferro, QJRMS 140, 1917 (2014).
    """

    members: int = 4
    channels: int | None = None
    active: np.ndarray | None = None

    def __post_init__(self):
        if isinstance(self.members, bool) or not isinstance(self.members, int) or self.members < 2:
            raise InputError(
                f"members={self.members!r} of the CRPS must be at least 2: one has no spread, and "
                "its fair score divides by zero"
            )

    def fitted(self, stepper: Stepper) -> Loss:
        if not hasattr(stepper, "keyed"):
            raise InputError(
                f"the CRPS judges the members of a stochastic stepper, and a "
                f"{type(stepper).__name__} has none; needed: a Stochastic"
            )
        return _fitted(self, stepper)

    def bind(self, params: Params) -> LevelLoss:
        count = self.members

        def level_loss(k, before, after, target):
            x = tf.unstack(tf.reshape(after, [-1, count, *after.shape[1:]]), axis=1)
            y = target[::count]
            error = tf.add_n([self._distance(one, y) for one in x]) / count
            pairs = [self._distance(a, b) for a, b in itertools.combinations(x, 2)]
            score = error - tf.add_n(pairs) / (count * (count - 1))
            # one value a sample, whose mean it remains; XLA has no gradient of tf.repeat in a loop
            return tf.reshape(score[:, None] * tf.ones([count], score.dtype), [-1])

        return level_loss

    def _distance(self, a, b):
        distance = tf.abs(a[..., : self.channels] - b[..., : self.channels])
        return _mean(distance, None if self.active is None else self.active[..., : self.channels])


@dataclass(frozen=True, eq=False)
class Sum(Loss):
    """The sum of several losses, such as a distance and a penalty."""

    terms: tuple[Loss, ...]

    @property
    def members(self) -> int:
        return max(term.members for term in self.terms)

    @property
    def compilable(self) -> bool:
        return all(term.compilable for term in self.terms)

    @property
    def differentiable(self) -> bool:
        return all(term.differentiable for term in self.terms)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return tuple(solver for term in self.terms for solver in term.solvers)

    def at(self, knob: str, count: int | tf.Tensor) -> Loss:
        return Sum(tuple(term.at(knob, count) for term in self.terms))

    def fitted(self, stepper: Stepper) -> Loss:
        return Sum(tuple(term.fitted(stepper) for term in self.terms))

    def unrolled(self, unrolling: Unrolling) -> Loss:
        return Sum(tuple(term.unrolled(unrolling) for term in self.terms))

    def bind(self, params: Params) -> LevelLoss:
        bound = [by_sample(term, params) for term in self.terms]
        return lambda *step: tf.add_n([term(*step) for term in bound])


@dataclass(frozen=True, eq=False)
class Scaled(Loss):
    """A loss times a factor, or times a factor per time level.

    Attributes:
      factor: a number, or one per unroll step: the longest horizon's.
    """

    term: Loss
    factor: float | Sequence[float]

    @property
    def members(self) -> int:
        return self.term.members

    @property
    def compilable(self) -> bool:
        return self.term.compilable

    @property
    def differentiable(self) -> bool:
        return self.term.differentiable

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return self.term.solvers

    def at(self, knob: str, count: int | tf.Tensor) -> Loss:
        return replace(self, term=self.term.at(knob, count))

    def fitted(self, stepper: Stepper) -> Loss:
        return replace(self, term=self.term.fitted(stepper))

    def unrolled(self, unrolling: Unrolling) -> Loss:
        if np.ndim(self.factor) and len(self.factor) < unrolling.steps:
            raise InputError(
                f"factor of a loss has {len(self.factor)} levels; an unrolling has "
                f"{unrolling.steps} steps"
            )
        return replace(self, term=self.term.unrolled(unrolling))

    def bind(self, params: Params) -> LevelLoss:
        bound = self.term.bind(params)

        def level_loss(k, before, after, target):
            return bound(k, before, after, target) * self._factor(k, after.dtype)

        return level_loss

    def _factor(self, k, dtype):
        factor = tf.constant(self.factor, dtype)
        return factor[k] if np.ndim(self.factor) else factor


@dataclass(frozen=True, eq=False)
class Weighted(Scaled):
    """A loss whose gradient alone is multiplied by the factor: it keeps its value, to the bit."""

    def bind(self, params: Params) -> LevelLoss:
        bound = self.term.bind(params)

        def level_loss(k, before, after, target):
            value = bound(k, before, after, target)
            plain = tf.stop_gradient(value)
            return plain + self._factor(k, after.dtype) * (value - plain)

        return level_loss


def by_sample(loss: Loss, params: Params) -> LevelLoss:
    """``loss.bind(params)`` that raises InputError where it does not give a value per sample.

    A mean over all samples would do for one seed; of several side by side it would mix the samples.
    """
    bound = loss.bind(params)

    def level_loss(k, before, after, target):
        value, wanted = bound(k, before, after, target), after.shape[:1]
        if value.shape.rank != 1 or not value.shape.is_compatible_with(wanted):
            raise InputError(
                f"loss={type(loss).__name__} gives values of shape {value.shape} in a step of "
                f"{wanted[0]} samples; needed: one per sample, {wanted}"
            )
        return value

    return level_loss


def _fitted(loss, stepper):
    features = getattr(stepper, "features", None)
    if features is None or loss.channels is not None:
        return loss
    return replace(loss, channels=features.out_channels, active=features.active)
