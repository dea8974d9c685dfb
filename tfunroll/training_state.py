"""What a training run remembers besides weights and optimizer, and its gradient guard."""

import math

import tensorflow as tf

GUARD_JUMP = 100.0  # an update with a gradient norm over this often its running mean is skipped
GUARD_MEMORY = 0.98  # of that running mean
GUARD_TRUST = 20  # updates before the running mean is believed


class TrainingState:
    """The variables of a training run besides weights and optimizer."""

    def __init__(self):
        def scalar(dtype, name):
            return tf.Variable(tf.zeros([], dtype), trainable=False, name=name)

        self.update = scalar(tf.int64, "update")
        self.loss = scalar(tf.float32, "loss")  # running mean of the applied updates
        self.log_norm = scalar(
            tf.float32, "log_norm"
        )  # running mean of the gradient norm's logarithm
        self.seen = scalar(tf.int64, "seen")
        self.skipped = scalar(tf.int64, "skipped")
        self.skipped_in_row = scalar(tf.int64, "skipped_in_row")
        self.validation = scalar(tf.float32, "validation")
        self.best = scalar(tf.float32, "best")
        self.waited = scalar(tf.int64, "waited")
        self.rate_factor = scalar(tf.float32, "rate_factor")
        self.reset()

    def all(self) -> list[tf.Variable]:
        return list(vars(self).values())

    def reset(self) -> None:
        for variable in self.all():
            variable.assign(tf.zeros_like(variable))
        self.validation.assign(float("nan"))
        self.enter_stage()

    def enter_stage(self) -> None:
        """Forgets what belongs to a stage: the plateau's factor, and the size of gradients.

        So a stage starts with the learning rate that it states, and the guard takes the gradients
        of another horizon as they come.
        """
        self.seen.assign(0)
        self.rate_factor.assign(1.0)
        self.best.assign(float("inf"))
        self.waited.assign(0)

    def judge(self, loss: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
        """Whether an update may be applied; keeps the running means and counts the skipped."""
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        log_norm = tf.math.log(tf.maximum(norm, 1e-30))
        jumped = log_norm > self.log_norm + math.log(GUARD_JUMP)
        good = finite & ((self.seen < GUARD_TRUST) | ~jumped)
        memory = tf.where(self.seen == 0, 0.0, GUARD_MEMORY)
        # The mean of the logarithm follows skipped jumps too, so that gradients which stay large,
        # as after a change of horizon, are accepted again; one outlier hardly moves it.
        for mean, value, counts in ((self.log_norm, log_norm, finite), (self.loss, loss, good)):
            mean.assign(tf.where(counts, memory * mean + (1 - memory) * value, mean))
        one = tf.where(good, tf.constant(0, tf.int64), tf.constant(1, tf.int64))
        self.seen.assign_add(tf.where(finite, tf.constant(1, tf.int64), tf.constant(0, tf.int64)))
        self.skipped.assign_add(one)
        self.skipped_in_row.assign((self.skipped_in_row + one) * one)
        return good
