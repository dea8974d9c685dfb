"""Exponential time differencing for u_t = L u + N(u), L diagonal in Fourier space.

The equation is given as the numbers L and the function N; nothing here knows which one it is.
Reference: Cox & Matthews (2002), Exponential time differencing for stiff systems,
doi:10.1006/jcph.2002.6995, Eqs. 4 (ETD1) and 22 (ETDRK2).
"""

from collections.abc import Callable

import tensorflow as tf

from tfunroll.ops.spectral import Fourier, phi1, phi2

ORDERS = {"etd1": 1, "etdrk2": 2}


def bind_substep(
    scheme: str,
    basis: Fourier,
    linear: tf.Tensor,
    nonlinear: Callable[[tf.Tensor], tf.Tensor],
    dt: float,
    dtype: tf.DType,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function û -> û one sub-step later.

        ETD1:    a  = e^z û + dt φ1(z) N(û)
        ETDRK2:  û' = a + dt φ2(z) (N(a) − N(û)),   z = dt L

    Args:
      scheme: "etd1" (first order) or "etdrk2" (second order).
      basis: gives the layout of the coefficients.
      linear: L by wavenumber, [batch, wavenumber], float64: coefficients are computed in float64
        (φ2 in float32 would be off by 2e-3) and then cast.
      nonlinear: û -> N(û), both in the basis's layout.
      dt: sub-step.
      dtype: real dtype of the states.
    """
    z = dt * linear

    def coefficient(values):
        return basis.spread(tf.cast(values, dtype))

    decay, weight1 = coefficient(tf.exp(z)), coefficient(dt * phi1(z))

    if scheme == "etd1":
        return lambda u_hat: decay * u_hat + weight1 * nonlinear(u_hat)

    weight2 = coefficient(dt * phi2(z))

    def etdrk2(u_hat):
        n = nonlinear(u_hat)
        a = decay * u_hat + weight1 * n
        return a + weight2 * (nonlinear(a) - n)

    return etdrk2
