"""States on a body-fitted mesh, brought to the mesh of its blocks of cells and back."""

import numpy as np
import tensorflow as tf

from tfunroll.core import State
from tfunroll.ops.gas import conservative, primitive
from tfunroll.ops.meshes import Mesh


def volume_average(state: State, mesh: Mesh, factor: int) -> State:
    """The state on ``mesh.coarsen(factor)``: conserved quantities averaged over the cells' volumes.

    Args: state: (ρ, u, v, p), [batch, j, i, 4], on ``mesh``. Returns: the same of the coarse cells.
    """
    if factor == 1:
        return state
    q = _averaged(conservative(tf.transpose(state, [3, 0, 1, 2])), mesh, factor)
    return tf.transpose(primitive(q), [1, 2, 3, 0])


def refine(state: State, mesh: Mesh, factor: int) -> State:
    """A state of ``mesh.coarsen(factor)`` on ``mesh``; ``volume_average`` gives it back.

    Conserved quantities, linear in the cells' numbers, plus in each block the constant that keeps
    its average.
    """
    if factor == 1:
        return state
    q = conservative(tf.transpose(state, [3, 0, 1, 2]))
    along_j, along_i = (
        tf.constant(_interpolation(n // factor, factor, periodic), q.dtype)
        for n, periodic in zip(mesh.shape, mesh.periodic, strict=True)
    )
    smooth = along_j @ q @ tf.transpose(along_i)
    missing = q - _averaged(smooth, mesh, factor)
    smooth += tf.repeat(tf.repeat(missing, factor, 2), factor, 3)
    return tf.transpose(primitive(smooth), [1, 2, 3, 0])


def _averaged(q, mesh, factor):
    j, i = (n // factor for n in mesh.shape)
    share = mesh.volumes / np.kron(mesh.coarsen(factor).volumes, np.ones((factor, factor)))
    blocks = tf.reshape(q * tf.constant(share, q.dtype), [4, -1, j, factor, i, factor])
    return tf.reduce_sum(blocks, [3, 5])


def _interpolation(cells, factor, periodic):
    """Linear interpolation from cells to their parts: [cells · factor, cells]."""
    place = (np.arange(cells * factor) + 0.5) / factor - 0.5
    low = np.floor(place).astype(int)
    matrix = np.zeros((len(place), cells))
    for neighbour, weight in ((low, 1 - (place - low)), (low + 1, place - low)):
        number = neighbour % cells if periodic else neighbour.clip(0, cells - 1)
        np.add.at(matrix, (np.arange(len(place)), number), weight)
    return matrix
