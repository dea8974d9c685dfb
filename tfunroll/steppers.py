"""Steppers with a network: predictions, and corrections of a numerical solver.

They are plain callables around a network that maps one tensor to one tensor; every class has the
attribute ``net`` and the method ``bind`` of core.Stepper.
"""

from collections.abc import Callable

import tensorflow as tf

from tfunroll.core import Params, Solver, Step
from tfunroll.features import Features

Net = Callable[[tf.Tensor], tf.Tensor]


class Prediction:
    """The network alone: next = scale · net(input), or u + that if ``residual``."""

    def __init__(self, net: Net, features: Features, residual: bool = False, scale: float = 1.0):
        self.net, self.features, self.residual, self.scale = net, features, residual, scale

    def bind(self, params: Params) -> Step:
        inputs = self.features.bind(params)

        def step(state):
            change = self.features.increment(self.net(inputs(state)), state.dtype)
            change *= self.scale
            return state + change if self.residual else change

        return step


class ParallelCorrection:
    """Solver and network see the same state: next = S(u) + scale · net(u)."""

    def __init__(self, solver: Solver, net: Net, features: Features, scale: float = 1.0):
        self.solver, self.net, self.features, self.scale = solver, net, features, scale

    def bind(self, params: Params) -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)

        def step(state):
            change = self.features.increment(self.net(inputs(state)), state.dtype)
            return solve(state) + self.scale * change

        return step


class SequentialCorrection:
    """The network sees the solver's result: next = v + scale · net(v), v = S(u)."""

    def __init__(self, solver: Solver, net: Net, features: Features, scale: float = 1.0):
        self.solver, self.net, self.features, self.scale = solver, net, features, scale

    def bind(self, params: Params) -> Step:
        inputs, solve = self.features.bind(params), self.solver.bind(params)

        def step(state):
            solved = solve(state)
            change = self.features.increment(self.net(inputs(solved)), state.dtype)
            return solved + self.scale * change

        return step
