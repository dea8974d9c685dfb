"""Steppers with a network: predictions, and corrections of a numerical solver.

Plain callables around a network that maps one tensor to one tensor. Every class has the attributes
``net`` and ``features`` and the method ``bind`` of core.Stepper; a class of your own with these
three trains like them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, Step, Stepper
from tfunroll.stepping.features import Features

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

    def bind(self, params: Params) -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)
        return lambda state: solve(state) + self.scale * self._change(inputs, state)


@dataclass(frozen=True, eq=False)
class SequentialCorrection(NetworkStepper):
    """The network sees the solver's result: next = v + scale · net(v), v = S(u)."""

    solver: Solver
    net: Net
    features: Features | None = None
    scale: float = 1.0

    def bind(self, params: Params) -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)

        def step(state):
            solved = solve(state)
            return solved + self.scale * self._change(inputs, solved)

        return step


def with_net(stepper: Stepper, net: Net) -> Stepper:
    """The same stepper around another network, such as one whose weights are an argument."""
    other = copy.copy(stepper)
    object.__setattr__(other, "net", net)  # steppers of ours are frozen
    return other
