"""Losses of one time level, as objects that add up: what training minimises.

    loss = Supervised() + 0.1 * PhysicsResidual(reference)

A loss is bound to the parameters of a batch and is then a function of one unrolled step, which
gives a value per sample. A loss of your own is a subclass with ``bind``.
"""

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Stepper, check_choice
from tfunroll.stepping.levels import UNIFORM, Balanced, Levels, relative
from tfunroll.stepping.unrolling import LevelLoss, Unrolling

LOSSES = ("supervised", "physics", "mixed", "spectral", "h1", "crps")
PERIODIC = ("spectral", "h1")  # these need a periodic box
BY_REFERENCE = ("physics", "mixed")  # and these the solver that made the data


def terms(text: str) -> tuple[tuple[float, str], ...]:
    """Factors and names of a sum such as "supervised+0.1*spectral".

    Raises: InputError: an unknown name, one that comes twice, a factor that is not above 0.
    """
    found = []
    for part in text.split("+"):
        factor, star, name = part.strip().rpartition("*")
        check_choice("loss", name, LOSSES)
        try:
            found.append((float(factor) if star else 1.0, name))
        except ValueError:
            found.append((np.nan, name))
    if len({name for _, name in found}) < len(found):
        raise InputError(f"loss={text!r} names one twice")
    if not all(0 < factor < np.inf for factor, _ in found):
        raise InputError(f"loss={text!r}: factors must be numbers above 0")
    return tuple(found)


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
      solvers: in it, which a ladder may refine.
      ahead: frames after the last step's that it needs, 0 or 1. With 1 a step's target is that of
        the step and the one after it, side by side by channels, [batch, *space, 2 · channels].
      balanced: whether its levels' weights are measured while training goes on (levels.Balanced).
      members: rollouts of each sample that it compares; they stand one after the other.
    """

    compilable: bool = True
    differentiable: bool = True
    solvers: tuple[Solver, ...] = ()
    balanced: bool = False
    ahead: int = 0
    members: int = 1

    @abc.abstractmethod
    def bind(self, params: Params) -> LevelLoss:
        """(k, before, after, target) -> value of each sample, [batch], for these parameters.

        k counts the steps from 0; target is the reference frame after step k.
        """

    def fitted(self, stepper: Stepper) -> "Loss":
        """The same with what it leaves open filled in from the stepper that is trained."""
        return self

    def unrolled(self, unrolling: Unrolling, weights: tf.Tensor | None = None) -> "Loss":
        """The same for this unrolling; InputError if it cannot serve it.

        Args: weights: of the levels, as measured, [steps] or [steps, batch]; for ``balanced``.
        """
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
        return _in_units(_fitted(self, stepper), stepper)

    @property
    def balanced(self) -> bool:
        return isinstance(self.levels, Balanced)

    def unrolled(self, unrolling: Unrolling, weights: tf.Tensor | None = None) -> Loss:
        if weights is not None and self.balanced:
            return Weighted(self, weights)
        weights = relative(self.levels, unrolling)
        if (weights[unrolling.pushforward :] == 1).all():
            return self
        return Weighted(self, tuple(weights))

    def bind(self, params: Params) -> LevelLoss:
        return lambda k, before, after, target: mean_squared_error(
            after, target, self.channels, self.active, self.std
        )


@dataclass(frozen=True, eq=False)
class ByReference(Loss):
    """A loss by the solver that made the data.

    Attributes:
      reference: that solver, on the data's own grid. channels, active: as in Supervised.
    """

    reference: Solver
    channels: int | None = None
    active: np.ndarray | None = None

    def __post_init__(self):
        if not callable(getattr(self.reference, "bind", None)):
            raise InputError(
                f"reference={self.reference!r} of {type(self).__name__} is no solver; it needs the "
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


@dataclass(frozen=True, eq=False)
class PhysicsResidual(ByReference):
    """The mean squared distance of each state to one reference-solver step from the state before.

    Needs no reference frames, only a differentiable solver on the data's own grid.

    Attributes:
      reference: the solver; None as in System.reference, which is refused.
      channels, active: as in Supervised.
    """

    def bind(self, params: Params) -> LevelLoss:
        step = self.reference.bind(params)
        return lambda k, before, after, target: mean_squared_error(
            after, step(before), self.channels, self.active
        )


@dataclass(frozen=True, eq=False)
class Mixed(ByReference):
    """The distance of one reference-solver step from each state to the reference frame after that.

        ‖S(u_k) − r_{k+1}‖²

    The network is trained by what the solver makes of its states, and holds no solver itself where
    it is a prediction. Its gradient passes the solver in ONE too.

    Attributes:
      reference: a differentiable solver on the data's own grid. channels, active: as in Supervised.
    Reference: the mixed chain of Bhatia, Koehler & Thuerey (ICLR 2025), arXiv:2502.19611.
    """

    ahead: ClassVar[int] = 1

    def __post_init__(self):
        super().__post_init__()
        if not self.differentiable:
            raise InputError(
                "loss=mixed passes gradients through the reference solver in every modality, and "
                "this one has none; allowed: supervised, or physics with ONE and NOG"
            )

    def bind(self, params: Params) -> LevelLoss:
        step = self.reference.bind(params)

        def level_loss(k, before, after, target):
            next_target = target[..., after.shape[-1] :]
            return mean_squared_error(step(after), next_target, self.channels, self.active)

        return level_loss


@dataclass(frozen=True, eq=False)
class Spectral(Loss):
    """How far the amplitudes of Fourier modes are apart, on a periodic box.

        Σ_k (|û_k| − |r̂_k|)²,   û = FFT(u) / number of points

    At most the mean squared error, which it is where phases agree. Phases have no say, so it is a
    term beside a distance, for spectra that stay right where trajectories have decorrelated.

    Attributes: channels: leading ones that count; by default those that the network changes.
    """

    channels: int | None = None

    def fitted(self, stepper: Stepper) -> Loss:
        return _fitted(self, stepper)

    def bind(self, params: Params) -> LevelLoss:
        def level_loss(k, before, after, target):
            size, wanted = (_amplitudes(x[..., : self.channels]) for x in (after, target))
            return _per_channel(tf.math.squared_difference(size, wanted))

        return level_loss


@dataclass(frozen=True, eq=False)
class H1(Loss):
    """The squared Sobolev distance on a periodic box: that of values and of first derivatives.

        Σ_k (1 + |k|²) |û_k − r̂_k|²,   k in waves per box, û as in Spectral

    Against the mean squared error, that of k = 0 alone, small scales count more.

    Attributes: channels: as in Spectral.
    """

    channels: int | None = None

    def fitted(self, stepper: Stepper) -> Loss:
        return _fitted(self, stepper)

    def bind(self, params: Params) -> LevelLoss:
        def level_loss(k, before, after, target):
            modes = _modes(after[..., : self.channels] - target[..., : self.channels])
            squares = _squares(modes)
            axes = [np.fft.fftfreq(n) * n for n in after.shape[1:-1]]
            square = sum(np.square(k) for k in np.meshgrid(*axes, indexing="ij"))
            return _per_channel(squares * tf.constant(1 + square, squares.dtype))

        return level_loss


def _modes(x):
    """Of [batch, *space, channel], Fourier coefficients [batch, channel, *space]."""
    axes = x.shape.rank - 2
    x = tf.transpose(x, [0, axes + 1, *range(1, axes + 1)])
    transform = {1: tf.signal.fft, 2: tf.signal.fft2d}[axes]
    return transform(tf.complex(x, tf.zeros_like(x))) / float(np.prod(x.shape[2:]))


def _squares(modes):
    return tf.square(tf.math.real(modes)) + tf.square(tf.math.imag(modes))


def _amplitudes(x):
    squares = _squares(_modes(x))
    return tf.sqrt(squares + np.finfo(squares.dtype.as_numpy_dtype).tiny)  # no slope of inf at zero


def _per_channel(modes):
    """The sum over modes, mean over channels, [batch]."""
    summed = tf.reduce_sum(modes, list(range(2, modes.shape.rank)))
    return tf.reduce_mean(summed, 1)


@dataclass(frozen=True, eq=False)
class CRPS(Loss):
    """Fair continuous ranked probability score of a stochastic stepper's members, level by level.

        1/M Σ_i |x_i − y| − 1/(M (M − 1)) Σ_{i<j} |x_i − x_j|

    mean over space and channels, in units of ``std``. It is least, on average, where members and
    truth are of one distribution, so that noise is trained to be as large as what is not known.

    Attributes:
      members: M, at least 2; the batch takes as many times the memory.
      channels, active, std: as in Supervised.
    References: Gneiting & Raftery, JASA 102, 359 (2007); Ferro, QJRMS 140, 1917 (2014).
    """

    members: int = 4
    channels: int | None = None
    active: np.ndarray | None = None
    std: tuple[float, ...] = ()

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
        return _in_units(_fitted(self, stepper), stepper)

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
        if self.std:
            distance /= tf.constant(self.std[: self.channels], distance.dtype)
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

    @property
    def balanced(self) -> bool:
        return any(term.balanced for term in self.terms)

    @property
    def ahead(self) -> int:
        return max(term.ahead for term in self.terms)

    def unrolled(self, unrolling: Unrolling, weights: tf.Tensor | None = None) -> Loss:
        return Sum(tuple(_unrolled(term, unrolling, weights) for term in self.terms))

    def bind(self, params: Params) -> LevelLoss:
        bound = [(by_sample(term, params), term.ahead) for term in self.terms]

        def level_loss(k, before, after, target):
            own = target[..., : after.shape[-1]] if self.ahead else target
            values = [term(k, before, after, target if ahead else own) for term, ahead in bound]
            return tf.add_n(values)

        return level_loss


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

    @property
    def balanced(self) -> bool:
        return self.term.balanced

    @property
    def ahead(self) -> int:
        return self.term.ahead

    def unrolled(self, unrolling: Unrolling, weights: tf.Tensor | None = None) -> Loss:
        if np.ndim(self.factor) and len(self.factor) < unrolling.steps:
            raise InputError(
                f"factor of a loss has {len(self.factor)} levels; an unrolling has "
                f"{unrolling.steps} steps"
            )
        return replace(self, term=_unrolled(self.term, unrolling, weights))

    def bind(self, params: Params) -> LevelLoss:
        bound = self.term.bind(params)

        def level_loss(k, before, after, target):
            return bound(k, before, after, target) * self._factor(k, after.dtype)

        return level_loss

    def _factor(self, k, dtype):
        factor = tf.cast(tf.convert_to_tensor(self.factor, dtype_hint=dtype), dtype)
        return factor[k] if factor.shape.rank else factor


@dataclass(frozen=True, eq=False)
class Weighted(Scaled):
    """A loss whose gradient alone is multiplied by the factor: it keeps its value, to the bit.

    The factor may be a tensor, [steps] or [steps, batch].
    """

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


def _unrolled(term, unrolling, weights):
    """A loss of a user's own need not know of measured weights."""
    return term.unrolled(unrolling, weights) if term.balanced else term.unrolled(unrolling)


def _in_units(loss, stepper):
    features = getattr(stepper, "features", None)
    return loss if features is None or loss.std else replace(loss, std=features.std)


def _fitted(loss, stepper):
    features = getattr(stepper, "features", None)
    if features is None or loss.channels is not None:
        return loss
    active = {"active": features.active} if hasattr(loss, "active") else {}
    return replace(loss, channels=features.out_channels, **active)
