"""The words every other module uses: State, Params, Step, Stepper, Solver, Domain, InputError.

Axis order, stated here and nowhere else: a state is ``[batch, *space, channel]``; a trajectory is
``[batch, frame, *space, channel]``. In two dimensions space is ``[y, x]``.
"""

import abc
import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:  # importing it takes seconds, which --help and a mistyped flag need not wait
    import tensorflow as tf

State: TypeAlias = "tf.Tensor"  # [batch, *space, channel]
Params = Mapping[str, "tf.Tensor"]  # physics parameters by name, each [batch]
Step = Callable[["tf.Tensor"], "tf.Tensor"]  # one frame forward

MODALITIES = ("ONE", "NOG", "WIG")
BOUNDARIES = ("periodic", "zero", "replicate")
TEST_SPLITS = ("test_interpolation", "test_extrapolation")
SPLITS = ("train", "validation", *TEST_SPLITS)


class InputError(ValueError):
    """A mistake in what the user gave: names the flag or field and says what is allowed.

    Scripts print it as one line and exit with status 2; it never means a bug of tfunroll.
    """

    def __str__(self):
        return " ".join(super().__str__().split())  # one line, whatever it quotes


class IncompleteError(RuntimeError):
    """Work that did not come to its end, or failed in parts, through no mistake of the user's.

    Scripts print it as one line and exit with ``status``.
    """

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status


