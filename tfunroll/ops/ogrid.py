"""O-grids around closed curves, and the curves: NACA four-digit sections, any other body.

A body is a curve [n + 1, (x, y)], clockwise from its rearmost point, whose last point is the first.
"""

import numpy as np

from tfunroll.core import InputError
from tfunroll.ops.meshes import Mesh

SMOOTHING = 12  # passes of (1, 2, 1)/4 over the wall's normals, for up to 128 cells around
BLEND = 0.35  # distance over which marching turns from the normals to radial, in chords


def naca(code: str, cells: int) -> np.ndarray:
    """A NACA four-digit section with a sharp trailing edge at (1, 0), chord 1.

        y_t = 5 t (0.2969 √x − 0.1260 x − 0.3516 x² + 0.2843 x³ − 0.1036 x⁴)

    normal to the mean line of camber m at p; the last coefficient closes the trailing edge (the
    original −0.1015 leaves a gap of 0.25 % of the chord). Points crowd at both edges:
    x = 0.85 cos²(πs/2) + 0.15 (1 − s)², s from 0 (trailing) to 1 (leading edge).

    Args:
      code: such as "0012": maximal camber in per cent, its place in tenths, thickness in per cent.
      cells: along the curve, even.
    Returns: [cells + 1, 2].
    Reference: Abbott & von Doenhoff (1959), Theory of Wing Sections, section 6.4.
    """
    if not (isinstance(code, str) and len(code) == 4 and code.isdigit() and int(code[2:]) > 0):
        raise InputError(f"code={code!r} must be four digits such as '0012', the thickness not 00")
    m, p, t = int(code[0]) / 100, int(code[1]) / 10, int(code[2:]) / 100
    if m and not p:
        raise InputError(f"code={code!r}: a section with camber needs its place, the second digit")
    if cells < 8 or cells % 2:
        raise InputError(f"cells={cells} along the body must be an even number of at least 8")
    s = np.linspace(0, 1, cells // 2 + 1)
    x = 0.85 * np.cos(np.pi * s / 2) ** 2 + 0.15 * (1 - s) ** 2
    x[-1] = 0
    powers = np.stack([np.sqrt(x), x, x**2, x**3, x**4])
    half = 5 * t * np.array([0.2969, -0.1260, -0.3516, 0.2843, -0.1036]) @ powers
    half[[0, -1]] = 0
    rise = np.where(x < p, m / (p or 1) ** 2, m / (1 - p) ** 2)
    line = rise * np.where(x < p, 2 * p * x - x**2, 1 - 2 * p + 2 * p * x - x**2)
    slope = rise * 2 * (p - x)
    size = np.hypot(1, slope)
    dx, dy = -half * slope / size, half / size
    lower, upper = np.stack([x - dx, line - dy], -1), np.stack([x + dx, line + dy], -1)
    return np.concatenate([lower, upper[-2::-1]])


def body(curve: np.ndarray, cells: int | None = None) -> np.ndarray:
    """A user's closed curve as a body: checked, turned, and on demand with evenly spaced points.

    Args:
      curve: points [n, 2] in order, either way around; the last one is the first again.
      cells: points along the result, evenly by arc length; None keeps the given ones.
    Raises:
      InputError: a curve that is open, crosses itself, or has fewer than 8 points.
    """
    curve = np.asarray(curve, np.float64)
    if curve.ndim != 2 or curve.shape[1:] != (2,) or len(curve) < 9:
        raise InputError(f"curve has shape {curve.shape}, needs at least 9 points [n, 2]")
    if not np.isfinite(curve).all():
        raise InputError("curve holds NaN or infinity")
    gap, size = np.linalg.norm(curve[-1] - curve[0]), np.ptp(curve, axis=0).max()
    if gap > 1e-9 * size:
        raise InputError(
            f"curve is open: its last point is {gap:.3g} away from its first, they must agree"
        )
    points = curve[:-1]
    x, y = points.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0:  # anticlockwise
        points = points[::-1]
    points = np.roll(points, -int(np.argmax(points[:, 0])), axis=0)
    points = np.concatenate([points, points[:1]])
    _check_simple(points)
    if cells is None:
        return points
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0, length[-1], cells + 1)
    return np.stack([np.interp(places, length, c) for c in points.T], -1)


