"""The gradient guard: which updates are not applied, as a pure function of its own memory."""

import math

import tensorflow as tf

JUMP = 100.0  # an update with a gradient norm over this often its running mean is skipped
MEMORY = 0.98  # of that running mean
TRUST = 20  # updates before the running mean is believed

GuardState = dict[str, tf.Tensor]  # each a scalar, or [K] for K seeds


def start(shape: tuple[int, ...] = ()) -> GuardState:
    """The guard before the first update; shape (K,) for K seeds side by side.

    "loss": running mean over applied updates. "log_norm": running mean of the logarithm of the
    gradient's norm, over "seen" updates. "skipped", "skipped_in_row": counts.
    """
    floats = {name: tf.zeros(shape, tf.float32) for name in ("loss", "log_norm")}
    return floats | {n: tf.zeros(shape, tf.int64) for n in ("seen", "skipped", "skipped_in_row")}


def enter_stage(guard: GuardState) -> GuardState:
    """Takes the gradients of another horizon as they come."""
    return guard | {"seen": tf.zeros_like(guard["seen"])}


def forgive(guard: GuardState) -> GuardState:
    """The same for another physics: gradients as they come, and no update skipped in a row."""
    return enter_stage(guard) | {"skipped_in_row": tf.zeros_like(guard["skipped_in_row"])}


def judge(guard: GuardState, loss: tf.Tensor, norm: tf.Tensor) -> tuple[tf.Tensor, GuardState]:
    """Whether an update may be applied, and the guard after it."""
    loss, norm = tf.cast(loss, tf.float32), tf.cast(norm, tf.float32)
    finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
    log_norm = tf.math.log(tf.maximum(norm, 1e-30))
    jumped = log_norm > guard["log_norm"] + math.log(JUMP)
    good = finite & ((guard["seen"] < TRUST) | ~jumped)
    memory = tf.where(guard["seen"] == 0, 0.0, MEMORY)

    def mean(name, value, counts):
        return tf.where(counts, memory * guard[name] + (1 - memory) * value, guard[name])

    one = tf.cast(~good, tf.int64)
    return good, {
        # The mean of the logarithm follows skipped jumps too, so that gradients which stay large,
        # as after a change of horizon, are accepted again; one outlier hardly moves it.
        "loss": mean("loss", loss, good),
        "log_norm": mean("log_norm", log_norm, finite),
        "seen": guard["seen"] + tf.cast(finite, tf.int64),
        "skipped": guard["skipped"] + one,
        "skipped_in_row": (guard["skipped_in_row"] + one) * one,
    }
