"""Metrics of two-dimensional flows on a staggered grid, in NumPy.

Velocities are [sample, frame, y, x, (u, v)]: of each cell u lives in the middle of the right face,
v in the middle of the upper face. Otherwise as in ``errors``: the initial state is in no array,
sums run in float64, a rollout that diverged comes bounded.
"""

from dataclasses import dataclass

import numpy as np

from tfunroll.metrics import correlation, errors

FLOOR = 1e-12  # of the total energy, below which a shell of the spectrum counts as empty


@dataclass(frozen=True)
class StaggeredGrid:
    """Attributes:
    spacing: width of the square cells.
    periodic: along y, along x. Where not, only corners and cells whose neighbours exist count.
    whole: True for faces that no body cuts or closes, [y, x, (u, v)]. The jump across a wall is
      not vorticity: metrics of it count corners between whole faces alone. None: all faces are.
    """

    spacing: float
    periodic: tuple[bool, bool] = (True, True)
    whole: np.ndarray | None = None

    def pairs(self, field: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """f[i + 1] and f[i] along axis −2 (y) or −1 (x)."""
        if self.periodic[axis + 2]:
            return np.roll(field, -1, axis), field
        front, back = [slice(None)] * 2, [slice(None)] * 2
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        return field[..., *front], field[..., *back]

    def around_corners(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """v right and left of the corners, u above and below: [..., y, x] each."""
        (right, left), (above, below) = self.pairs(w[..., 1], -1), self.pairs(w[..., 0], -2)
        rows, columns = above.shape[-2], right.shape[-1]
        return right[..., :rows, :], left[..., :rows, :], above[..., :columns], below[..., :columns]

    @property
    def corners(self) -> np.ndarray:
        """Where vorticity counts, [y, x] of bool; grids with ``whole`` alone."""
        return np.logical_and.reduce(self.around_corners(self.whole))


def vorticity(w: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """∂v/∂x − ∂u/∂y at the upper right corners of the cells: [..., y, x], per time unit."""
    w = w.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        right, left, above, below = grid.around_corners(w)
        return ((right - left) - (above - below)) / grid.spacing


def divergence(w: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """∂u/∂x + ∂v/∂y at the cell centres from the four faces: [..., y, x], per time unit.

    The periodic result is rolled by one cell, which no mean over space sees.
    """
    w = w.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        u_x = np.subtract(*grid.pairs(w[..., 0], -1))
        v_y = np.subtract(*grid.pairs(w[..., 1], -2))
        # u_x is that of the next column, v_y that of the next row: bring both to one cell
        u_x = np.roll(u_x, -1, -2) if grid.periodic[0] else u_x[..., 1:, :]
        v_y = np.roll(v_y, -1, -1) if grid.periodic[1] else v_y[..., 1:]
        return (u_x + v_y) / grid.spacing


def kinetic_energy(w: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over space of (u² + v²)/2, of all channels given: [sample, frame]."""
    return errors.energy(w)


def enstrophy(w: np.ndarray, r: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """mean over corners of ω²/2: [sample, frame], per squared time unit."""
    return _half_mean_square(_counted(w, grid))


def energy_error(w: np.ndarray, r: np.ndarray) -> np.ndarray:
    """|E/E_r − 1| of the kinetic energies, dimensionless: [sample, frame]."""
    return _deviation(kinetic_energy(w, r), kinetic_energy(r, r))


def enstrophy_error(w: np.ndarray, r: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """|Z/Z_r − 1| of the enstrophies, dimensionless: [sample, frame]."""
    return _deviation(enstrophy(w, r, grid), enstrophy(r, r, grid))


def vorticity_correlation(w: np.ndarray, r: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """correlation.correlation of the vorticities: [sample, frame]."""
    return correlation.correlation(_counted(w, grid), _counted(r, grid))


def vorticity_correlation_time(
    w: np.ndarray,
    r: np.ndarray,
    grid: StaggeredGrid,
    threshold: float = correlation.CORRELATION_THRESHOLD,
) -> tuple[np.ndarray, np.ndarray]:
    """correlation.correlation_time of the vorticities: time and censored flag, [sample]."""
    return correlation.correlation_time(_counted(w, grid), _counted(r, grid), threshold)


def rms_divergence(w: np.ndarray, r: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """Root mean square over space of ∇·w: [sample, frame], per time unit.

    A projected field has rounding errors alone (1e-6 in float32); what a network adds after the
    projection shows here.
    """
    return np.sqrt(2 * _half_mean_square(divergence(w, grid)))


def spectrum(w: np.ndarray) -> np.ndarray:
    """Kinetic energy by shells of the wavenumber, of periodic fields.

        E(k) = Σ (|û|² + |v̂|²) / (2 N²) over k − ½ ≤ |κ| < k + ½,   N cells in all,

    with κ in units of 2π over the longer side. The sum over k is the mean energy (Parseval). The
    half cells between u, v and the centres turn phases only, and count for nothing.

    Args: w: [..., y, x, (u, v)].
    Returns: [..., k] for k = 0, 1, …, float64.
    """
    shape = w.shape[-3:-1]
    numbers = [np.fft.fftfreq(n) * max(shape) for n in shape]  # square cells: same unit along both
    shells = np.rint(np.hypot(numbers[0][:, None], numbers[1])).astype(int)
    w_hat = np.fft.fft2(w.astype(np.float64), axes=(-3, -2)) / np.prod(shape)
    density = 0.5 * np.sum(np.square(np.abs(w_hat)), axis=-1)
    flat = density.reshape(-1, density.shape[-2] * density.shape[-1])
    members = shells.ravel() == np.arange(shells.max() + 1)[:, None]
    return (flat @ members.T.astype(np.float64)).reshape(*w.shape[:-3], -1)


def spectrum_error(w: np.ndarray, r: np.ndarray, grid: StaggeredGrid) -> np.ndarray:
    """mean over k = 1 … n/2 − 1 of |log₁₀ E(k)/E_r(k)|, E the mean over frames: [sample].

    n: cells along the shorter side; the grid is periodic. 0.3 means that shells are off by a
    factor of two on average.
    """
    assert all(grid.periodic)  # see metrics.check_defined
    resolved = slice(1, min(r.shape[2:4]) // 2)
    ours, theirs = (spectrum(x).mean(axis=1) for x in (w, r))
    floor = np.maximum(FLOOR * theirs.sum(-1, keepdims=True), np.finfo(float).tiny)
    logs = [np.log10(np.maximum(x, floor)[:, resolved]) for x in (ours, theirs)]
    return np.mean(np.abs(logs[0] - logs[1]), axis=-1)


def _counted(w, grid):
    """Vorticity where it counts, as states of one channel: [sample, frame, y, x, 1], or with a
    body [sample, frame, corner, 1]."""
    field = vorticity(w, grid)
    return (field if grid.whole is None else field[:, :, grid.corners])[..., None]


def _half_mean_square(field):
    """Over all axes behind sample and frame."""
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * np.mean(np.square(field), axis=tuple(range(2, field.ndim)))


def _deviation(value, reference):
    with np.errstate(invalid="ignore"):
        return errors.divide(np.abs(value - reference), reference)
