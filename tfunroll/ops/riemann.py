"""Riemann problems of the ideal gas: the HLLC flux through faces, and the state at a far field.

States are primitive, (ρ, u, v, p), each any shape that broadcasts with the faces' normals.
"""

import tensorflow as tf

from tfunroll.ops.gas import GAMMA, Fields, energy, sound_speed


def hllc(left: Fields, right: Fields, nx, ny) -> Fields:
    """Flux of (ρ, ρu, ρv, E) through faces, times their areas: the HLLC approximation.

        F = F_K + S_K (U*_K − U_K),   K: the side of the contact wave that the face sees,

    with S_K cut at zero, so that a face in supersonic flow takes F_K alone. Wave speeds are those
    of Einfeldt, from the Roe average.

    Args: nx, ny: area vectors of the faces, from left to right.
    References: Toro, Spruce & Speares (1994), doi:10.1007/BF01414629; Batten et al. (1997),
      doi:10.1137/S1064827593260140, Eq. 19 to 24 (wave speeds).
    """
    area = tf.sqrt(nx * nx + ny * ny)
    nx, ny = nx / area, ny / area
    (r1, u1, v1, p1), (r2, u2, v2, p2) = left, right
    q1, q2 = u1 * nx + v1 * ny, u2 * nx + v2 * ny
    e1, e2 = energy(left), energy(right)
    ratio = tf.sqrt(r2 / r1)
    one = 1 / (1 + ratio)
    two = ratio * one
    u, v = u1 * one + u2 * two, v1 * one + v2 * two
    enthalpy = (e1 + p1) / r1 * one + (e2 + p2) / r2 * two
    c = tf.sqrt(tf.maximum((GAMMA - 1) * (enthalpy - (u * u + v * v) / 2), 1e-6))
    q = u * nx + v * ny
    slowest = tf.minimum(q1 - sound_speed(r1, p1), q - c)
    fastest = tf.maximum(q2 + sound_speed(r2, p2), q + c)
    m1, m2 = r1 * (slowest - q1), r2 * (fastest - q2)
    contact = (p2 - p1 + m1 * q1 - m2 * q2) / (m1 - m2)
    on_left = contact > 0
    r, u, v, p = (tf.where(on_left, a, b) for a, b in zip(left, right, strict=True))
    q, e = tf.where(on_left, q1, q2), tf.where(on_left, e1, e2)
    wave = tf.where(on_left, slowest, fastest)
    cut = tf.where(on_left, tf.minimum(slowest, 0), tf.maximum(fastest, 0))
    star = r * (wave - q) / (wave - contact)
    push = contact - q
    mass = star - r
    moved = cut * star * push
    work = contact + p / (r * (wave - q))
    return (
        area * (r * q + cut * mass),
        area * (r * u * q + p * nx + cut * mass * u + moved * nx),
        area * (r * v * q + p * ny + cut * mass * v + moved * ny),
        area * ((e + p) * q + cut * mass * (e / r) + moved * work),
    )


def far_field(inside: Fields, free: Fields, nx, ny) -> Fields:
    """The state at a far boundary, from the Riemann invariants of both sides.

        q + 2c/(γ − 1) from inside, q − 2c/(γ − 1) from the free stream

    along the outward normal; entropy and tangential velocity come from where the flow does.

    Args:
      inside: outermost cells. free: the free stream. nx, ny: outward normals, any length; the
        flow through the boundary is subsonic.
    Reference: Blazek, Computational Fluid Dynamics: Principles and Applications, section 8.3.
    """
    length = tf.sqrt(nx * nx + ny * ny)
    nx, ny = nx / length, ny / length
    (r1, u1, v1, p1), (r0, u0, v0, p0) = inside, free
    q1, q0 = u1 * nx + v1 * ny, u0 * nx + v0 * ny
    leaving = q1 + 2 / (GAMMA - 1) * sound_speed(r1, p1)
    entering = q0 - 2 / (GAMMA - 1) * sound_speed(r0, p0)
    q, c = (leaving + entering) / 2, (GAMMA - 1) / 4 * (leaving - entering)
    out = q > 0
    entropy = tf.where(out, p1 / r1**GAMMA, p0 / r0**GAMMA)
    change = q - tf.where(out, q1, q0)
    r = (c * c / (GAMMA * entropy)) ** (1 / (GAMMA - 1))
    u, v = tf.where(out, u1, u0) + change * nx, tf.where(out, v1, v0) + change * ny
    return r, u, v, r * c * c / GAMMA
