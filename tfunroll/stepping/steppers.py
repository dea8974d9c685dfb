"""Steppers with a network: predictions, and corrections of a numerical solver.

Plain callables around a network that maps one tensor to one tensor. Every class has the attributes
``net`` and ``features`` and the method ``bind`` of core.Stepper; a class of your own with these
three trains like them.

A step's Jacobian by its state has a part of the solver S and one of the network N. What a
correction passes on of the gradient through time is named by a route (unrolling.ROUTES):

    route       parallel     sequential
    all         J_S + J_N    (I + J_N) J_S
    solver      J_S          J_S
    network     J_N          J_N
    identity    I + J_N      I + J_N

with J_N taken at what the network sees. The step's value, and its gradient by the weights for a
given state, are the same in all of them; ``network`` and ``identity`` ask no solver for a gradient.
The route ``solver`` is the "modified" gradient of Schnell & Thuerey (ICLR 2024).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, Stepper
from tfunroll.stepping.features import Features
from tfunroll.stepping.unrolling import ROUTES, SOLVERLESS

Net = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class NetworkStepper:
    """What steppers around a network share.

    Attributes:
      net: maps [batch, *space, in] to [batch, *space, out], such as a Keras model.
      features: what the network sees and what its output means; by default ``net.features``, which
        networks have that were built by ``build_for``.
    """

    def __post_init__(self):
        if self.features is None:
            features = getattr(self.net, "features", None)
            if features is None:
                raise InputError(
                    "features: this network does not say what it sees; give system.features() to "
                    "the stepper, or build the network by build_for(system)"
                )
            object.__setattr__(self, "features", features)

    def _change(self, inputs: Callable, state: tf.Tensor) -> tf.Tensor:
        return self.features.increment(self.net(inputs(state)), state.dtype)


@dataclass(frozen=True, eq=False)
class Prediction(NetworkStepper):
    """The network alone: next = scale · net(input), or u + that if ``residual``."""

    net: Net
    features: Features | None = None
    residual: bool = False
    scale: float = 1.0

    def bind(self, params: Params) -> Step:
        inputs = self.features.bind(params)

        def step(state):
            change = self.scale * self._change(inputs, state)
            return state + change if self.residual else change

        return step


@dataclass(frozen=True, eq=False)
class ParallelCorrection(NetworkStepper):
    """Solver and network see the same state: next = S(u) + scale · net(u)."""

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0
    routes: ClassVar[tuple[str, ...]] = ROUTES

    def bind(self, params: Params, through: str = "all") -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)

        def step(state):
            solved = _solved(solve, state, through)
            seen = tf.stop_gradient(state) if through == "solver" else state
            return solved + self.scale * self._change(inputs, seen)

        return step


@dataclass(frozen=True, eq=False)
class SequentialCorrection(NetworkStepper):
    """The network sees the solver's result: next = v + scale · net(v), v = S(u)."""

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0
    routes: ClassVar[tuple[str, ...]] = ROUTES

    def bind(self, params: Params, through: str = "all") -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)

        def step(state):
            seen = solved = _solved(solve, state, through)
            if through == "solver":
                seen = tf.stop_gradient(solved)
            elif through == "network":
                seen = _by_identity(solved, state)
            return solved + self.scale * self._change(inputs, seen)

        return step


def bind(stepper: Stepper, params: Params, through: str = "all") -> Step:
    """``stepper.bind`` for a route of the gradient; without one any stepper will do."""
    return stepper.bind(params) if through == "all" else stepper.bind(params, through)


def check_route(stepper: Stepper, through: str) -> None:
    """InputError unless a stepper has this route: ``all`` is what any has."""
    routes = getattr(stepper, "routes", ("all",))
    if through not in routes:
        raise InputError(
            f"through={through!r} is no route of a {type(stepper).__name__}, as it is of a "
            f"parallel or sequential correction; allowed: {', '.join(routes)}"
        )


def _solved(solve: Step, state: State, through: str) -> State:
    """S(u), with the gradient by u that it has on this route: J_S, none, or the identity."""
    if through not in SOLVERLESS:
        return solve(state)
    solved = solve(tf.stop_gradient(state))
    return _by_identity(solved, state) if through == "identity" else solved


def _by_identity(value: State, state: State) -> State:
    """``value`` to the last bit, with the identity added to its gradient by ``state``."""
    return value + (state - tf.stop_gradient(state))


def with_solver(stepper: Stepper, solver: Solver) -> Stepper:
    """The same stepper with another solver, such as one of fewer iterations."""
    other = copy.copy(stepper)
    object.__setattr__(other, "solver", solver)
    return other


def with_net(stepper: Stepper, net: Net) -> Stepper:
    """The same stepper around another network, such as one whose weights are an argument."""
    other = copy.copy(stepper)
    object.__setattr__(other, "net", net)  # steppers of ours are frozen
    return other
