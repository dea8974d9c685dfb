"""Pressure solvers: ∇²p = r with the compact five-point Laplacian, differentiable.

A direct solver is a function r -> p on fields [..., y, x]. Where only gradients hold p (periodic
and Neumann sides alone), it gives the p of zero mean and ignores the mean of r. ``of_grid`` chooses
one; with a body, see ops.capacitance.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfunroll.core import check_choice
from tfunroll.ops.stencils import X, Y

Solve = Callable[[tf.Tensor], tf.Tensor]
SIDES = ("neumann", "dirichlet", "periodic")  # no gradient at the side, p = 0 there, none


def periodic(shape: tuple[int, int], h: float) -> Solve:
    """The solver of a periodic grid of square cells, by FFT: exact, and its own adjoint.

    Eigenvalues of the Laplacian: (2 cos(2πm/N_y) + 2 cos(2πn/N_x) − 4) / h².

    Args: shape: cells (y, x). h: their size.
    """
    y, x = (2 * np.cos(2 * np.pi * np.arange(n) / n) - 2 for n in shape)
    inverse = inverse_of((y[:, None] + x[: shape[1] // 2 + 1]) / h**2)

    def solve(r):
        r_hat = tf.signal.rfft2d(r)
        return tf.signal.irfft2d(r_hat * tf.constant(inverse, r_hat.dtype), shape)

    return with_adjoint(solve, solve)


def fast_diagonalisation(
    widths_y: np.ndarray, widths_x: np.ndarray, sides: tuple[tuple[str, str], tuple[str, str]]
) -> Solve:
    """The solver of a tensor grid, stretched or not, by the eigenvectors of its two axes.

        A = A_y ⊗ 1 + 1 ⊗ A_x,   A_a = V_a Λ_a V_a⁻¹,   p = V_y ((V_y⁻¹ r V_x⁻ᵀ) / (Λ_y + Λ_x)) V_xᵀ

    Args:
      widths_y, widths_x: widths of the cells along each axis.
      sides: of SIDES, (lower, upper) per axis (y, x).
    Raises:
      InputError: for an unknown kind of side.
    Reference: Lynch, Rice & Thomas (1964), Direct solution of partial difference equations by
    tensor product methods, doi:10.1007/BF01386067.
    """
    (values_y, vectors_y, inverse_y), (values_x, vectors_x, inverse_x) = (
        eigenvectors(np.asarray(widths, np.float64), pair)
        for widths, pair in zip((widths_y, widths_x), sides, strict=True)
    )
    inverse = inverse_of(values_y[:, None] + values_x)

    def solver(into_y, into_x, out_of_y, out_of_x):
        def solve(r):
            def constant(array):
                return tf.constant(array, r.dtype)

            r_hat = constant(into_y) @ r @ constant(into_x.T)
            return constant(out_of_y) @ (r_hat * constant(inverse)) @ constant(out_of_x.T)

        return solve

    return with_adjoint(
        solver(inverse_y, inverse_x, vectors_y, vectors_x),
        solver(vectors_y.T, vectors_x.T, inverse_y.T, inverse_x.T),
    )


def conjugate_gradients(
    operator: Solve,
    preconditioner: Solve,
    iterations: int | tf.Tensor,
    tolerance: float = 0.0,
    most: int | None = None,
    start: tf.Tensor | None = None,
) -> Solve:
    """The solver of A p = r by preconditioned conjugate gradients, a fixed number of iterations.

    Samples whose residual has fallen to ``tolerance`` times their right-hand side stay as they
    are. The gradient is the same solve of the cotangent: as exact as the solve has converged, as
    the result of so many iterations is not linear in r.

    Args:
      operator: A, symmetric and definite (of either sign) on [batch, y, x]; its constants must be
        NumPy arrays.
      preconditioner: roughly A⁻¹, symmetric, of the same sign.
      iterations: at most; good values: 10 with fast diagonalisation around an obstacle. An int32
        scalar, at most ``most``, makes one compiled graph serve all numbers.
      tolerance: relative residual; 0 never stops before a residual of zero.
      start: p to begin with; None: zero. The tolerance is then of A p too, whose rounding counts.
        It has no gradient, as the solution does not depend on it; that of r begins from zero.
    """

    def dot(a, b):
        return tf.reduce_sum(a * b, [Y, X], keepdims=True)

    def solve(r, first=None):
        goal, p = tolerance**2 * dot(r, r), tf.zeros_like(r)
        if first is not None:
            image = operator(first)
            goal, p, r = goal + tolerance**2 * dot(image, image), first, r - image

        def body(k, p, r, direction, weight):
            image = operator(direction)
            active = tf.cast(dot(r, r) > goal, r.dtype)
            step = active * tf.math.divide_no_nan(weight, dot(direction, image))
            p, r = p + step * direction, r - step * image
            z = preconditioner(r)
            new = dot(r, z)
            return k + 1, p, r, z + tf.math.divide_no_nan(new, weight) * direction, new

        z = preconditioner(r)
        return tf.while_loop(
            lambda k, *_: k < iterations,
            body,
            (tf.constant(0), p, r, z, dot(r, z)),
            maximum_iterations=most or iterations,
        )[1]

    return with_adjoint(lambda r: solve(r, start), solve)


def with_adjoint(solve: Solve, adjoint: Solve) -> Solve:
    """The linear map ``solve``, whose backward pass is ``adjoint`` and so costs one solve."""
    return tf.custom_gradient(lambda r: (solve(r), adjoint))


def inverse_of(eigenvalues: np.ndarray) -> np.ndarray:
    """1/λ, and 0 for the constant mode."""
    zero = np.abs(eigenvalues) < 1e-10 * np.abs(eigenvalues).max()
    return np.where(zero, 0.0, 1 / np.where(zero, 1.0, eigenvalues))


def eigenvectors(
    widths: np.ndarray, sides: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Λ, V and V⁻¹ of the second derivative on cells of these widths.

    W A, with W the widths, is symmetric, so A = W^(−½) (Q Λ Qᵀ) W^(½).
    """
    for side in sides:
        check_choice("sides", side, SIDES)
    links = 2 / (widths[:-1] + widths[1:])
    ends = [2 / width if side == "dirichlet" else 0.0 for width, side in
            zip((widths[0], widths[-1]), sides, strict=True)]  # fmt: skip
    diagonal = -np.concatenate([ends[:1], links]) - np.concatenate([links, ends[1:]])
    symmetric = np.diag(diagonal) + np.diag(links, 1) + np.diag(links, -1)
    if sides[0] == "periodic":
        link = 2 / (widths[0] + widths[-1])
        symmetric += link * (_corners(len(widths)) - np.diag(np.abs(_corners(len(widths))).sum(0)))
    root = np.sqrt(widths)
    values, q = np.linalg.eigh(symmetric / np.outer(root, root))
    return values, q / root[:, None], q.T * root


def _corners(n):
    corners = np.zeros((n, n))
    corners[0, -1] = corners[-1, 0] = 1
    return corners
