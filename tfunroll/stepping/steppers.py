"""Steppers with a network: predictions, and corrections of a numerical solver.

Plain callables around a network that maps one tensor to one tensor. Every class has the attributes
``net`` and ``features`` and the method ``bind`` of core.Stepper; a class of your own with these
three trains like them.

A step's Jacobian by its state has a part of the solver S and one of the network N. What a
correction passes on of the gradient through time is named by a route (unrolling.ROUTES):

    route       parallel     sequential       indirect
    all         J_S + J_N    (I + J_N) J_S    J_S + K J_N
    solver      J_S          J_S              J_S
    network     J_N          J_N              K J_N
    identity    I + J_N      I + J_N          I + K J_N
    emulator    J_E + J_N    (I + J_N) J_E    J_E + K J_N

with J_N taken at what the network sees, K the solver's Jacobian by its source and E an emulator of
the solver. The step's value, and its gradient by the weights for a given state, are the same in all
of them; ``network``, ``identity`` and ``emulator`` ask no solver for a gradient by the state. The
route ``combined`` is of two backward passes, so it is training.core's.
The route ``solver`` is the "modified" gradient of Schnell & Thuerey (ICLR 2024).
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, Stepper
from tfunroll.stepping.features import Features
from tfunroll.stepping.unrolling import ROUTES, SOLVERLESS, Unrolling

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
    """Solver and network see the same state: next = S(u) + scale · net(u).

    Corrections may have an ``emulator`` of the solver, for the route of that name.
    """

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0
    emulator: Stepper | None = None
    routes: ClassVar[tuple[str, ...]] = ROUTES

    def bind(self, params: Params, through: str = "all") -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)
        solve = _routed(solve, through, self.emulator, params)

        def step(state):
            solved = solve(state)
            return solved + self.scale * self._change(inputs, _seen(state, through))

        return step


@dataclass(frozen=True, eq=False)
class SequentialCorrection(NetworkStepper):
    """The network sees the solver's result: next = v + scale · net(v), v = S(u)."""

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0
    emulator: Stepper | None = None
    routes: ClassVar[tuple[str, ...]] = ROUTES

    def bind(self, params: Params, through: str = "all") -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)
        solve = _routed(solve, through, self.emulator, params)

        def step(state):
            solved = solve(state)
            seen = _by(solved, state) if through == "network" else solved
            return solved + self.scale * self._change(inputs, _seen(seen, through))

        return step


@dataclass(frozen=True, eq=False)
class IndirectCorrection(NetworkStepper):
    """The network is a source in the solver's equations: next = S(u, s), s = scale · net(u).

    s is a rate of change, held over the frame: see Solver.forced. What constrains the solver's
    result, such as a flow's incompressibility, constrains the corrected one.

    Raises: InputError: a solver that takes no source.
    Reference: Wei, Franz, List & Thuerey (2025), INC: An indirect neural corrector for
    auto-regressive hybrid PDE solvers, arXiv:2511.12764.
    """

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0
    emulator: Stepper | None = None
    routes: ClassVar[tuple[str, ...]] = ROUTES

    def __post_init__(self):
        super().__post_init__()
        if not self.solver.takes_source:
            raise InputError(self.solver.without_source)

    def bind(self, params: Params, through: str = "all") -> Step:
        inputs, solve = self.features.bind(params), self.solver.forced(params)
        route = functools.partial(_routed, through=through, emulator=self.emulator, params=params)

        def step(state):
            source = self.scale * self._change(inputs, _seen(state, through))
            return route(lambda u: solve(u, source))(state)

        return step


def bind(stepper: Stepper, params: Params, through: str = "all") -> Step:
    """``stepper.bind`` for a route of the gradient; without one any stepper will do."""
    if through == "combined":
        raise ValueError("the route 'combined' is of two gradients, which a step cannot bind")
    return stepper.bind(params) if through == "all" else stepper.bind(params, through)


def check_gradients(stepper: Stepper, unrolling: Unrolling) -> None:
    """InputError unless a stepper has the gradients that training it by ``unrolling`` asks for."""
    through, routes = unrolling.through, getattr(stepper, "routes", ("all",))
    if through not in routes:
        raise InputError(
            f"through={through!r} is no route of a {type(stepper).__name__}, as it is of a "
            f"correction; allowed: {', '.join(routes)}"
        )
    if through == "emulator" and stepper.emulator is None:
        raise InputError(
            "through='emulator' needs an emulator of the solver: emulator=emulate(solver, …) of "
            "tfunroll.training.emulation"
        )
    solver = getattr(stepper, "solver", None)
    if unrolling.asks_solver and not getattr(solver, "differentiable", True):
        raise InputError(solver.without_gradient)
    if isinstance(stepper, IndirectCorrection) and not solver.source_differentiable:
        raise InputError(solver.without_source_gradient)


def _routed(solve: Step, through: str, emulator: Stepper | None, params: Params) -> Step:
    """S, with the gradient that it has on this route: J_S, none, the identity, or J_E."""
    if through not in SOLVERLESS:
        return solve
    if through == "emulator":
        instead = emulator.bind(params)
    else:
        instead = {"network": None, "identity": tf.identity}[through]

    def routed(state):
        solved = solve(tf.stop_gradient(state))
        return solved if instead is None else _by(solved, instead(state))

    return routed


def _seen(value: State, through: str) -> State:
    """What the network sees; the solver's route passes nothing on through it."""
    return tf.stop_gradient(value) if through == "solver" else value


def _by(value: State, other: State) -> State:
    """``value`` to the last bit, with the gradient of ``other`` added to its own."""
    return value + (other - tf.stop_gradient(other))


def unwrapped(stepper: Stepper) -> Stepper:
    """The stepper itself where it is one that ``load`` gave, which checks what it is given."""
    return getattr(stepper, "unwrapped", stepper)


def with_solver(stepper: Stepper, solver: Solver) -> Stepper:
    """The same stepper with another solver, such as one of fewer iterations."""
    other = copy.copy(unwrapped(stepper))
    if hasattr(other, "around"):  # one around another, which has the solver
        return other.around(with_solver(other.stepper, solver))
    object.__setattr__(other, "solver", solver)
    return other


def with_net(stepper: Stepper, net: Net) -> Stepper:
    """The same stepper around another network, such as one whose weights are an argument."""
    other = copy.copy(unwrapped(stepper))
    object.__setattr__(other, "net", net)  # steppers of ours are frozen
    return other