def o_grid(
    curve: np.ndarray, layers: int, first: float, radius: float, smoothing: int = SMOOTHING
) -> Mesh:
    """An O-grid around a body: algebraic marching along smoothed normals, radial far away.

        node(j, i) = wall(i) + d_j n_ij,   d_j = first (e^(bj) − 1)/(e^b − 1),   d_layers = radius

    n_ij turns from the wall's smoothed normal to the i-th of evenly spread directions over BLEND
    chords. (Exact conformal maps collapse the cells at a sharp trailing edge.)

    Args:
      curve: a body, see the module. layers: cells along j.
      first: height of the first cell; geometric spacing from there on.
      radius: distance of the far field from the body; both in chords.
      smoothing: passes over the normals of up to 128 cells, of n > 128 (n/128)² as many: the fan
        of lines behind a sharp trailing edge keeps its width; more of them resolve the wake better.
    Raises:
      InputError: impossible numbers; a mesh with cells of negative volume.
    """
    wall = curve[:-1]
    tangent = np.roll(wall, -1, 0) - np.roll(wall, 1, 0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)  # outward of a clockwise curve
    normal = smoothed(normal, smoothing, len(wall), "wrap")
    angle = -2 * np.pi * np.arange(len(wall)) / len(wall)
    nodes = march(wall, normal, angle, layers, first, radius, np.ptp(wall[:, 0]))
    return Mesh(np.concatenate([nodes, nodes[:, :1]], 1))


def march(line, normals, far, layers, first, radius, chord) -> np.ndarray:
    """Nodes [layers + 1, i, 2] from a line on, as o_grid says; ``far``: angles far away, [i]."""
    if layers < 4:
        raise InputError(f"layers={layers} must be at least 4")
    if not 0 < first * layers < radius:
        raise InputError(
            f"first={first:g} must be positive and below radius / layers = {radius / layers:.3g}"
        )
    distance = geometric(layers, first, radius)
    blend = np.exp(-((distance / (BLEND * chord)) ** 2))[:, None, None]
    direction = _unit(blend * normals + (1 - blend) * np.stack([np.cos(far), np.sin(far)], -1))
    return line + distance[:, None, None] * direction


def smoothed(normals, smoothing, cells, mode) -> np.ndarray:
    """Unit normals [i, 2], smoothed as o_grid says; mode: of np.pad at the ends of i."""
    normals = _unit(normals)
    for _ in range(round(smoothing * max(1, cells / 128) ** 2)):
        padded = np.pad(normals, [[1, 1], [0, 0]], mode)
        normals = _unit(padded[:-2] + 2 * normals + padded[2:])
    return normals


def geometric(layers, first, radius):
    """Distances d_0 = 0, d_1 = first, …, d_layers = radius that grow geometrically."""
    low, high = 1e-9, 200.0 / layers
    for _ in range(200):  # bisection for b of the docstring
        b = (low + high) / 2
        far = first * np.expm1(b * layers) / np.expm1(b)
        low, high = (low, b) if far > radius else (b, high)
    return first * np.expm1(b * np.arange(layers + 1)) / np.expm1(b)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _check_simple(points):
    """InputError if two segments of a closed curve that are no neighbours cross or touch."""
    a, b = points[:-1], points[1:]
    n = len(a)

    def side(p, q, r):
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (
            r[..., 0] - p[..., 0]
        )

    p, q, r, s = a[:, None], b[:, None], a[None], b[None]
    crossing = (side(p, q, r) * side(p, q, s) <= 0) & (side(r, s, p) * side(r, s, q) <= 0)
    gap = np.abs(np.arange(n)[:, None] - np.arange(n))
    crossing &= (gap > 1) & (gap < n - 1)
    lows, highs = np.minimum(a, b), np.maximum(a, b)  # of collinear ones: only if boxes overlap
    crossing &= ((lows[:, None] <= highs) & (lows <= highs[:, None])).all(-1)
    repeated = np.flatnonzero((a == b).all(-1))
    if repeated.size:
        raise InputError(f"curve repeats its point {repeated[0]} ({a[repeated[0]]})")
    if crossing.any():
        i, k = np.argwhere(crossing)[0]
        raise InputError(f"curve crosses itself: segment {i} at {a[i]} meets segment {k} at {a[k]}")
