"""Second-order stencils of a staggered (MAC) grid with square cells.

Fields are [..., y, x]. Of cell (j, i), u lives in the middle of the right face, v in the middle of
the upper face, pressure at the centre. A velocity is w = [2, ..., y, x], its components u and v.
``east`` and its three sisters are the one place that knows the boundary, which is periodic.
"""

import tensorflow as tf

X, Y = -1, -2  # axes


def east(field: tf.Tensor) -> tf.Tensor:
    """At each cell the value of its neighbour in +x."""
    return tf.roll(field, -1, X)


def west(field: tf.Tensor) -> tf.Tensor:
    """At each cell the value of its neighbour in −x."""
    return tf.roll(field, 1, X)


def north(field: tf.Tensor) -> tf.Tensor:
    """At each cell the value of its neighbour in +y."""
    return tf.roll(field, -1, Y)


def south(field: tf.Tensor) -> tf.Tensor:
    """At each cell the value of its neighbour in −y."""
    return tf.roll(field, 1, Y)


def divergence(w: tf.Tensor, h: float) -> tf.Tensor:
    """∂u/∂x + ∂v/∂y at the cell centres, from the four faces of each cell."""
    u, v = w[0], w[1]
    return (u - west(u) + v - south(v)) / h


def gradient(p: tf.Tensor, h: float) -> tf.Tensor:
    """(∂p/∂x, ∂p/∂y) where u and v live: [2, ..., y, x]; minus the adjoint of ``divergence``."""
    return tf.stack([east(p) - p, north(p) - p]) / h


def fluxes(w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Velocities that carry w through the right and the upper sides of its control volumes.

    The control volume of u is centred on a right face, so its right side is the centre of the next
    cell and its upper side runs through a corner; that of v likewise.

    Returns: two tensors shaped like w; where ∇·w = 0, their own divergence is zero too.
    """
    u, v = w[0], w[1]
    rightward = tf.stack([u + east(u), u + north(u)]) / 2
    upward = tf.stack([v + east(v), v + north(v)]) / 2
    return rightward, upward


def neighbour_sum(
    w: tf.Tensor, rightward: tf.Tensor, upward: tf.Tensor, viscosity: tf.Tensor, h: float
) -> tf.Tensor:
    """What the four neighbours add to ∂w/∂t by central fluxes: H(w) of the PISO algorithm.

        H(w) = Σ_nb [ν/h² ∓ F_nb/(2h)] w_nb,    −∇·(F w) + ν∇²w = H(w) − (4ν/h² + ½∇·F) w

    Its adjoint is H with the fluxes reversed, so the gradient costs about as much as H.

    Args:
      w: what is transported. rightward, upward: F, see ``fluxes``; all [2, batch, y, x].
      viscosity: ν, [batch, 1, 1].
    """

    def apply(w, rightward, upward, viscosity):
        w_east, w_north, w_west, w_south = east(w), north(w), west(w), south(w)
        carried = rightward * w_east - west(rightward) * w_west
        carried += upward * w_north - south(upward) * w_south
        return viscosity / h**2 * (w_east + w_west + w_north + w_south) - carried / (2 * h)

    @tf.custom_gradient
    def differentiable(w, rightward, upward, viscosity):
        def gradient(g):
            pairs = [(g * shift(w), w * shift(g)) for shift in (east, north)]
            to_viscosity = sum(tf.reduce_sum(a + b, [0, Y, X]) for a, b in pairs) / h**2
            to_rightward, to_upward = ((b - a) / (2 * h) for a, b in pairs)
            to_w = apply(g, -rightward, -upward, viscosity)
            return to_w, to_rightward, to_upward, to_viscosity[:, None, None]

        return apply(w, rightward, upward, viscosity), gradient

    return differentiable(w, rightward, upward, viscosity)
