"""Second-order stencils of a staggered (MAC) grid; see ``ops.grid`` for the places of the fields.

``grid`` is a Grid, or the width h of the square cells of a periodic box. ``inflow`` is the velocity
that enters on the left, [2, batch, y, 1], for grids that have such a side. ``east`` and its three
sisters are the one place that knows whether the grid closes.
"""

import tensorflow as tf

from tfunroll.ops.grid import Grid, as_grid

X, Y = -1, -2  # axes


def east(field: tf.Tensor, periodic: bool = True) -> tf.Tensor:
    """At each cell the value of its neighbour in +x; beyond a side zero."""
    return _next(field, X, periodic)


def west(field: tf.Tensor, periodic: bool = True, beyond: tf.Tensor | None = None) -> tf.Tensor:
    """At each cell the value of its neighbour in −x; beyond a side zero, or ``beyond``."""
    return _before(field, X, periodic, beyond)


def north(field: tf.Tensor, periodic: bool = True) -> tf.Tensor:
    """At each cell the value of its neighbour in +y; beyond a side zero."""
    return _next(field, Y, periodic)


def south(field: tf.Tensor, periodic: bool = True) -> tf.Tensor:
    """At each cell the value of its neighbour in −y; beyond a side zero."""
    return _before(field, Y, periodic, None)


def divergence(w: tf.Tensor, grid: Grid | float, inflow: tf.Tensor | None = None) -> tf.Tensor:
    """∂u/∂x + ∂v/∂y at the cell centres, from the four faces of each cell."""
    grid = as_grid(grid)
    along_y, along_x = grid.periodic
    u, v = w[0], w[1]
    net_x = u - west(u, along_x, None if inflow is None else inflow[0])
    net_y = v - south(v, along_y)
    if grid.square:
        return (net_x + net_y) / float(grid.widths[0][0])
    y, x = (tf.constant(widths, w.dtype) for widths in grid.widths)
    return net_x / x + net_y / y[:, None]


def gradient(p: tf.Tensor, grid: Grid | float) -> tf.Tensor:
    """(∂p/∂x, ∂p/∂y) where u and v live: [2, ..., y, x]; at an outflow, beyond which p = 0, too.

    In a box without an outflow it is minus the adjoint of ``divergence``, weighted by volumes.
    """
    grid = as_grid(grid)
    along_y, along_x = grid.periodic
    to_east = east(p, along_x)
    if grid.outflow:  # p = 0 at the side: the mirror image beyond it
        to_east -= tf.pad(p[..., -1:], [[0, 0]] * (p.shape.rank - 1) + [[p.shape[X] - 1, 0]])
    jumps = tf.stack([to_east - p, north(p, along_y) - p])
    if grid.square:
        return jumps / float(grid.widths[0][0])
    dy, dx = (tf.constant(d, p.dtype) for d in grid.distances)
    return tf.stack([jumps[0] / dx, jumps[1] / dy[:, None]])


def fluxes(w: tf.Tensor, grid: Grid | float = 1.0, inflow: tf.Tensor | None = None):
    """Velocities that carry w through the right and the upper sides of its control volumes.

    The control volume of u is centred on a right face, so its right side is the centre of the next
    cell and its upper side runs through a corner; that of v likewise.

    Returns: two tensors shaped like w; where ∇·w = 0, their own divergence is zero too. Along an
    axis that is not periodic the lower side of the first control volume comes before all others.
    """
    grid = as_grid(grid)
    along_y, along_x = grid.periodic
    u, v = w[0], w[1]
    # a corner lies between two faces whose lengths are their weights
    u_north, v_east = north(u, along_y), east(v, along_x)
    u_corner, v_corner = _weighted(u, u_north, grid, 0), _weighted(v, v_east, grid, 1)
    rightward = tf.stack([(u + east(u, along_x)) / 2, u_corner])
    upward = tf.stack([v_corner, (v + north(v, along_y)) / 2])
    if not along_x:
        first = tf.zeros_like(u[..., :1]) if inflow is None else inflow[0]
        corner = _weighted(first, north(first, along_y), grid, 0)
        rightward = tf.concat([tf.stack([(first + u[..., :1]) / 2, corner]), rightward], X)
    if not along_y:
        wall = v[..., :1, :] / 2  # nothing passes the wall
        upward = tf.concat([tf.stack([tf.zeros_like(wall), wall]), upward], Y)
    return rightward, upward


