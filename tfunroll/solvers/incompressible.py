"""The incompressible Navier-Stokes equations in two dimensions, by PISO on a staggered grid."""

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, check_choice, check_state
from tfunroll.ops import capacitance, immersed
from tfunroll.ops.grid import PERIODIC, Grid
from tfunroll.ops.loops import iterate
from tfunroll.ops.resampling import coarsen, refine
from tfunroll.ops.stencils import divergence, fluxes, gradient, neighbour_sum
from tfunroll.solvers.schemes import SCHEMES, through
from tfunroll.solvers.substeps import sub_step

CORRECTORS = 2
PASSING = 1.2  # times the stable sub-step: one fast spot that soon moves on; 1.3 has blown up
PRESSURE = {"direct": capacitance.direct, "iterative": capacitance.iterative}  # and "cg"


class Incompressible(Solver):
    """PISO solver of two-dimensional incompressible flow.

        ∂w/∂t + ∇·(w w) = −∇p + ν∇²w + f,   ∇·w = 0,   ν = 1/Re,   w = (u, v)

    Scheme "piso": implicit Euler with central fluxes and the convecting velocity of the step's
    beginning; second order in space, first in time. Scheme "midpoint": the same predictor and
    correctors, but what convects and what is convected stand half-way between the step's beginning
    and the latest iterate; second order in time too, and stable up to twice the sub-step. ½∇·F is
    left out of the diagonal (the skew-symmetric form), so that A_P and with it every pressure
    equation has constant coefficients, also after a network has made the velocity slightly
    divergent. The Reynolds number may differ per sample.

    The box is periodic unless ``sides`` say otherwise. The outflow obeys ∂u/∂t + U ∂u/∂x = −∇p with
    U the mean inflow and p = 0 at the side, and lets out what comes in. A body closes the faces in
    it; faces that it cuts stay open in part, and w of such a face is the mean over all of it, so
    that the divergence and down-sampling know nothing of the body.

    Args:
      shape: cells (y, x).
      spacing: h, size of the square cells, or the widths of the cells along (y, x).
      dt: sub-step.
      substeps: sub-steps per frame.
      sweeps: Jacobi sweeps of the predictor; good values 4 (coarse), 8 (reference). Each reduces
        the error by about the CFL number.
      forcing: f, [y, x, 2] or what broadcasts to it, at the places of u and v; None for none.
      refinement: cells of this grid per cell of the states that ``prolong`` takes, per axis.
      sides, body: see ops.grid.Grid.
      inflow: (u, v) that enters on the left, [2] or [y, 2].
      pressure: how ∇·(α ∇p) = r is solved: "direct"; "iterative", around a body; or "cg", plain
        conjugate gradients, as a solver without fast transforms has them.
      iterations: of "cg" for each corrector; good values on 32² cells: 20 (loose) to 60.
      warm_start: "cg" begins with the pressure so far, not with zero.
      correctors: of the pressure; 2 is PISO.
      scheme: of schemes.SCHEMES. For "midpoint" one sweep is enough: sweeps and correctors together
        have to be at least 3 (with 3 or 4 it is stable where Jacobi sweeps contract).
    Knobs: "sweeps", "correctors", "substeps", of the same frame, and "pressure", the iterations of
      "cg".
    State: (u, v, p), [batch, y, x, 3]: u at the right face, v at the upper face, p at the centre.
    Params: "reynolds", [batch], positive.
    Raises:
      InputError: for an impossible number, side or body.
    Good values: CFL number (|u| + |v|) dt / h up to 0.8; beyond 1 + 4ν dt/h² the sweeps diverge
      (twice as much for "midpoint").
    Reference: Issa (1986), Solution of the implicitly discretised fluid flow equations by
    operator-splitting, doi:10.1016/0021-9991(86)90099-9.
    """

    channels = 3

    def __init__(
        self,
        shape: tuple[int, int],
        spacing: float | tuple[np.ndarray, np.ndarray],
        dt: float,
        substeps: int = 1,
        sweeps: int = 4,
        forcing: np.ndarray | None = None,
        refinement: int = 1,
        sides: tuple[tuple[str, str], tuple[str, str]] = PERIODIC,
        body: immersed.Body | None = None,
        inflow: np.ndarray | tuple[float, float] = (1.0, 0.0),
        pressure: str = "direct",
        correctors: int = CORRECTORS,
        scheme: str = "piso",
        iterations: int = 0,
        warm_start: bool = False,
    ):
        if min(shape) < 4:
            raise InputError(f"shape={shape} must be at least 4 cells per axis")
        if not dt > 0:
            raise InputError(f"spacing={spacing} and dt={dt} must be positive")
        counts = {"substeps": substeps, "sweeps": sweeps, "refinement": refinement}
        for name, value in (counts | {"correctors": correctors}).items():
            if value < 1:
                raise InputError(f"{name}={value} must be at least 1")
        if any(n % refinement for n in shape):
            raise InputError(f"shape={shape} does not down-sample by refinement={refinement}")
        check_choice("pressure", pressure, (*PRESSURE, "cg"))
        if (pressure == "cg") != (iterations > 0):
            raise InputError(
                f"iterations={iterations} of pressure={pressure!r}: conjugate gradients, "
                "pressure='cg', need at least 1, all else takes none"
            )
        if warm_start and not iterations:
            raise InputError("warm_start is of conjugate gradients: give pressure='cg', iterations")
        check_choice("scheme", scheme, SCHEMES)
        self.scheme, self._scheme = scheme, SCHEMES[scheme]
        if sweeps + correctors < self._scheme.least:
            raise InputError(
                f"sweeps={sweeps} and correctors={correctors}: {scheme} needs "
                f"{self._scheme.least} in all"
            )
        self.grid = Grid(shape, spacing, sides, body)
        self.shape, self.dt, self.substeps = shape, dt, substeps
        self.spacing = float(min(widths.min() for widths in self.grid.widths))
        self.sweeps, self.refinement, self.correctors = sweeps, refinement, correctors
        self.frame_time = dt * substeps
        self.forcing = np.zeros((1, 1, 2)) if forcing is None else np.asarray(forcing)
        self.inflow = np.broadcast_to(np.asarray(inflow, np.float64), (shape[0], 2))
        self.pressure, self.warm_start = iterations, warm_start
        self._direct = None if iterations else PRESSURE[pressure](self.grid)
        counts = {"sweeps": sweeps, "correctors": correctors}
        least = {name: self._scheme.least - sum(counts.values()) + n for name, n in counts.items()}
        counts |= {"substeps": substeps} | ({"pressure": iterations} if iterations else {})
        self.knobs = {name: (max(1, least.get(name, 1)), n) for name, n in counts.items()}

    def without_knob(self, knob: str) -> str:
        """See Solver.without_knob."""
        if knob != "pressure":
            return super().without_knob(knob)
        return (
            "the pressure of this solver is solved directly, it has no iterations; allowed: "
            f"{', '.join(self.knobs)}, or pressure with conjugate gradients (pressure='cg', "
            "--coarse=piso:cg=40)"
        )

    def iterations(self, knob: str, count: int) -> int:
        """See Solver.iterations."""
        if knob == "substeps":
            return count
        return count * self.substeps * (self.correctors if knob == "pressure" else 1)

    def _loop(self, function, knob, state, operands):
        return iterate(*(function, getattr(self, knob), state, operands), most=self.knobs[knob][1])

    def _potential(self, source, guess):
        """p of ∇·(α ∇p) = source; ``guess``: the p so far."""
        if self._direct is not None:
            return self._direct(source)
        start, most = guess if self.warm_start else None, self.knobs["pressure"][1]
        return capacitance.plain(self.grid, self.pressure, start, most)(source)

    def bind(self, params: Params) -> Step:
        reynolds = params["reynolds"]
        check_reynolds(tf.get_static_value(reynolds))
        return self.step_of(1 / reynolds, tf.constant(self.forcing, reynolds.dtype)[None])

    def step_of(
        self, viscosity: tf.Tensor, forcing: tf.Tensor, inflow: tf.Tensor | None = None
    ) -> Step:
        """The step for ν, [batch], f, [batch, y, x, 2], and inflow, [batch, y, 2], or what
        broadcasts to the latter two."""
        operands = [viscosity[:, None, None], tf.transpose(forcing, [3, 0, 1, 2])]
        if self.grid.inflow:
            operands.append(self._entering(viscosity, inflow))

        def step(state):
            check_state(state, self.shape, self.channels)
            fields = tf.transpose(state, [3, 0, 1, 2])
            fields = self._loop(self._substep, "substeps", fields, operands)
            return tf.transpose(fields, [1, 2, 3, 0])

        return step

    def forces(self, params: Params):
        """The function state -> force of the flow on the body, [batch, (x, y)], per unit density.

        The momentum that convection and friction bring to the closed faces, and the pressure on
        them: what the body takes from the flow, for a state that this solver made.
        """
        viscosity = 1 / params["reynolds"]

        def force(state):
            check_state(state, self.shape, self.channels)
            fields = tf.transpose(state, [3, 0, 1, 2])
            inflow = self._entering(viscosity) if self.grid.inflow else None
            return self._force(fields, viscosity[:, None, None], inflow)

        return force

    def prolong(self, state: State) -> State:
        """A state of the coarser grid that this solver refines, on its own: see ops.resampling."""
        return refine(state, self.refinement, self.grid.periodic)

    def restrict(self, state: State) -> State:
        """A state of this solver on the coarser grid that it refines.

        It gives back what ``prolong`` took, but for p in coarse cells that the body cuts: p is the
        mean over their cells in the fluid alone, and ``prolong`` knows no body.
        """
        return coarsen(state, self.refinement, self.grid.fluid)

    def _entering(self, viscosity, inflow=None):
        """Velocity at the left side, [2, batch, y, 1]."""
        inflow = tf.constant(self.inflow, viscosity.dtype) if inflow is None else inflow
        inflow = tf.broadcast_to(inflow, [tf.shape(viscosity)[0], self.shape[0], 2])
        return tf.transpose(inflow, [2, 0, 1])[..., None]

    def _substep(self, fields, viscosity, forcing, inflow=None):
        """One sub-step of (u, v, p), [3, batch, y, x]; A_P w = H(w) + w_before/dt + f − ∇p.

        Inside, w is the velocity in the open part of a face; outside, the mean over the face.
        """
        grid, p, scheme = self.grid, fields[2], self._scheme
        w = fields[:2] if grid.open is None else fields[:2] * _constant(self._per_open, p.dtype)
        friction = grid.relaxation * viscosity
        dt = sub_step(self, p.dtype)
        inverse = 1 / (1 / dt + scheme.implicit * friction)  # 1 / A_P
        known = w / dt + forcing
        if scheme.implicit < 1:
            known -= (1 - scheme.implicit) * friction * w
        kept = scheme.kept(w, fields[:2], grid, inflow)
        side = [] if inflow is None else [inflow]
        if grid.outflow:
            side.append(self._leaving(fields[0], inflow))

        def jacobi(w, known, viscosity, inverse, *more):
            kept, side = more[:count], more[count:]
            entering = side[0] if grid.inflow else None
            w, carriers = scheme.evaluated(w, kept, grid, entering)
            w = (neighbour_sum(w, *carriers, viscosity, grid, entering) + known) * inverse
            if grid.open is not None:
                w *= _constant(grid.solved, w.dtype)
            return w + side[-1] if grid.outflow else w

        def correct(fields, known, viscosity, inverse, *more):
            w = jacobi(fields[:2], known, viscosity, inverse, *more)
            entering = more[count] if grid.inflow else None
            source = divergence(through(w, grid), grid, entering)
            potential = self._potential(source, fields[2] * inverse)  # p / A_P
            slope = gradient(potential, grid)
            if grid.open is not None:
                slope *= _constant(grid.open > 0, w.dtype)
            return tf.concat([w - slope, (potential / inverse)[None]], 0)

        linear, count = [viscosity, inverse, *kept, *side], len(kept)
        w = self._loop(jacobi, "sweeps", w, [known - gradient(p, grid), *linear])  # predictor
        fields = self._loop(correct, "correctors", tf.concat([w, p[None]], 0), [known, *linear])
        return tf.concat([through(fields[:2], grid), fields[2:]], 0)

    @property
    def _per_open(self):
        return 1 / np.where(self.grid.open > 0, self.grid.open, np.inf)

    def _leaving(self, u, inflow):
        """What the outflow's faces carry before the pressure acts, in the last column of u."""
        heights = tf.constant(self.grid.widths[0], u.dtype)[:, None]
        entered = tf.reduce_sum(inflow[0] * heights, 1, keepdims=True)
        height = self.grid.extent[0]
        dt, width = sub_step(self, u.dtype), float(self.grid.widths[1][-1])
        share = entered / height * dt / width  # implicit upwind
        last = (u[..., -1:] + share * u[..., -2:-1]) / (1 + share)
        left = tf.reduce_sum(last * heights, 1, keepdims=True)
        last += (entered - left) / height
        nowhere = tf.zeros_like(u[..., :-1])
        return tf.stack([tf.concat([nowhere, last], -1), tf.zeros_like(u)])

    def _force(self, fields, viscosity, inflow):
        grid, dtype = self.grid, fields.dtype
        if grid.body is None:
            raise InputError("forces need a body")
        w, p = fields[:2], fields[2] * tf.constant(grid.fluid, dtype)
        velocity = w * _constant(self._per_open, dtype)
        # by convection, what reaches closed faces; no viscosity here
        received = neighbour_sum(velocity, *fluxes(w, grid, inflow), 0 * viscosity, grid, inflow)
        received *= _constant(grid.volumes * grid.of_body, dtype)
        rubbed = viscosity * _constant(grid.friction, dtype) * velocity
        shut = grid.of_body.astype(np.float64)
        y, x = grid.widths
        # projected walls: closed on the right less closed on the left, times their length
        shut_x, shut_y = (
            shut[c] - immersed.before(shut[c], 1 - c, grid.periodic[1 - c], 0.0) for c in (0, 1)
        )
        walls = _constant(np.stack([shut_x * y[:, None], shut_y * x]), dtype)
        return tf.transpose(tf.reduce_sum(received + rubbed + walls * p, [2, 3]))

    def stable_dt(self, state: np.ndarray, reynolds: np.ndarray) -> np.ndarray:
        """The largest stable sub-step per sample, [batch]: the Jacobi sweeps contract below it.

        (|u| + |v|) dt / h = 1 + 4 dt / (Re h²), on square cells; twice that for "midpoint"
        """
        w = np.abs(np.asarray(state, np.float64)[..., :2])
        dy, dx = (d.reshape(shape) for d, shape in
                  zip(self.grid.distances, ((-1, 1), (-1,)), strict=True))  # fmt: skip
        rate = (w[..., 0] / dx + w[..., 1] / dy).max((1, 2))
        excess = rate - self.grid.relaxation / np.asarray(reynolds)
        return np.where(excess > 0, 1 / np.maximum(self._scheme.implicit * excess, 1e-300), np.inf)

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


def _constant(array, dtype):
    """Of [2, y, x], as a tensor [2, 1, y, x]."""
    return tf.constant(np.asarray(array, np.float64)[:, None], dtype)
