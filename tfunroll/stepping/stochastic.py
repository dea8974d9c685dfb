"""A stepper whose steps are drawn: additive noise of an amplitude that its network gives."""

import copy
import math
from dataclasses import dataclass

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, Stepper
from tfunroll.stepping.features import Features
from tfunroll.stepping.steppers import bind, with_net
from tfunroll.stepping.unrolling import Numbered

STREAM = 2  # of the random numbers of one (seed, update), beside those of input noise and subspaces


@dataclass(frozen=True, eq=False)
class Stochastic:
    """A prediction or correction with noise where its network changes the state.

        u' = D(u) + Δt μ(u) + √Δt σ(u) ξ,   σ = amplitude · softplus(s + softplus⁻¹(start))

    for a correction with D(u) = S(u) and the factor ``scale`` = Δt; ξ is N(0, 1), independent in
    every cell, channel, member and step. The network makes 2 C channels, μ and s, of which the
    state has C; where channels do not live and in those that depend on others there is no noise.
    The scheme is Euler and Maruyama's, of du = (…) dt + σ dW.

    In a rollout step k draws from ``key`` and k, so it can be repeated; a step by itself draws from
    TensorFlow's global generator. Train it by losses.CRPS: under a squared error σ vanishes.

    Attributes:
      stepper: around a network of twice its features' out_channels.
      members: rollouts of an evaluation, at least 2.
      amplitude: of the noise; 0: the deterministic stepper, bit for bit.
      start: σ of an untrained network whose last layer is zero, in units of the network's output.
      key: of the noise, [2], or [K, 2] of K seeds.
    Raises: InputError: impossible numbers.
    """

    stepper: Stepper
    members: int = 4
    amplitude: float = 1.0
    start: float = 0.01
    key: tf.Tensor | tuple[int, int] = (0, 0)

    def __post_init__(self):
        if not hasattr(self.stepper, "net"):
            raise InputError(
                f"stepper is a {type(self.stepper).__name__} without a network (no attribute net); "
                "needed: a Prediction or a correction"
            )
        if isinstance(self.members, bool) or not isinstance(self.members, int) or self.members < 2:
            raise InputError(f"members={self.members!r} of Stochastic must be at least 2")
        if not (self.amplitude >= 0 and math.isfinite(self.amplitude) and self.start > 0):
            raise InputError(
                f"amplitude={self.amplitude} must be at least 0, start={self.start} positive"
            )
        object.__setattr__(self, "net", self.stepper.net)

    @property
    def features(self) -> Features:
        """What the network sees."""
        return self.stepper.features

    @property
    def net_channels(self) -> int:
        """That its network has to make."""
        return 2 * self.features.out_channels

    @property
    def solver(self) -> Solver | None:
        """That is corrected; None of predictions."""
        return getattr(self.stepper, "solver", None)

    @property
    def routes(self) -> tuple[str, ...]:
        """Of the gradient, those of the stepper."""
        return getattr(self.stepper, "routes", ("all",))

    def keyed(self, key: tf.Tensor) -> "Stochastic":
        """The same with other noise."""
        other = copy.copy(self)
        object.__setattr__(other, "key", key)
        return other

    def around(self, stepper: Stepper) -> "Stochastic":
        """The same around another stepper, with its own network."""
        other = copy.copy(self)
        object.__setattr__(other, "stepper", stepper)
        return other

    def bind(self, params: Params, through: str = "all") -> Numbered:
        """See Stepper.bind."""
        number = [None]  # of the step at work: set while a step is traced, read by its network
        noisy = with_net(self.stepper, lambda x: self._noisy(x, number[0]))
        step = bind(noisy, params, through)

        def numbered(k, state):
            number[0] = k
            return step(state)

        return Numbered(numbered)

    def _noisy(self, x, k):
        mean, raw = tf.split(self.net(x), 2, -1)
        if not self.amplitude:
            return mean
        shift = math.log(math.expm1(self.start))
        scale = getattr(self.stepper, "scale", 1.0)
        sigma = tf.nn.softplus(raw + shift) * (self.amplitude / math.sqrt(scale))
        return mean + sigma * self._normal(mean, k)

    def _normal(self, like, k):
        if k is None:
            return tf.random.normal(tf.shape(like), dtype=like.dtype)
        keys = tf.unstack(tf.reshape(tf.convert_to_tensor(self.key), [-1, 2]))
        fold = tf.random.experimental.stateless_fold_in
        shape = [like.shape[0] // len(keys), *like.shape[1:]]
        draws = [
            tf.random.stateless_normal(shape, fold(fold(key, STREAM), k), dtype=like.dtype)
            for key in keys
        ]
        return tf.concat(draws, 0)
