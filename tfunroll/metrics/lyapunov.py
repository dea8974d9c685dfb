"""Largest Lyapunov exponent of any step, by a renormalised perturbed twin (Benettin).

Reference: Benettin, Galgani, Giorgilli & Strelcyn (1980), doi:10.1007/BF02128236.
"""

import numpy as np
import tensorflow as tf

from tfunroll.core import State, Step
from tfunroll.stepping.unrolling import rollout

PERTURBATION = 1e-6  # root mean square; linear in float64, and far above its rounding


def growth_rates(step: Step, trajectory: tf.Tensor, frame_time: float = 1.0) -> tf.Tensor:
    """Growth of a small perturbation from each frame of a trajectory to the next.

        δ' = step(u_k + δ_k) − step(u_k),   rate_k = ln(|δ'| / |δ_k|) / frame_time,
        δ_{k+1} = δ' |δ_0| / |δ'|

    The twin is put back beside the given frames in every step, so the trajectory may come from
    elsewhere (a file, a finer grid) and may have been rounded to float32. The first rates belong
    to a random direction; drop some 50 time units if they matter.

    Args:
      step: one frame forward, of the equation that made the trajectory.
      trajectory: [batch, frame, *space, channel], float64.
      frame_time: time between frames.
    Returns:
      rates, [batch, frame − 1], one over the unit of ``frame_time``; their mean over time is λ1.
    Raises:
      ValueError: if the trajectory is not float64: differences would be rounding.
    """
    if trajectory.dtype != tf.float64:
        raise ValueError(f"growth rates need a float64 trajectory, not {trajectory.dtype.name}")
    rank = trajectory.shape.rank
    frames = tf.transpose(trajectory, [1, 0, *range(2, rank)])
    axes = list(range(1, rank - 1))
    count = trajectory.shape[1] - 1

    def renormalised(delta):
        norm = tf.sqrt(tf.reduce_mean(tf.square(delta), axes, keepdims=True))
        return delta * (PERTURBATION / norm), norm[(..., *[0] * len(axes))]

    def body(k, delta, kept):
        state = frames[k]
        delta, norm = renormalised(step(state + delta) - step(state))
        return k + 1, delta, kept.write(k, tf.math.log(norm / PERTURBATION) / frame_time)

    shape = trajectory.shape[:1] + trajectory.shape[2:]
    delta, _ = renormalised(tf.random.stateless_normal(shape, (0, 1), dtype=tf.float64))
    kept = tf.TensorArray(tf.float64, size=count, element_shape=trajectory.shape[:1])
    _, _, kept = tf.while_loop(
        lambda k, *_: k < count, body, (0, delta, kept), maximum_iterations=count
    )
    return tf.transpose(kept.stack())


def lyapunov_exponent(
    step: Step, state: State, frames: int, frame_time: float = 1.0, skip: int = 100
) -> tf.Tensor:
    """The largest Lyapunov exponent λ1, averaged over ``frames`` frames from ``state`` on.

    Args:
      step: one frame forward.
      state: a state on the attractor, [batch, *space, channel], float64.
      frames: frames of the average; good values: some hundred Lyapunov times.
      frame_time: time between frames.
      skip: frames in which the perturbation finds its direction, before the average begins.
    Returns:
      λ1 per sample, [batch], one over the unit of ``frame_time``.
    """
    trajectory = rollout(step, state, skip + frames + 1)
    return tf.reduce_mean(growth_rates(step, trajectory, frame_time)[:, skip:], 1)


def windowed_mean(rates: np.ndarray, window: int, stride: int) -> np.ndarray:
    """Mean over ``window`` values around each block of ``stride``, clipped to the ends.

    Args: rates: [batch, time].
    Returns: [batch, ceil(time / stride)].
    """
    time = rates.shape[1]
    window = min(window, time)
    sums = np.concatenate([np.zeros_like(rates[:, :1]), np.cumsum(rates, 1)], 1)
    centres = np.arange(0, time, stride) + stride // 2
    starts = np.clip(centres - window // 2, 0, time - window)
    return (sums[:, starts + window] - sums[:, starts]) / window
