"""The Kuramoto-Sivashinsky equation on a periodic interval."""

import functools

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, Step, check_choice, check_state
from tfunroll.ops.spectral import MatrixFourier, fourier
from tfunroll.solvers.etd import ORDERS, bind_substep
from tfunroll.solvers.substeps import sub_step


class KuramotoSivashinsky(Solver):
    """Pseudo-spectral solver of the Kuramoto-Sivashinsky equation.

        u_t + u u_x + u_xx + u_xxxx = 0   on [0, 2π·domain_size), periodic

    in Fourier space û_t = (k² − k⁴) û − ½ ik F(u²), k = n / domain_size, no de-aliasing (the
    study's setting; at 48 points the spectrum has decayed by then). Its domain size may differ
    per sample.

    Args:
      points: grid points, even; good value 48 for domain sizes 6 to 12.
      scheme: "etdrk2" (second order) or "etd1" (first order).
      dt: sub-step in time units; good values 0.5 (study), 0.05 (converged).
      substeps: sub-steps per frame.
      fraction: only this part of each sub-step is integrated, in (0, 1].
    Knob: "substeps", of the same frame.
    State: velocity u, [batch, x, 1], dimensionless. Params: "domain_size", [batch], in units of 2π.
    Raises:
      InputError: for an unknown scheme or an impossible number.
    Reference: Cox & Matthews (2002), doi:10.1006/jcph.2002.6995.
    """

    channels = 1

    def __init__(
        self,
        points: int = 48,
        scheme: str = "etdrk2",
        dt: float = 0.5,
        substeps: int = 2,
        fraction: float = 1.0,
    ):
        check_choice("scheme", scheme, ORDERS)
        if points < 4 or points % 2:
            raise InputError(f"points={points} must be even and at least 4")
        if dt <= 0 or substeps < 1:
            raise InputError(f"dt={dt} and substeps={substeps} must be positive")
        if not 0 < fraction <= 1:
            raise InputError(f"fraction={fraction} must lie in (0, 1]")
        self.points, self.scheme, self.dt, self.substeps = points, scheme, dt, substeps
        self.fraction = fraction
        self.frame_time = dt * substeps
        self.knobs = {"substeps": (1, substeps)}
        self._basis = fourier(points)

    def bind(self, params: Params) -> Step:
        """Returns u -> u one frame later; the coefficients are computed here, in float64."""
        basis, dtype = self._basis, params["domain_size"].dtype
        size = tf.cast(params["domain_size"], tf.float64)[:, None]
        k = tf.constant(basis.wavenumbers) / size
        dt = self.fraction * sub_step(self, tf.float64)
        equation = (k**2 - k**4, -0.5 / size, dt)  # N = −½ ∂x u²

        if isinstance(basis, MatrixFourier) and size.shape[0] == 1:  # one domain size for all
            enter, leave, nonlinear = basis.parts, basis.from_parts, basis.square
            times = functools.partial(basis.times_on_parts, dtype=dtype)
            operators = times, functools.partial(times, derivative=True)
        else:
            enter, leave, nonlinear = basis.forward, basis.inverse, basis.derivative_of_square
            operators = [lambda symbol: basis.times(tf.cast(symbol, dtype))] * 2
        substep = bind_substep(self.scheme, *equation, *operators, nonlinear)

        def step(state):
            check_state(state, (self.points,), 1)
            u = enter(state[..., 0])
            if isinstance(self.substeps, int):
                for _ in range(self.substeps):
                    u = substep(u)
            else:
                u = tf.while_loop(
                    lambda k, _: k < self.substeps,
                    lambda k, u: (k + 1, substep(u)),
                    (0, u),
                    maximum_iterations=self.knobs["substeps"][1],
                )[1]
            return leave(u)[..., None]

        return step
