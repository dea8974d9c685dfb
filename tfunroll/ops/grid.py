"""Grid: cells, sides and an immersed body of a staggered grid, as coefficients of its stencils.

Fields are [..., y, x]. Of cell (j, i), u lives in the middle of the right face, v in the middle of
the upper face, pressure at the centre. A velocity is w = [2, ..., y, x], its components u and v.
"""

from collections.abc import Sequence

import numpy as np

from tfunroll.core import InputError, check_choice
from tfunroll.ops import immersed

LOWER = ("periodic", "slip", "no-slip", "inflow")  # kinds of lower sides
UPPER = ("periodic", "slip", "no-slip", "outflow")  # kinds of upper sides
Y, X = 0, 1  # index of an axis in widths and sides; its component of w is 1 − index
PERIODIC = (("periodic", "periodic"),) * 2
# beyond a side the component along it is the sign times the outermost one: no gradient, or zero at
# the side itself
GHOST = {"slip": 1.0, "outflow": 1.0, "no-slip": -1.0, "inflow": -1.0, "periodic": 0.0}


class Grid:
    """A staggered grid: of square cells in a periodic box, or stretched, with sides and a body.

    Args:
      shape: cells (y, x).
      spacing: width of square cells, or the widths of the cells along (y, x).
      sides: (lower, upper) kinds along (y, x). "slip" and "no-slip" are walls, "inflow" a left side
        where the velocity is given, "outflow" a right side that the flow leaves, where p = 0.
      body: signed distance (x, y) -> distance, negative inside, or None; see ops.immersed.
    Attributes:
      shape, widths (y, x), sides.
      open: part of each right and upper face that the flow can pass, [2, y, x]; None: all of all.
      fluid: the cells with any open face, [y, x] bool; None as above.
    Raises:
      InputError: impossible cells or sides; a body that is too small, leaves the domain, or
        touches the inflow or a side.
    """

    def __init__(self, shape, spacing, sides=PERIODIC, body=None):
        self.shape, self.sides = tuple(shape), sides
        self.widths = _widths(self.shape, spacing)
        self.square = all(np.ptp(w) == 0 for w in self.widths) and (
            self.widths[Y][0] == self.widths[X][0]
        )
        for axis, (lower, upper) in zip("yx", sides, strict=True):
            check_choice(f"lower {axis} side", lower, LOWER)
            check_choice(f"upper {axis} side", upper, UPPER)
            if ("periodic" in (lower, upper) and lower != upper) or (
                axis == "y" and "flow" in lower + upper
            ):
                raise InputError(
                    f"{axis} sides={(lower, upper)}: periodic comes in pairs, and inflow and "
                    "outflow are the left and the right side"
                )
        self.periodic = tuple("periodic" in pair for pair in sides)
        self.inflow = sides[X][0] == "inflow"
        self.outflow = sides[X][1] == "outflow"
        self.body = body
        self.open = self.fluid = self.distance = None
        if body is not None or not all(self.periodic):
            self._open_faces(body)
        self._coefficients()

    # ---------------------------------------------------------------- places

    @property
    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the upper faces of the cells along (y, x); the lower side lies at 0."""
        return tuple(np.cumsum(w) for w in self.widths)

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the cell centres along (y, x)."""
        return tuple(np.cumsum(w) - w / 2 for w in self.widths)

    @property
    def extent(self) -> tuple[float, float]:
        """Length of the domain along (y, x)."""
        return tuple(float(w.sum()) for w in self.widths)

    @property
    def areas(self) -> np.ndarray:
        """Area of each cell, [y, x]."""
        return np.outer(*self.widths)

    @property
    def volumes(self) -> np.ndarray:
        """Areas of the control volumes of u and v, [2, y, x]."""
        (wy, wx), (dy, dx) = self.widths, self.distances
        return np.stack([np.outer(wy, dx), np.outer(dy, wx)])

    @property
    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """From each cell's centre to the next one's along (y, x); the last: as if mirrored."""
        return tuple(
            (w + (np.roll(w, -1) if periodic else np.append(w[1:], w[-1]))) / 2
            for w, periodic in zip(self.widths, self.periodic, strict=True)
        )

    # ---------------------------------------------------------------- faces that are closed

    def _open_faces(self, body):
        self.open = np.ones((2, *self.shape))
        if body is not None:
            self.open, self.distance = immersed.open_faces(body, self)
        self.of_body = self.open == 0  # closed by the body, not by a wall
        around = self.open[0] + immersed.before(self.open[0], X, self.periodic[X], 1.0)
        around += self.open[1] + immersed.before(self.open[1], Y, self.periodic[Y], 1.0)
        self.fluid = around > 0
        if body is not None:
            immersed.check_body(self)
        if self.sides[Y][1] in ("slip", "no-slip"):
            self.open[1, -1] = 0
        if self.sides[X][1] in ("slip", "no-slip"):
            self.open[0, :, -1] = 0

    # ---------------------------------------------------------------- coefficients of the stencils

    def _coefficients(self):
        """What ``ops.stencils`` multiplies by: numbers on uniform grids, else arrays.

        links: viscous coefficients by neighbour (east, west, north, south), each [2, 1, y, x];
          diagonal: c less what the links take, with c = ``relaxation`` as the constant in A_P: half
          of Gershgorin's bound of the viscous part, so that Jacobi sweeps contract.
        friction: see immersed.friction.
        """
        y, x = self.widths
        dy, dx = self.distances
        if self.square and self.open is None:
            h = float(y[0])
            self.links, self.diagonal, self.relaxation = (1 / h**2,) * 4, None, 4 / h**2
            self.carry = (1 / (2 * h), 1 / (2 * h))
            self.ghosts = (None,) * 4
            return
        shape = (2, *self.shape)

        def fill(of_u, of_v):  # the same along the other axis
            return np.stack([np.broadcast_to(of_u, self.shape), np.broadcast_to(of_v, self.shape)])

        # beyond a side as if mirrored
        next_y, next_x = (
            np.roll(w, -1) if periodic else np.append(w[1:], w[-1])
            for w, periodic in zip(self.widths, self.periodic, strict=True)
        )
        before_y, before_x = (
            np.roll(d, 1) if periodic else np.append(w[0], d[:-1])
            for d, w, periodic in zip((dy, dx), (y, x), self.periodic, strict=True)
        )
        links = np.stack(
            [
                fill(1 / (dx * next_x), 1 / (x * dx)),  # east
                fill(1 / (dx * x), 1 / (x * before_x)),  # west
                fill((1 / (y * dy))[:, None], (1 / (dy * next_y))[:, None]),  # north
                fill((1 / (y * before_y))[:, None], (1 / (dy * y))[:, None]),  # south
            ]
        )
        taking = links
        if self.distance is not None:
            links, taking = immersed.wall_links(links, self)
            self.friction = immersed.friction(links, taking, self)
        solved = self.solved if self.open is not None else np.ones(shape, bool)
        total = taking.sum(0)
        bound = total + links.sum(0)
        self.relaxation = float(np.max(bound[solved]) / 2)
        self.links = tuple(_squeezed(link[:, None]) for link in links)
        self.diagonal = _squeezed((self.relaxation - total)[:, None])
        self.carry = tuple(
            _squeezed(c[:, None])
            for c in (fill(1 / (2 * dx), 1 / (2 * x)),
                      fill((1 / (2 * y))[:, None], (1 / (2 * dy))[:, None]))
        )  # fmt: skip
        self.ghosts = self._ghosts()

    def _ghosts(self):
        """By neighbour (east, west, north, south): its share of the outermost value, or None."""
        ghosts = []
        for axis, upper in ((X, True), (X, False), (Y, True), (Y, False)):
            kind = self.sides[axis][upper]
            if kind == "periodic":
                ghosts.append(None)
                continue
            ghost = np.zeros((2, 1, *self.shape))
            place = [axis, slice(None), slice(None), slice(None)]  # the component along the side
            place[3 if axis == X else 2] = -1 if upper else 0
            ghost[tuple(place)] = GHOST[kind]
            ghosts.append(ghost)
        return tuple(ghosts)

    @property
    def solved(self) -> np.ndarray:
        """Faces whose velocity the momentum equation gives, [2, y, x] bool; the others are closed,
        or the outflow."""
        solved = self.open > 0
        if self.outflow:
            solved[0, :, -1] = False
        return solved

    @property
    def pressure_sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Kinds of the sides for ops.poisson, along (y, x)."""
        kinds = {"periodic": "periodic", "outflow": "dirichlet"}
        return tuple(tuple(kinds.get(kind, "neumann") for kind in pair) for pair in self.sides)


def as_grid(grid) -> Grid:
    """A number is the width of the cells of a periodic box, of whatever shape."""
    return grid if isinstance(grid, Grid) else Grid((1, 1), float(grid))


def stretched(fine: float, inner: tuple[float, float], outer: tuple[float, float], cells: int):
    """Widths of an axis that is uniform in the middle and widens geometrically towards both ends.

    Args:
      fine: width of the cells between the places ``inner``; a whole number of them is taken.
      inner, outer: (lower, upper) ends of the uniform part and of the whole axis.
      cells: number of the cells of the whole axis.
    Returns: [cells], summing to the length of the axis; both outer parts widen by one ratio.
    """
    middle = max(1, round((inner[1] - inner[0]) / fine))
    width = (inner[1] - inner[0]) / middle
    lengths = np.array([inner[0] - outer[0], outer[1] - inner[1]])
    if (lengths < 0).any() or cells < middle + 2 * (lengths > 0).sum():
        raise InputError(
            f"cells={cells}: {middle} of the width {fine:g} fill {inner}, and some more "
            f"must reach {outer}"
        )

    def spread(ratio):  # cells of each part that reach its end, of any real number
        return np.log1p(lengths * (ratio - 1) / (width * ratio)) / np.log(ratio)

    low, high = 1 + 1e-9, 10.0
    for _ in range(200):
        ratio = (low + high) / 2
        low, high = (ratio, high) if spread(ratio).sum() > cells - middle else (low, ratio)
    counts = np.round(spread(ratio)).astype(int)
    counts[1] = cells - middle - counts[0]
    parts = [
        _geometric(width, length, count) for length, count in zip(lengths, counts, strict=True)
    ]
    return np.concatenate([parts[0][::-1], np.full(middle, width), parts[1]])


def _geometric(first: float, length: float, count: int) -> np.ndarray:
    """``count`` widths that sum to ``length``, each the same multiple of the one before."""
    if count == 0:
        return np.zeros(0)
    low, high = 0.5, 10.0
    powers = np.arange(1, count + 1)
    for _ in range(200):
        ratio = (low + high) / 2
        low, high = (low, ratio) if first * (ratio**powers).sum() > length else (ratio, high)
    widths = first * ratio**powers
    return widths * length / widths.sum()


def _widths(shape: Sequence[int], spacing) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(spacing, (int, float, np.number)):
        if not spacing > 0:
            raise InputError(f"spacing={spacing} must be positive")
        return tuple(np.full(n, float(spacing)) for n in shape)
    widths = tuple(np.asarray(w, np.float64) for w in spacing)
    for axis, w, n in zip("yx", widths, shape, strict=True):
        if w.shape != (n,) or not (w > 0).all():
            raise InputError(f"spacing along {axis} must be {n} positive widths")
    return widths


def _squeezed(array: np.ndarray):
    """A number where all are the same, and no axis longer than it needs to be."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if (array == first).all():
            array = first
    return float(array.flat[0]) if array.size == 1 else array
