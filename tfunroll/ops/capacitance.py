"""The pressure around a body: ∇·(α ∇p) = r, α the open parts of the faces, without iteration.

With D and G the divergence and the gradient on all faces, and K the faces in the way, some of them
closed to a part 1 − α > 0, the operator is that of the empty grid less these:

    A = A₀ − D_K (1 − α) G_K
    p = p₀ + A₀⁻¹ D_K C⁺ G_K p₀,   p₀ = A₀⁻¹ r,   C = (1 − α)⁻¹ − G_K A₀⁻¹ D_K

(Woodbury), scaled here by √(1 − α) on both sides. C⁺ is a pseudo-inverse, for the cells inside the
body have no connection to any other.
Reference: Buzbee, Dorr, George & Golub (1971), The direct solution of the discrete Poisson equation
on irregular regions, doi:10.1137/0708066.
"""

import numpy as np
import tensorflow as tf

from tfunroll.ops import poisson
from tfunroll.ops.grid import Grid
from tfunroll.ops.stencils import divergence, gradient

CUT_OFF = 1e-10  # of the largest singular value of C: below it, a mode of a closed region
CG_ITERATIONS = 20  # conjugate gradients around one body: 1e-10 or better


def empty(grid: Grid) -> poisson.Solve:
    """The solver of the grid without its body."""
    if grid.square and all(grid.periodic):
        return poisson.periodic(grid.shape, float(grid.widths[0][0]))
    return poisson.fast_diagonalisation(*grid.widths, grid.pressure_sides)


def direct(grid: Grid) -> poisson.Solve:
    """The solver with the body, by its capacitance matrix; p is zero in the body.

    The correction needs p₀ in the few rows and columns around the body only, and changes r there
    only: beside the two products per axis of the empty grid, it costs little.
    """
    if grid.body is None:
        return empty(grid)
    faces = _faces_in_the_way(grid)
    to_solution = _Transform(grid, faces)
    return poisson.with_adjoint(to_solution.solve, to_solution.adjoint)


def iterative(
    grid: Grid, iterations: int = CG_ITERATIONS, tolerance: float = 1e-12
) -> poisson.Solve:
    """The same by conjugate gradients, preconditioned by the empty grid's solver.

    It cross-checks ``direct``, and needs no set-up.
    """
    if grid.body is None:
        return empty(grid)
    solve_empty, areas = empty(grid), grid.areas
    fluid, operator = grid.fluid.astype(np.float64), _weighted(grid)

    def preconditioner(r):
        inside, weights = tf.constant(fluid, r.dtype), tf.constant(areas, r.dtype)
        return inside * solve_empty(inside * r / weights) - (1 - inside) * r / weights

    def solve(r):
        return inner(tf.constant(areas * fluid, r.dtype) * r)

    inner = poisson.conjugate_gradients(operator, preconditioner, iterations, tolerance)
    return solve


def plain(
    grid: Grid,
    iterations: int | tf.Tensor,
    start: tf.Tensor | None = None,
    most: int | None = None,
) -> poisson.Solve:
    """A number of conjugate gradients without preconditioner, on any grid, with or without a body.

    As a solver without fast transforms has it: k of them leave 2 ((√κ − 1) / (√κ + 1))^k of the
    error in the energy norm, or less, κ ≈ 2 (n/π)² in a periodic box of n² square cells. The
    gradient is as many iterations on the cotangent (``poisson.conjugate_gradients``).

    Args:
      iterations, most: of poisson.conjugate_gradients.
      start: p to begin with, such as that of the step before; the gradient does not see it, as the
        solution does not depend on it. None: zero.
    """
    operator, areas = _weighted(grid), grid.areas
    fluid = np.ones(grid.shape) if grid.fluid is None else grid.fluid.astype(np.float64)
    share = areas * fluid / (areas * fluid).sum()

    def balanced(r):  # where gradients alone hold p, A p = r has a solution for ∫ r = 0 alone
        if grid.outflow:
            return r
        mean = tf.reduce_sum(tf.constant(share, r.dtype) * r, [-2, -1], keepdims=True)
        return r - mean

    def solve(r):
        # beyond rounding, the constant mode, which A does not see, would be all that is left
        rounding = 4 * np.finfo(r.dtype.as_numpy_dtype).eps
        inside = tf.constant(fluid, r.dtype)
        first = None if start is None else inside * start
        inner = poisson.conjugate_gradients(
            operator, tf.identity, iterations, rounding, most, first
        )
        return inner(tf.constant(areas, r.dtype) * inside * balanced(r))

    return solve


