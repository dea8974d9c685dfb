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

        ETD1:    a  = e^z u + dt φ1(z) N(u)
        ETDRK2:  u' = a + dt φ2(z) (N(a) − N(u)),   z = dt L,  N = scale · nonlinear

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

    if scheme == "etd1":
        return lambda u: _add(decay(u), weight1(nonlinear(u)))

    weight2 = on_nonlinear(dt * scale * phi2(z))

    def etdrk2(u):
        n = nonlinear(u)
        a = _add(decay(u), weight1(n))
        change = tf.nest.map_structure(tf.subtract, nonlinear(a), n)
        return _add(a, weight2(change))

    return etdrk2


def _add(u, v):
    return tf.nest.map_structure(tf.add, u, v)
