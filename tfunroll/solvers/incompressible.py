"""The incompressible Navier-Stokes equations in two dimensions, by PISO on a staggered grid."""

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, check_state
from tfunroll.ops import poisson
from tfunroll.ops.loops import iterate
from tfunroll.ops.resampling import coarsen, refine
from tfunroll.ops.stencils import divergence, fluxes, gradient, neighbour_sum

CORRECTORS = 2
PASSING = 1.2  # times the stable sub-step: one fast spot that soon moves on; 1.3 has blown up


class Incompressible(Solver):
    """PISO solver of two-dimensional incompressible flow in a periodic box.

        ∂w/∂t + ∇·(w w) = −∇p + ν∇²w + f,   ∇·w = 0,   ν = 1/Re,   w = (u, v)

    Implicit Euler with central fluxes and the convecting velocity of the step's beginning: second
    order in space, first in time. ½∇·F is left out of the diagonal (the skew-symmetric form), so
    that A_P and with it every pressure equation has constant coefficients, also after a network has
    made the velocity slightly divergent. The Reynolds number may differ per sample.

    Args:
      shape: cells (y, x).
      spacing: h, size of the square cells.
      dt: sub-step.
      substeps: sub-steps per frame.
      sweeps: Jacobi sweeps of the predictor; good values 4 (coarse), 8 (reference). Each reduces
        the error by about the CFL number.
      forcing: f, [y, x, 2] or what broadcasts to it, at the places of u and v; None for none.
      refinement: cells of this grid per cell of the states that ``lift`` takes, per axis.
    State: (u, v, p), [batch, y, x, 3]: u at the right face, v at the upper face, p at the centre.
    Params: "reynolds", [batch], positive.
    Raises:
      InputError: for an impossible number.
    Good values: CFL number (|u| + |v|) dt / h up to 0.8; beyond 1 + 4ν dt/h² the sweeps diverge.
    Reference: Issa (1986), Solution of the implicitly discretised fluid flow equations by
    operator-splitting, doi:10.1016/0021-9991(86)90099-9.
    """

    channels = 3

    def __init__(
        self,
        shape: tuple[int, int],
        spacing: float,
        dt: float,
        substeps: int = 1,
        sweeps: int = 4,
        forcing: np.ndarray | None = None,
        refinement: int = 1,
    ):
        if min(shape) < 4:
            raise InputError(f"shape={shape} must be at least 4 cells per axis")
        if not (spacing > 0 and dt > 0):
            raise InputError(f"spacing={spacing} and dt={dt} must be positive")
        for name, value in (("substeps", substeps), ("sweeps", sweeps), ("refinement", refinement)):
            if value < 1:
                raise InputError(f"{name}={value} must be at least 1")
        if any(n % refinement for n in shape):
            raise InputError(f"shape={shape} does not down-sample by refinement={refinement}")
        self.shape, self.spacing, self.dt, self.substeps = shape, spacing, dt, substeps
        self.sweeps, self.refinement = sweeps, refinement
        self.frame_time = dt * substeps
        self.forcing = np.zeros((1, 1, 2)) if forcing is None else np.asarray(forcing)
        self._solve_pressure = poisson.periodic(shape, spacing)

    def bind(self, params: Params) -> Step:
        reynolds = params["reynolds"]
        check_reynolds(tf.get_static_value(reynolds))
        return self.step_of(1 / reynolds, tf.constant(self.forcing, reynolds.dtype)[None])

    def step_of(self, viscosity: tf.Tensor, forcing: tf.Tensor) -> Step:
        """The step for ν, [batch], and f, [batch, y, x, 2] or what broadcasts to it."""
        operands = viscosity[:, None, None], tf.transpose(forcing, [3, 0, 1, 2])

        def step(state):
            check_state(state, self.shape, self.channels)
            fields = tf.transpose(state, [3, 0, 1, 2])
            fields = iterate(self._piso, self.substeps, fields, operands)
            return tf.transpose(fields, [1, 2, 3, 0])

        return step

    def lift(self, state: State) -> State:
        """A state of the coarser grid that this solver refines, on its own: see ops.resampling."""
        return refine(state, self.refinement)

    def project(self, state: State) -> State:
        """A state of this solver on the coarser grid that it refines."""
        return coarsen(state, self.refinement)

    def _piso(self, fields, viscosity, forcing):
        """One sub-step of (u, v, p), [3, batch, y, x]; A_P w = H(w) + w_before/dt + f − ∇p."""
        h, w, p = self.spacing, fields[:2], fields[2]
        rightward, upward = fluxes(w)
        inverse = 1 / (1 / self.dt + 4 * viscosity / h**2)  # 1 / A_P
        known = w / self.dt + forcing

        def jacobi(w, known, rightward, upward, viscosity, inverse):
            return (neighbour_sum(w, rightward, upward, viscosity, h) + known) * inverse

        def correct(fields, known, rightward, upward, viscosity, inverse):
            w = jacobi(fields[:2], known, rightward, upward, viscosity, inverse)
            potential = self._solve_pressure(divergence(w, h))  # p / A_P
            return tf.concat([w - gradient(potential, h), (potential / inverse)[None]], 0)

        linear = rightward, upward, viscosity, inverse
        w = iterate(jacobi, self.sweeps, w, (known - gradient(p, h), *linear))  # predictor
        return iterate(correct, CORRECTORS, tf.concat([w, p[None]], 0), (known, *linear))

    def stable_dt(self, state: np.ndarray, reynolds: np.ndarray) -> np.ndarray:
        """The largest stable sub-step per sample, [batch]: the Jacobi sweeps contract below it.

        (|u| + |v|) dt / h = 1 + 4 dt / (Re h²)
        """
        speed = np.abs(np.asarray(state, np.float64)[..., :2]).sum(-1).max((1, 2))
        excess = speed / self.spacing - 4 / (np.asarray(reynolds) * self.spacing**2)
        return np.where(excess > 0, 1 / np.maximum(excess, 1e-300), np.inf)

    def check_stable(self, state: np.ndarray, reynolds: np.ndarray) -> None:
        """InputError if the sub-step is PASSING times too long for a state; names the longest."""
        check_reynolds(reynolds)
        limit = self.stable_dt(state, reynolds)
        worst = int(np.argmin(limit))
        if self.dt > PASSING * limit[worst]:
            raise InputError(
                f"dt={self.dt:g} is beyond the stable limit at reynolds={reynolds[worst]:g}: "
                f"largest stable dt on {self.shape[0]} x {self.shape[1]} cells: {limit[worst]:.3g}"
            )


def check_reynolds(values: np.ndarray | None) -> None:
    """InputError unless all are positive; None (not known before the graph runs) passes."""
    if values is not None and not np.all(np.asarray(values) > 0):
        bad = np.asarray(values)[~(np.asarray(values) > 0)].flat[0]
        raise InputError(f"reynolds={bad:g} must be positive")