def neighbour_sum(
    w: tf.Tensor,
    rightward: tf.Tensor,
    upward: tf.Tensor,
    viscosity: tf.Tensor,
    grid: Grid | float,
    inflow: tf.Tensor | None = None,
) -> tf.Tensor:
    """What the neighbours add to ∂w/∂t by central fluxes: H(w) of the PISO algorithm.

        H(w) = Σ_nb [ν l_nb ∓ F_nb/(2b)] w_nb + ν (c − Σ l_nb) w,
        −∇·(F w) + ν∇²w = H(w) − (ν c + ½∇·F) w

    with l_nb = 1/(b d_nb), b the width of the control volume, d_nb the distance of the neighbour
    and c the grid's ``relaxation``. In a periodic box of square cells l_nb = 1/h², c = 4/h².

    Args:
      w: what is transported, zero on closed faces. rightward, upward: F, see ``fluxes``.
      viscosity: ν, [batch, 1, 1].
    """
    grid = as_grid(grid)
    along_y, along_x = grid.periodic
    entering = None  # beyond the inflow: u itself, and v mirrored so that the side has its value
    if inflow is not None:
        entering = tf.stack([inflow[0], 2 * inflow[1]])
    shifted = (east(w, along_x), west(w, along_x, entering), north(w, along_y), south(w, along_y))
    values = [
        value if ghost is None else value + tf.constant(ghost, w.dtype) * w
        for value, ghost in zip(shifted, grid.ghosts, strict=True)
    ]
    right, left = _both_sides(rightward, X, along_x)
    upper, lower = _both_sides(upward, Y, along_y)
    links = [_constant(link, w.dtype) for link in grid.links]
    carry_x, carry_y = (_constant(c, w.dtype) for c in grid.carry)
    total = carry_x * (left * values[1] - right * values[0])
    total += carry_y * (lower * values[3] - upper * values[2])
    if all(isinstance(link, float) for link in grid.links):
        total += viscosity * links[0] * (values[0] + values[1] + values[2] + values[3])
    else:
        total += viscosity * sum(link * value for link, value in zip(links, values, strict=True))
    if grid.diagonal is not None:
        total += viscosity * _constant(grid.diagonal, w.dtype) * w
    return total


def _next(field, axis, periodic):
    if periodic:
        return tf.roll(field, -1, axis)
    first, rest = _split(field, axis, 1)
    return tf.concat([rest, tf.zeros_like(first)], axis)


def _before(field, axis, periodic, beyond):
    if periodic:
        return tf.roll(field, 1, axis)
    kept, last = _split(field, axis, field.shape[axis] - 1)
    return tf.concat([tf.zeros_like(last) if beyond is None else beyond, kept], axis)


def _split(field, axis, at):
    return tf.split(field, [at, field.shape[axis] - at], axis)


def _both_sides(flux, axis, periodic):
    """F through the upper and the lower side of each control volume along an axis."""
    if periodic:
        return flux, tf.roll(flux, 1, axis)
    return _split(flux, axis, 1)[1], _split(flux, axis, flux.shape[axis] - 1)[0]


def _weighted(field, following, grid, axis):
    """Mean of neighbouring faces by their lengths, along axis 0 (y) or 1 (x)."""
    if grid.square:
        return (field + following) / 2
    here = grid.widths[axis]
    there = here.take(range(1, len(here) + 1), mode="wrap")
    parts = (part / (here + there) for part in (here, there))
    of_here, of_there = (
        tf.constant(part[:, None] if axis == 0 else part, field.dtype) for part in parts
    )
    return of_here * field + of_there * following


def _constant(value, dtype):
    return value if isinstance(value, float) else tf.constant(value, dtype)
