"""States [batch, y, x, (u, v, p)] of a staggered, periodic grid, brought to coarser and finer ones.

Along an axis a component is either sampled at the upper faces of its cells (u along x, v along y)
or averaged over them (all others).
"""

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, State

SAMPLED = ((False, True), (True, False), (False, False))  # (along y, along x) of u, v, p


def coarsen(state: State, factor: int, fluid: np.ndarray | None = None) -> State:
    """A grid with ``factor`` times fewer cells per axis.

    A coarse face carries the mean of the fine faces in it, and a coarse cell the mean of p over its
    fine cells. The divergence of a coarse cell is then exactly the mean divergence of its fine
    cells.

    Args: fluid: cells of the fine grid outside of a body, [y, x]: p is the mean over those alone.
    Raises: InputError: if the grid cannot be divided so.
    """
    y, x = state.shape[1:3]
    if factor < 1 or y % factor or x % factor:
        raise InputError(f"a grid of {y} x {x} cells does not down-sample by a factor of {factor}")
    blocks = tf.reshape(state, [-1, y // factor, factor, x // factor, factor, 3])
    u = tf.reduce_mean(blocks[:, :, :, :, -1, 0], 2)
    v = tf.reduce_mean(blocks[:, :, -1, :, :, 1], 3)
    if fluid is None:
        return tf.stack([u, v, tf.reduce_mean(blocks[..., 2], [2, 4])], -1)
    weights = fluid.astype(np.float64).reshape(1, y // factor, factor, x // factor, factor)
    weights /= np.maximum(weights.sum((2, 4), keepdims=True), 1)
    p = tf.reduce_sum(blocks[..., 2] * tf.constant(weights, state.dtype), [2, 4])
    return tf.stack([u, v, p], -1)


def refine(state: State, factor: int, periodic: tuple[bool, bool] = (True, True)) -> State:
    """A grid with ``factor`` times more cells per axis, of which ``coarsen`` gives ``state`` back.

    Along a periodic axis it is the trigonometric interpolant, with the wavenumbers of the coarse
    grid alone. Along others it is linear: between faces (before the first, constant), and within
    cells with the slope between the neighbours.
    """
    if factor == 1:
        return state
    y, x = state.shape[1:3]
    components = []
    for c, (sampled_y, sampled_x) in enumerate(SAMPLED):
        matrices = (
            (_interpolation if closed else _linear)(points, factor, sampled)
            for points, sampled, closed in zip(
                (y, x), (sampled_y, sampled_x), periodic, strict=True
            )
        )
        along_y, along_x = (tf.constant(matrix, state.dtype) for matrix in matrices)
        components.append(along_y @ state[..., c] @ tf.transpose(along_x))
    return tf.stack(components, -1)


def _interpolation(points: int, factor: int, sampled: bool) -> np.ndarray:
    """The matrix [points·factor, points] of ``refine`` along one axis.

    With B the modes of the coarse grid at the fine points and R the restriction of ``coarsen``,
    it is B (R B)⁻¹: the combination of modes that restricts to the given values.
    """
    fine = points * factor
    angle = 2 * np.pi * (np.arange(fine) + (1.0 if sampled else 0.5)) / fine
    k = np.arange(1, (points + 1) // 2)
    modes = [np.ones((fine, 1)), np.cos(np.outer(angle, k)), np.sin(np.outer(angle, k))]
    if points % 2 == 0:  # of the Nyquist mode, the phase that the coarse grid sees
        modes.append((np.cos if sampled else np.sin)(angle * points / 2)[:, None])
    basis = np.concatenate(modes, 1)
    blocks = basis.reshape(points, factor, points)
    restricted = blocks[:, -1] if sampled else blocks.mean(1)
    return basis @ np.linalg.inv(restricted)


def _linear(points: int, factor: int, sampled: bool) -> np.ndarray:
    """As ``_interpolation``, for an axis with ends."""
    matrix = np.zeros((points * factor, points))
    for i in range(points):
        for k in range(factor):
            row = matrix[i * factor + k]
            if sampled:
                part = (k + 1) / factor
                row[max(i - 1, 0)] += 1 - part
                row[i] += part
                continue
            row[i] = 1
            lower, upper = max(i - 1, 0), min(i + 1, points - 1)
            slope = ((k + 0.5) / factor - 0.5) / max(upper - lower, 1)
            row[upper] += slope
            row[lower] -= slope
    return matrix
