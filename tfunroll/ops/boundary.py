"""Padding of fields by boundary kind; networks and solvers share it."""

import tensorflow as tf


def pad(field: tf.Tensor, width: int, boundary: tuple[tuple[str, str], ...]) -> tf.Tensor:
    """Extends every space axis by ``width`` cells on both sides.

    Args:
      field: [batch, *space, channel].
      width: cells to add on each side, at most the axis length for "periodic".
      boundary: per space axis the kinds (lower, upper): "periodic" wraps around, "zero" adds
        zeros, "replicate" repeats the outermost cell.
    Returns:
      [batch, *(space + 2 width), channel], same dtype.
    """
    if width == 0:
        return field
    for axis, (lower, upper) in enumerate(boundary, start=1):
        field = tf.concat(
            [_ghosts(field, axis, width, lower, 0), field, _ghosts(field, axis, width, upper, 1)],
            axis,
        )
    return field


def _ghosts(field, axis, width, kind, upper):
    size = field.shape[axis]

    def take(start, count):
        index = [slice(None)] * field.shape.rank
        index[axis] = slice(start, start + count)
        return field[tuple(index)]

    if kind == "periodic":
        return take(0, width) if upper else take(size - width, width)
    edge = take(size - 1 if upper else 0, 1)
    ghosts = tf.concat([edge] * width, axis)
    return tf.zeros_like(ghosts) if kind == "zero" else ghosts
