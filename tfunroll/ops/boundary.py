"""Padding of fields by boundary kind; networks and solvers share it."""

from collections.abc import Sequence

import tensorflow as tf

Widths = int | Sequence[tuple[int, int]]  # cells, or per space axis (lower, upper)


def pad(field: tf.Tensor, width: Widths, boundary: tuple[tuple[str, str], ...]) -> tf.Tensor:
    """Extends every space axis by ``width`` cells on both sides.

    Args:
      field: [batch, *space, channel].
      width: cells to add on each side, or per axis (lower, upper); at most the axis length for
        "periodic".
      boundary: per space axis the kinds (lower, upper): "periodic" wraps around, "zero" adds
        zeros, "replicate" repeats the outermost cell.
    Returns:
      [batch, *(space + 2 width), channel], same dtype.
    """
    widths = [(width, width)] * len(boundary) if isinstance(width, int) else width
    for axis, (kinds, cells) in enumerate(zip(boundary, widths, strict=True), start=1):
        lower = [_ghosts(field, axis, cells[0], kinds[0], 0)] if cells[0] else []
        upper = [_ghosts(field, axis, cells[1], kinds[1], 1)] if cells[1] else []
        if lower or upper:
            field = tf.concat([*lower, field, *upper], axis)
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