def _weighted(grid):
    """A times the cells' areas, which is symmetric; cells of the body stand alone."""
    fluid = np.ones(grid.shape) if grid.fluid is None else grid.fluid.astype(np.float64)

    def operator(p):
        inside, weights = tf.constant(fluid, p.dtype), tf.constant(grid.areas, p.dtype)
        flow = gradient(inside * p, grid)
        if grid.open is not None:
            flow *= tf.constant(grid.open[:, None], p.dtype)
        return weights * (inside * divergence(flow, grid) - (1 - inside) * p)

    return operator


def _faces_in_the_way(grid):
    """[(component, j, i, α)] of faces that are not all open, between cells not both in the body."""
    fluid = grid.fluid
    beyond = [
        np.roll(fluid, -1, 1) if grid.periodic[1] else np.c_[fluid[:, 1:], fluid[:, -1:]],
        np.roll(fluid, -1, 0) if grid.periodic[0] else np.r_[fluid[1:], fluid[-1:]],
    ]
    faces = []
    for c in (0, 1):
        inner = np.ones(grid.shape, bool)  # faces of the sides are the empty grid's matter
        if not grid.periodic[1 - c]:
            inner[(slice(None), -1) if c == 0 else (-1, slice(None))] = False
        chosen = (grid.open[c] < 1) & (fluid | beyond[c]) & inner
        faces += [(c, j, i, grid.open[c, j, i]) for j, i in np.argwhere(chosen)]
    return faces


class _Transform:
    """The eigenbasis of the empty grid, and the body's faces in it."""

    def __init__(self, grid, faces):
        self.shape = grid.shape
        pairs = zip(grid.widths, grid.pressure_sides, strict=True)
        axes = [poisson.eigenvectors(widths, sides) for widths, sides in pairs]
        (values_y, self.out_y, self.in_y), (values_x, self.out_x, self.in_x) = axes
        self.inverse = poisson.inverse_of(values_y[:, None] + values_x)
        ends = [
            (j, i, (j, (i + 1) % self.shape[1]) if c == 0 else ((j + 1) % self.shape[0], i), c)
            for c, j, i, _ in faces
        ]
        cells = np.array([[(j, i), there] for j, i, there, _ in ends])  # [face, 2, (y, x)]
        self.rows = slice(cells[..., 0].min(), cells[..., 0].max() + 1)
        self.columns = slice(cells[..., 1].min(), cells[..., 1].max() + 1)
        patch = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        count = len(faces)
        jump, source = np.zeros((count, *patch)), np.zeros((count, *patch))  # G_K, D_K
        for k, (_, _, _, c) in enumerate(ends):
            for sign, (row, column) in zip((-1, 1), cells[k], strict=True):
                at = (k, row - self.rows.start, column - self.columns.start)
                axis = 1 - c
                first = cells[k, 0, axis]
                jump[at] = sign / grid.distances[axis][first]
                source[at] = -sign / grid.widths[axis][(row, column)[axis]]
        images = self._apply(self._to_modes(source))
        at_faces = jump.reshape(count, -1) @ images.reshape(count, -1).T  # G_K A₀⁻¹ D_K
        root = np.sqrt(1 - np.array([alpha for *_, alpha in faces]))
        capacitance = np.eye(count) - np.outer(root, root) * at_faces
        inverse = np.outer(root, root) * np.linalg.pinv(capacitance, rcond=CUT_OFF)
        flat = (count, -1)
        self.into, self.out = jump.reshape(flat), source.reshape(flat).T @ inverse
        self.patch = patch
        self.fluid = grid.fluid.astype(np.float64)

    def _to_modes(self, source):
        return self.in_y[:, self.rows] @ source @ self.in_x[:, self.columns].T

    def _apply(self, modes):
        """Fields in the patch of modes of r."""
        return self.out_y[self.rows] @ (modes * self.inverse) @ self.out_x[self.columns].T

    def solve(self, r):
        return self._solve(r, self.in_y, self.in_x, self.out_y, self.out_x, self.into, self.out)

    def adjoint(self, g):
        return self._solve(
            g, self.out_y.T, self.out_x.T, self.in_y.T, self.in_x.T, self.out.T, self.into.T
        )

    def _solve(self, r, in_y, in_x, out_y, out_x, into, out):
        def constant(array):
            return tf.constant(array, r.dtype)

        rows, columns = self.rows, self.columns
        inside = constant(self.fluid)
        inverse = constant(self.inverse)
        modes = constant(in_y) @ (inside * r) @ constant(in_x.T)
        near = constant(out_y[rows]) @ (modes * inverse) @ constant(out_x[columns].T)
        flat = tf.reshape(near, [-1, self.patch[0] * self.patch[1]])
        added = tf.reshape(flat @ constant(into.T) @ constant(out.T), tf.shape(near))
        modes += constant(in_y[:, rows]) @ added @ constant(in_x[:, columns].T)
        return inside * (constant(out_y) @ (modes * inverse) @ constant(out_x.T))
