"""Optimizers as pure functions of vectors: Keras's own keep their state in variables.

Those cannot be carried by a compiled loop, stacked over seeds, or read from a checkpoint by name.
"""

from dataclasses import dataclass

import tensorflow as tf

from tfunroll.core import InputError

OptimizerState = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Adam:
    """Adam, in Keras's form, with optional decoupled weight decay.

        m ← m + (1 − β₁)(g − m),   v ← v + (1 − β₂)(g² − v)
        w ← w − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε) − rate · weight_decay · w

    Raises: InputError: impossible numbers.
    References: Kingma & Ba (2015), arXiv:1412.6980; Loshchilov & Hutter (2019), arXiv:1711.05101.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0

    def __post_init__(self):
        for name in ("beta_1", "beta_2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must lie in [0, 1)")
        if not self.epsilon > 0 or not self.weight_decay >= 0:
            raise InputError(
                f"epsilon={self.epsilon} must be positive, weight_decay={self.weight_decay} at "
                "least 0"
            )

    def start(self, flat: tf.Tensor) -> OptimizerState:
        """The state before the first update of weights [P] or [K, P]."""
        count = tf.zeros(flat.shape[:-1], tf.int64)
        return {"m": tf.zeros_like(flat), "v": tf.zeros_like(flat), "count": count}

    def apply(
        self, flat: tf.Tensor, state: OptimizerState, gradient: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, OptimizerState]:
        """The next weights and state."""
        count = state["count"] + 1
        t = tf.cast(count, flat.dtype)[..., None]
        m = state["m"] + (gradient - state["m"]) * (1 - self.beta_1)
        v = state["v"] + (tf.square(gradient) - state["v"]) * (1 - self.beta_2)
        rate = tf.cast(rate, flat.dtype)[..., None]
        one = tf.ones([], flat.dtype)
        alpha = rate * tf.sqrt(one - self.beta_2**t) / (one - self.beta_1**t)
        new = flat - m * alpha / (tf.sqrt(v) + self.epsilon)
        if self.weight_decay:
            new -= rate * self.weight_decay * flat
        return new, {"m": m, "v": v, "count": count}
