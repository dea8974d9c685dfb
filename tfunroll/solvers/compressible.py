"""The compressible Navier-Stokes and Euler equations in two dimensions on a body-fitted mesh."""

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, check_state
from tfunroll.ops.averaging import refine, volume_average
from tfunroll.ops.gas import GAMMA, conservative, primitive
from tfunroll.ops.loops import iterate
from tfunroll.ops.meshes import FAR_FIELD, PERIODIC, WALL, Mesh, gradient_weights
from tfunroll.ops.reconstruction import faces
from tfunroll.ops.riemann import far_field, hllc
from tfunroll.ops.viscous import PRANDTL, viscous_flux
from tfunroll.solvers.substeps import sub_step

SENSOR = 0.01
COURANT = 1.6  # sum of the CFL numbers along i and j; SSPRK3 has been stable here up to 1.9
MACH = (0.1, 1.5)  # possible range; where published flows validate it: systems.aerofoil
# SSPRK3 as q ← a q_0 + b (q + dt L(q)), stage by stage: Shu & Osher (1988)
STAGES = ((0.0, 1.0), (0.75, 0.25), (1 / 3, 2 / 3))
AROUND_BODY = ((WALL, FAR_FIELD), (PERIODIC, PERIODIC))  # on an O-grid
AROUND_BODY_C = ((WALL, FAR_FIELD), (FAR_FIELD, FAR_FIELD))  # on a C-grid: WALL but for the cut


