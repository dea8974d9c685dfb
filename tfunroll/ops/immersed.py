"""Bodies in a staggered grid, given by signed distances: open faces, wall distances, mistakes.

A body is a function (x, y) -> distance to its surface, negative inside, on arrays of any shape.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from tfunroll.core import InputError

Body = Callable[[np.ndarray, np.ndarray], np.ndarray]

SMALLEST = 0.1  # open part below which a face counts as closed
NEAREST = 0.25  # of the distance to the next face: walls are taken to be that far at least
PARTS = 8  # pieces of a face whose open parts are taken one by one
FEWEST = 4  # cells across a body
SHIFTS = (
    (1, -1),
    (1, 1),
    (0, -1),
    (0, 1),
)  # (axis, roll) of the neighbours east, west, north, south


def circle(x: float, y: float, radius: float) -> Body:
    """A cylinder around (x, y)."""
    return lambda px, py: np.hypot(px - x, py - y) - radius


def box(x: tuple[float, float], y: tuple[float, float]) -> Body:
    """A rectangle between the places along x and y."""

    def distance(px, py):
        outside = [np.maximum(a - p, p - b) for p, (a, b) in ((px, x), (py, y))]
        beyond = np.hypot(*(np.maximum(d, 0) for d in outside))
        return beyond + np.minimum(np.maximum(*outside), 0)

    return distance


def union(*bodies: Body) -> Body:
    """Several bodies as one."""
    return lambda px, py: np.minimum.reduce([body(px, py) for body in bodies])


def open_faces(body: Body, grid) -> tuple[np.ndarray, np.ndarray]:
    """The open part of each right and upper face, and the distance of its centre to the body.

    A piece of a face between the distances a and b is open by max(a, 0) + max(b, 0) over |a| + |b|
    where the signs differ. Faces open by less than SMALLEST are closed.

    Returns: two arrays [2, y, x].
    """
    (y, x), (yc, xc) = grid.faces, grid.centres
    wy, wx = grid.widths
    along = np.linspace(-0.5, 0.5, PARTS + 1)
    right = body(
        np.broadcast_to(x[None, :, None], (*grid.shape, PARTS + 1)),
        np.broadcast_to((yc[:, None] + wy[:, None] * along)[:, None], (*grid.shape, PARTS + 1)),
    )
    upper = body(
        np.broadcast_to((xc[:, None] + wx[:, None] * along)[None], (*grid.shape, PARTS + 1)),
        np.broadcast_to(y[:, None, None], (*grid.shape, PARTS + 1)),
    )
    points = np.stack([right, upper])
    a, b = points[..., :-1], points[..., 1:]
    crossing = np.maximum(np.abs(a) + np.abs(b), 1e-300)
    cut = (np.maximum(a, 0) + np.maximum(b, 0)) / crossing
    part = np.where((a >= 0) & (b >= 0), 1.0, np.where((a < 0) & (b < 0), 0.0, cut)).mean(-1)
    return np.where(part < SMALLEST, 0.0, part), points[..., PARTS // 2]


def wall_links(links: np.ndarray, grid) -> tuple[np.ndarray, np.ndarray]:
    """Viscous links of faces to their neighbours, and to the wall where that lies between.

        ν (0 − w) / (θ distance · width),   θ = d / (d − d_beyond), at least NEAREST,

    with d the distances of the faces' centres to the body (Gibou et al. 2002,
    doi:10.1006/jcph.2001.6977). Where a face's own centre is inside, its neighbours see the wall,
    and it sees the closed ones as near as can be.

    Args: links: without a body, by neighbour (east, west, north, south), [4, 2, y, x].
    Returns: [4, 2, y, x] each: links that bring the neighbour's velocity, and those that take the
      face's own.
    """
    bringing, taking = links.copy(), links.copy()
    is_open, d = grid.open > 0, grid.distance
    for k, (axis, shift) in enumerate(SHIFTS):
        d_beyond = _beyond(d, axis, shift, grid.periodic[axis], np.inf)
        wall = (d > 0) & (d_beyond <= 0)
        theta = np.where(wall, d / np.where(wall, d - d_beyond, 1), 1.0)
        shut = (d <= 0) & ~_beyond(is_open, axis, shift, grid.periodic[axis], True)
        theta = np.where(shut, NEAREST, theta)
        taking[k] /= np.clip(theta, NEAREST, 1)
        bringing[k][wall | shut] = 0
    return bringing, taking


def friction(bringing: np.ndarray, taking: np.ndarray, grid) -> np.ndarray:
    """What a face's velocity, times ν, loses to the body: [2, y, x].

    It is what its links take less what they bring to its neighbours, by volume; away from the body
    the two are the same.
    """
    outside = ~grid.of_body  # faces of the sides count as open: what they take is not the body's
    lost = np.zeros(grid.open.shape)
    for k, (axis, shift) in enumerate(SHIFTS):
        periodic = grid.periodic[axis]
        opposite = k + 1 - 2 * (k % 2)  # the neighbour's link back
        back = _beyond(grid.volumes * outside * bringing[opposite], axis, shift, periodic, np.nan)
        here = grid.volumes * taking[k]
        lost += np.where(np.isnan(back), 0, here - back)
    return np.where(grid.open > 0, lost, 0.0)


def before(field: np.ndarray, axis: int, periodic: bool, outside: float) -> np.ndarray:
    """At each cell the value of the one before along axis 0 (y) or 1 (x)."""
    return _beyond(field, axis, 1, periodic, outside)


def _beyond(field, axis, shift, periodic, outside):
    moved = np.roll(field, shift, axis - 2)
    if not periodic:
        end = [slice(None)] * field.ndim
        end[axis - 2] = 0 if shift > 0 else -1
        moved[tuple(end)] = outside
    return moved


def check_body(grid) -> None:
    """InputError for a body that is missing, too small, or not well inside the domain.

    Across a periodic side a body is one.
    """
    (yc, xc), (height, length) = grid.centres, grid.extent
    solid = np.asarray(grid.body(*np.meshgrid(xc, yc))) < 0
    if not np.isfinite(grid.distance).all():
        raise InputError("body: its signed distance is not finite everywhere")
    if not solid.any():
        raise InputError(
            f"body: no cell lies in it; it is outside of the domain of {length:g} x {height:g} or "
            "smaller than a cell"
        )
    rows, columns = solid.any(1), solid.any(0)
    for axis, hit, name in ((0, rows, "y"), (1, columns, "x")):
        if not grid.periodic[axis] and (hit[0] or hit[-1]):
            side = f"the {grid.sides[axis][0 if hit[0] else 1]} side"
            raise InputError(f"body: it touches {side} along {name}, or lies partly outside of it")
    # Three copies along a periodic axis: the part whose place is in the middle one is whole there.
    copies = np.tile(solid, [3 if periodic else 1 for periodic in grid.periodic])
    parts, _ = ndimage.label(copies)
    across = [
        min(s.stop - s.start for s in part)
        for part in ndimage.find_objects(parts)
        if all(
            not periodic or s.stop - s.start >= n or n <= s.start < 2 * n
            for s, n, periodic in zip(part, solid.shape, grid.periodic, strict=True)
        )
    ]
    if min(across) < FEWEST:
        raise InputError(
            f"body: {min(across)} cells across it are too few; it needs at least {FEWEST}"
        )
