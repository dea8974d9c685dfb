"""Exponential time differencing for u_t = L u + N(u), L diagonal in Fourier space.

The equation is given as the numbers L and the function N; nothing here knows which one it is.
Reference: Cox & Matthews (2002), Exponential time differencing for stiff systems,
doi:10.1006/jcph.2002.6995, Eqs. 4 (ETD1) and 22 (ETDRK2).
"""

from collections.abc import Callable

import tensorflow as tf

from tfunroll.ops.spectral import phi1, phi2

ORDERS = {"etd1": 1, "etdrk2": 2}

Operator = Callable  # u -> u; u is a tensor or a tuple of tensors


def bind_substep(
    scheme: str,
    linear: tf.Tensor,
    scale: tf.Tensor,
    dt: float,
    on_state: Callable[[tf.Tensor], Operator],
    on_nonlinear: Callable[[tf.Tensor], Operator],
    nonlinear: Operator,
) -> Operator:
    """Returns the function u -> u one sub-step later.

        ETD1:    a  = e^z u + dt φ1(z) (N(u) + s)
        ETDRK2:  u' = a + dt φ2(z) (N(a) − N(u)),   z = dt L,  N = scale · nonlinear

    It takes ``push`` = dt φ1(z) s (``bind_push``) as a second argument; without one there is no
    source s.

    Args:
      scheme: "etd1" (first order) or "etdrk2" (second order).
      linear: L by wavenumber, [batch, wavenumber], float64: symbols are computed in float64 (φ2 in
        float32 would be off by 2e-3).
      scale: the constant in N, [batch, 1], float64; it costs nothing here.
      dt: sub-step.
      on_state, on_nonlinear: make the operator that multiplies a state, or what ``nonlinear``
        gives, by a symbol.
      nonlinear: u -> N(u) / scale.
    """
    z = dt * linear
    decay, weight1 = on_state(tf.exp(z)), on_nonlinear(dt * scale * phi1(z))

    def etd1(u, push=None, n=None):
        a = _add(decay(u), weight1(nonlinear(u) if n is None else n))
        return a if push is None else _add(a, push)

    if scheme == "etd1":
        return etd1

    weight2 = on_nonlinear(dt * scale * phi2(z))

    def etdrk2(u, push=None):
        n = nonlinear(u)
        a = etd1(u, push, n)
        change = tf.nest.map_structure(tf.subtract, nonlinear(a), n)
        return _add(a, weight2(change))

    return etdrk2


def bind_push(linear: tf.Tensor, dt: float, on_state: Callable[[tf.Tensor], Operator]) -> Operator:
    """Returns s -> dt φ1(z) s, z = dt L: what a source that is held over a sub-step adds to it.

    Args: as of ``bind_substep``.
    """
    return on_state(dt * phi1(dt * linear))


def _add(u, v):
    return tf.nest.map_structure(tf.add, u, v)
