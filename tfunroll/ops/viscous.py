"""Viscous fluxes through the faces of a curved mesh, from the full gradient at each face."""

import tensorflow as tf

from tfunroll.ops.meshes import differences
from tfunroll.ops.riemann import GAMMA

PRANDTL = 0.72


def viscous_flux(ring: tf.Tensor, axis: int, weights, nx, ny) -> tf.Tensor:
    """Flux of (ρu, ρv, E) at viscosity 1 through the faces across ``axis``: [3, batch, j, i].

        τ·S,   u·(τ·S) + γ/((γ − 1) Pr) S·∇(p/ρ),   τ = ∇u + ∇uᵀ − ⅔ (∇·u) 1

    Args:
      ring: (u, v, p/ρ) of cells and one ring of ghosts, [3, batch, J + 2, I + 2].
      axis: 0: faces between neighbours along j; 1: along i.
      weights: of ops.meshes.gradient_weights. nx, ny: area vectors S of the faces.
    """
    across, along = differences(ring, axis)
    w0, w1, w2, w3 = weights
    (u_x, v_x, t_x) = tf.unstack(w0 * across + w1 * along)
    (u_y, v_y, t_y) = tf.unstack(w2 * across + w3 * along)
    bulk, shear = 2 / 3 * (u_x + v_y), u_y + v_x
    fx = (2 * u_x - bulk) * nx + shear * ny
    fy = shear * nx + (2 * v_y - bulk) * ny
    speed = ring[:2]
    if axis:
        pair = speed[..., 1:-1, 1:] + speed[..., 1:-1, :-1]
    else:
        pair = speed[..., 1:, 1:-1] + speed[..., :-1, 1:-1]
    heat = GAMMA / ((GAMMA - 1) * PRANDTL) * (t_x * nx + t_y * ny)
    return tf.stack([fx, fy, (pair[0] * fx + pair[1] * fy) / 2 + heat])