class Compressible(Solver):
    """Finite volumes for two-dimensional flow of an ideal gas, γ = 1.4, Pr = 0.72.

        ∂q/∂t + ∇·(F − F_v) = 0,   q = (ρ, ρu, ρv, E),   E = p/(γ − 1) + ρ (u² + v²)/2

    with constant viscosity 1/Re and heat flux −γ/((γ − 1) Pr Re) ∇(p/ρ). Units: free stream
    ρ∞ = U∞ = 1, chord 1, hence p∞ = 1/(γ M²). Cell-centred on a curved mesh: κ = 1/3 with a
    pressure sensor (ops.reconstruction), HLLC (ops.riemann), viscous fluxes of the full gradient at
    each face (ops.viscous), and SSPRK3 in time. Second order in space on smooth meshes.

    At a wall only pressure acts on the inviscid flux; two ghost cells mirror the velocity, all of
    it (no slip, adiabatic) or, without viscosity, its normal part. A far field has the state of
    ops.riemann.far_field. Across the cut of a C-grid the ghost cells are the cells there, and both
    sides take the mean of the fluxes that they compute, so that what leaves one enters the other.

    Args:
      mesh: see ops.meshes.
      dt: sub-step; see ``stable_dt``.
      substeps: sub-steps per frame.
      viscous: False for the Euler equations; "reynolds" then counts for nothing.
      boundary: (lower, upper) along j and along i: "periodic", "replicate", "far_field", the lower
        one along j also "wall"; None: AROUND_BODY or AROUND_BODY_C, as the mesh is.
      sensor: of ops.reconstruction.faces.
      refinement: cells of this mesh per cell of the states that ``prolong`` takes, per axis.
    Knob: "substeps", of the same frame.
    State: (ρ, u, v, p), [batch, j, i, 4].
    Params: "mach", "reynolds", "incidence" (degrees), each [batch].
    Raises:
      InputError: for an impossible number; a Mach number outside MACH.
    Reference: Blazek, Computational Fluid Dynamics: Principles and Applications (2015).
    """

    channels = 4

    def __init__(
        self,
        mesh: Mesh,
        dt: float,
        substeps: int = 1,
        viscous: bool = True,
        boundary=None,
        sensor: float | None = SENSOR,
        refinement: int = 1,
    ):
        if not dt > 0:
            raise InputError(f"dt={dt} must be positive")
        if substeps < 1:
            raise InputError(f"substeps={substeps} must be at least 1")
        if min(mesh.shape) < 3:
            raise InputError(f"mesh.shape={mesh.shape} must be at least 3 cells per axis")
        boundary = boundary or (AROUND_BODY_C if mesh.cut else AROUND_BODY)
        if tuple(pair == (PERIODIC, PERIODIC) for pair in boundary) != mesh.periodic:
            raise InputError(f"boundary={boundary} does not fit mesh.periodic={mesh.periodic}")
        if WALL in (boundary[0][1], *boundary[1]):
            raise InputError(f"boundary={boundary}: only the first, lower along j, can be a wall")
        self.mesh, self.dt, self.substeps, self.viscous = mesh, dt, substeps, viscous
        self.boundary, self.sensor, self.refinement = boundary, sensor, refinement
        self.shape, self.frame_time = mesh.shape, dt * substeps
        self.knobs = {"substeps": (1, substeps)}
        self._weights = [gradient_weights(mesh, axis) for axis in (0, 1)]
        # On a wall the speed is zero, so no gradient there looks at the neighbour along it, which
        # at the end of a body is a cell of the cut.
        if boundary[0][0] == WALL:
            self._weights[0][1::2, 0, mesh.body] = 0

    def bind(self, params: Params) -> Step:
        operands = self.operands(params)

        def step(state):
            check_state(state, self.shape, self.channels)
            q = conservative(tf.transpose(state, [3, 0, 1, 2]))
            dt = tf.convert_to_tensor(sub_step(self, state.dtype), state.dtype)
            q = self.advance(q, dt, operands, self.substeps)
            return tf.transpose(primitive(q), [1, 2, 3, 0])

        return step

    def prolong(self, state: State) -> State:
        """A state of the averaged mesh on this one: see ops.averaging."""
        return refine(state, self.mesh, self.refinement)

    def restrict(self, state: State) -> State:
        """A state of this mesh on the averaged one."""
        return volume_average(state, self.mesh, self.refinement)

    def operands(self, params: Params) -> tuple[tf.Tensor, ...]:
        """(p∞, 1/Re, cos α, sin α), each [batch, 1, 1]: what ``rate`` takes."""
        check_mach(tf.get_static_value(params["mach"]))
        angle = params["incidence"] * (np.pi / 180)
        values = (
            1 / (GAMMA * tf.square(params["mach"])),
            1 / params["reynolds"],
            tf.cos(angle),
            tf.sin(angle),
        )
        return tuple(v[:, None, None] for v in values)

    def advance(self, q: tf.Tensor, dt: tf.Tensor, operands, substeps: int | tf.Tensor):
        """q, [4, batch, j, i], after sub-steps of dt, a scalar or [batch, j, i].

        The stages are one loop, whose state is q at the sub-step's beginning and q now.
        """

        def stage(k, pair, dt, *operands):
            start, now = pair[0], pair[1]
            a, b = (tf.constant([s[c] for s in STAGES], now.dtype)[k % 3] for c in (0, 1))
            after = a * start + b * (now + dt * self.rate(now, *operands))
            return tf.stack([tf.where(k % 3 == 2, after, start), after])

        pair, most = tf.stack([q, q]), 3 * self.knobs["substeps"][1]
        return iterate(stage, 3 * substeps, pair, (dt, *operands), counted=True, most=most)[1]

    def rate(self, q, pressure, viscosity, cosine, sine):
        """∂q/∂t of the semi-discrete equations, [4, batch, j, i]."""
        w = self._padded(primitive(q), pressure, cosine, sine)
        change = 0.0
        for axis in (0, 1):
            f = self._flux(w, axis, viscosity)
            change -= f[..., 1:] - f[..., :-1] if axis else f[..., 1:, :] - f[..., :-1, :]
        return change * tf.constant(1 / self.mesh.volumes, q.dtype)

    def forces(self, state: State, params: Params) -> tf.Tensor:
        """Coefficients of drag and lift of the body, [batch, 2]: force / (½ ρ∞ U∞² chord)."""
        pressure, viscosity, cosine, sine = self.operands(params)
        w = self._padded(tf.transpose(state, [3, 0, 1, 2]), pressure, cosine, sine)
        normal = tf.constant(np.moveaxis(self.mesh.j_normals[:1], -1, 0)[:, None], state.dtype)
        force = -(self._wall_pressure(w) - pressure) * normal
        if self.viscous:
            force += self._friction(w, 0)[:2, :, :1] * viscosity
        x, y = tf.unstack(tf.reduce_sum(force[..., self.mesh.body], [-2, -1]))
        cosine, sine = cosine[:, 0, 0], sine[:, 0, 0]
        return 2 * tf.stack([x * cosine + y * sine, y * cosine - x * sine], -1)

    def stable_dt(self, state: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
        """The largest stable sub-step of every cell, [batch, j, i].

        COURANT / (|w·S_i| + c |S_i| + |w·S_j| + c |S_j|) V,   with viscosity one term more,
        4 γ/(Pr Re ρ) (|S_i|² + |S_j|²) / V²
        """
        state = np.asarray(state, np.float64)
        with np.errstate(invalid="ignore"):
            c = np.sqrt(GAMMA * state[..., 3] / state[..., 0])
        rate = 0.0
        for size in self.mesh.sizes:
            length = np.linalg.norm(size, axis=-1)
            rate = rate + np.abs((state[..., 1:3] * size).sum(-1)) + c * length
            if self.viscous:
                spread = GAMMA / (PRANDTL * np.asarray(params["reynolds"], np.float64))
                rate = rate + 4 * spread[:, None, None] / state[..., 0] * length**2
        return COURANT / rate

    def check_stable(self, state: np.ndarray, params: dict[str, np.ndarray]) -> None:
        """InputError if dt is beyond the stable limit for a state; it names the limit."""
        limit = self.stable_dt(state, params).min((1, 2))
        worst = int(np.argmin(limit))
        if not self.dt <= limit[worst]:
            raise InputError(
                f"dt={self.dt:g} is beyond the stable limit at mach={params['mach'][worst]:g}: "
                f"largest stable dt on {self.shape[0]} x {self.shape[1]} cells: {limit[worst]:.3g}"
            )

    def _flux(self, w, axis, viscosity):
        """Fluxes through the faces across an axis, [4, batch, j, i], of w with two ghosts."""
        count = self.shape[axis] + 1
        if axis:
            cells = [w[..., 2:-2, k : k + count] for k in range(4)]
        else:
            cells = [w[..., k : k + count, 2:-2] for k in range(4)]
        left, right = faces(cells, 3, self.sensor)
        nx, ny = self._normals(axis, w.dtype)
        flux = tf.stack(hllc(tf.unstack(left), tf.unstack(right), nx, ny))
        if self.viscous:
            friction = tf.pad(self._friction(w, axis) * viscosity, [[1, 0], [0, 0], [0, 0], [0, 0]])
            flux -= friction
        if axis:
            return flux
        first = flux[..., :1, :]
        across = (first - first[..., ::-1]) / 2  # a cut's faces appear twice, from either side
        if self.boundary[0][0] == WALL:
            p = self._wall_pressure(w)
            push = [p * nx[:1], p * ny[:1]]
            if self.viscous:
                push = [a - b for a, b in zip(push, tf.unstack(friction[1:3, :, :1]), strict=True)]
            first = tf.stack([tf.zeros_like(p), *push, tf.zeros_like(p)])
        return tf.concat([self._along_cut(across, first), flux[..., 1:, :]], -2)

    def _along_cut(self, across, first):
        """Rows of ``across`` where i is on the cut, else of ``first``."""
        body = self.mesh.body
        parts = across[..., : body.start], first[..., body], across[..., body.stop :]
        return tf.concat(parts, -1)

    def _friction(self, w, axis):
        ring = w[..., 1:-1, 1:-1]
        carried = tf.stack([ring[1], ring[2], ring[3] / ring[0]])
        weights = [tf.constant(a, w.dtype) for a in self._weights[axis]]
        return viscous_flux(carried, axis, weights, *self._normals(axis, w.dtype))

    def _normals(self, axis, dtype):
        normals = self.mesh.i_normals if axis else self.mesh.j_normals
        return tuple(tf.constant(n, dtype) for n in np.moveaxis(normals, -1, 0))

    def _wall_pressure(self, w):
        """[batch, 1, i]: of the first cell under a boundary layer, else extrapolated."""
        p = w[3, :, 2:4, 2:-2]
        return p[:, :1] if self.viscous else 1.5 * p[:, :1] - 0.5 * p[:, 1:]

    def _padded(self, w, pressure, cosine, sine):
        """w with two ghost cells on every side."""
        free = tf.ones_like(pressure), cosine, sine, pressure
        for axis in (0, 1):
            before, after = (self._ghosts(w, axis, end, free) for end in (0, 1))
            w = tf.concat([before, w, after], axis - 2)
        return w

    def _ghosts(self, w, axis, end, free):
        """The two ghost cells beyond the lower (0) or upper (1) end of an axis."""

        def cells(*places):
            return w[..., slice(*places)] if axis else w[..., slice(*places), :]

        kind, last = self.boundary[axis][end], cells(-1, None) if end else cells(0, 1)
        if kind == PERIODIC:
            return cells(0, 2) if end else cells(-2, None)
        if kind == WALL:
            ghosts = self._mirrored(cells(1, None, -1))
        elif kind == FAR_FIELD:
            n = self.mesh.i_normals[:, [-end]] if axis else self.mesh.j_normals[[-end]]
            if axis:  # w was given its two ghost rows along j before those along i
                n = np.pad(n, [[2, 2], [0, 0], [0, 0]], "edge")
            nx, ny = (tf.constant(c if end else -c, w.dtype) for c in np.moveaxis(n, -1, 0))
            ghosts = tf.repeat(tf.stack(far_field(tf.unstack(last), free, nx, ny)), 2, axis - 2)
        else:
            ghosts = tf.repeat(last, 2, axis - 2)
        if axis or end:
            return ghosts
        return self._along_cut(w[..., 1::-1, ::-1], ghosts)

    def _mirrored(self, rows):
        r, u, v, p = tf.unstack(rows)
        if self.viscous:
            return tf.stack([r, -u, -v, p])
        nx, ny = self._normals(0, rows.dtype)
        size = tf.sqrt(nx[0] ** 2 + ny[0] ** 2)
        nx, ny = nx[0] / size, ny[0] / size
        twice = 2 * (u * nx + v * ny)
        return tf.stack([r, u - twice * nx, v - twice * ny, p])


def check_mach(values: np.ndarray | None) -> None:
    """InputError unless all lie in MACH; None (not known before the graph runs) passes."""
    if values is None:
        return
    bad = np.asarray(values)[~((np.asarray(values) >= MACH[0]) & (np.asarray(values) <= MACH[1]))]
    if bad.size:
        raise InputError(f"mach={bad.flat[0]:g} is outside the allowed range {list(MACH)}")