def check_choice(field: str, value: str, allowed) -> None:
    """Raises InputError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise InputError(f"{field}={value!r} is unknown; allowed: {', '.join(sorted(allowed))}")


def check_keras_backend(backend: str | None = None) -> None:
    """Raises InputError unless ``backend``, by default what KERAS_BACKEND says, is TensorFlow."""
    backend = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise InputError(
            f"KERAS_BACKEND={backend!r} is not supported; allowed: tensorflow "
            "(set it in the environment before Python starts)"
        )


class Stepper(Protocol):
    """Anything that steps a state: solvers, predictions, corrections."""

    def bind(self, params: Params) -> Step:
        """Returns the function state -> state one frame later, for these parameters.

        What depends on the parameters alone is computed here, once per batch, not in every step.
        Parameters and states have the same dtype.
        """


class Solver(abc.ABC):
    """A stepper without weights.

    Attributes:
      dt: sub-step of the integrator, in the system's time unit.
      frame_time: time between frames, a whole number of sub-steps.
      channels: number of state channels.
      refinement: cells of its own grid per cell of the networks' grid, per axis.
      compilable: False for code that XLA cannot compile; the graph then calls out to it.
      differentiable: False for code without gradients; WIG needs them, but on the routes
        ``network`` and ``identity``.
      fraction: the part of each frame that it integrates, in (0, 1]; the rest is a network's, by
        correction=graded.
      knobs: numbers that a ladder may lower while a network is trained, such as iterations: name ->
        (the least that makes sense, its own, which is the most); attributes of these names.
    """

    dt: float
    frame_time: float
    channels: int
    refinement: int = 1
    compilable: bool = True
    differentiable: bool = True
    fraction: float = 1.0
    knobs: Mapping[str, tuple[int, int]] = MappingProxyType({})

    @abc.abstractmethod
    def bind(self, params: Params) -> Step:
        """See Stepper.bind."""

    def at(self, knob: str, count: "int | tf.Tensor") -> "Solver":
        """The same solver at another number of a knob, at most its own.

        Args: count: a number, or an int32 scalar: one compiled graph then serves all of them.
        Raises: InputError: an unknown knob, or a number outside its range.
        """
        self.check_knob(knob, *([count] if isinstance(count, int) else ()))
        if isinstance(count, int) and count == self.knobs[knob][1]:
            return self
        other = copy.copy(self)
        setattr(other, knob, count)
        if isinstance(count, int):
            other.knobs = {**self.knobs, knob: (self.knobs[knob][0], count)}
            if knob == "substeps":  # they share out the same frame
                other.dt = self.frame_time / count
        return other

    def check_knob(self, knob: str, *counts: int) -> None:
        """InputError for an unknown knob, or a number outside its range."""
        if knob not in self.knobs:
            raise InputError(f"ladder={knob!r}: {self.without_knob(knob)}")
        least, most = self.knobs[knob]
        for count in counts:
            if not least <= count <= most:
                raise InputError(
                    f"ladder={knob!r}: {count} is outside the solver's range, {least} to {most}"
                )

    def without_knob(self, knob: str) -> str:
        """What to tell one who asks for a knob that is not there."""
        name = getattr(self, "name", type(self).__name__)
        return f"the solver {name!r} has no such knob; allowed: {', '.join(self.knobs) or 'none'}"

    def iterations(self, knob: str, count: int) -> int:
        """How many of what the knob counts one frame takes."""
        return count

    @property
    def without_gradient(self) -> str:
        """What to tell one who asks for gradients of a solver that is not differentiable."""
        name = getattr(self, "name", type(self).__name__)
        return (
            f"modalities=WIG passes gradients through the solver {name!r}, which has none; "
            "allowed: ONE, NOG, or WIG with through=network or through=identity, which need none"
        )

    def prolong(self, state: State) -> State:
        """A state of the networks' grid on the solver's own, where that is another."""
        return state

    def restrict(self, state: State) -> State:
        """A state of the solver's own grid on the networks' grid; undoes ``prolong``.

        Beside an immersed body it need not: there the solver says what it does.
        """
        return state


@dataclass(frozen=True)
class Domain:
    """What a network needs to know of the grid, and no more.

    Attributes:
      shape: grid points per space axis.
      boundary: per space axis the kind at its lower and upper side, of BOUNDARIES: what lies beyond
        is the other end ("periodic"), "zero", as at a wall that the fluid sticks to, or the
        outermost cell ("replicate"), as at an inflow, an outflow, a far field or a wall of slip.
      static: channels that never change, such as an obstacle's mask: [*space, channel] or None.
      spacing: distance of neighbouring cells per axis; None where only their order counts.
      centres: cell centres of a curved grid, [*space, axis], in place of spacing. A periodic axis
        closes in space, like the circle of an O-grid.
      mask: True in the cells of the fluid, False in an obstacle, [*space]; None: all fluid.
    """

    shape: tuple[int, ...]
    boundary: tuple[tuple[str, str], ...]
    static: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None
    centres: np.ndarray | None = None
    mask: np.ndarray | None = None

    def __post_init__(self):
        if len(self.shape) != len(self.boundary):
            raise InputError(f"boundary={self.boundary}: needs one pair per axis of {self.shape}")
        for pair in self.boundary:
            for kind in pair:
                check_choice("boundary", kind, BOUNDARIES)
        wanted = {
            "spacing": (len(self.shape),),
            "centres": (*self.shape, len(self.shape)),
            "mask": self.shape,
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise InputError(f"{name} has shape {np.shape(value)}, needs {shape}")


def compilable(stepper: Stepper) -> bool:
    """Whether XLA can compile a stepper: whether it can its solver, if there is one."""
    return getattr(getattr(stepper, "solver", stepper), "compilable", True)


def check_solver(where: str, solver: Solver, channels: int) -> None:
    """Raises InputError unless ``solver`` is a Solver of all that one promises.

    Args: where: for the message. channels: those of the states it has to step.
    """
    if not isinstance(solver, Solver):
        raise InputError(f"{where} is a {type(solver).__name__}; needed: a tfunroll.core.Solver")
    for name in ("dt", "frame_time", "channels"):
        if not hasattr(solver, name):
            raise InputError(
                f"{where}, a {type(solver).__name__}, has no {name}; a Solver needs it"
            )
    if solver.channels != channels:
        raise InputError(f"{where} has channels={solver.channels}, needed: {channels}")


def check_state(state: State, domain_shape: tuple[int | None, ...], channels: int) -> None:
    """Raises ValueError unless ``state`` is [batch, *domain_shape, channels]."""
    wanted = (None, *domain_shape, channels)
    if not state.shape.is_compatible_with(wanted):
        raise ValueError(
            f"state has shape {tuple(state.shape)}, expected [batch, *space, channel] {wanted}"
        )
