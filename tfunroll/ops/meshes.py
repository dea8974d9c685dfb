"""Body-fitted structured meshes in two dimensions: geometry of cells and faces, in NumPy float64.

Cell (j, i) lies between the nodes j, j + 1 and i, i + 1; i runs along the body, j away from it. At
each place i, then j turn anticlockwise (the Jacobian is positive). An O-grid is periodic along i. A
C-grid comes in along a cut from far behind the body, goes around it and leaves along the other side
of the cut, where cells (0, i) and (0, I − 1 − i) are neighbours.
"""

import functools
from dataclasses import dataclass

import numpy as np

from tfunroll.core import InputError

WALL, FAR_FIELD, PERIODIC, REPLICATE = "wall", "far_field", "periodic", "replicate"


@dataclass(frozen=True, eq=False)
class Mesh:
    """A structured mesh and what finite volumes need of it.

    Attributes:
      nodes: [J + 1, I + 1, (x, y)]. A periodic axis repeats its first line of nodes at the end,
        shifted by the period (by nothing where it closes in space, as around a body).
      periodic: along j, along i.
      cut: cells along each side of a C-grid's cut; 0: no cut.
      volumes: areas of the cells, [J, I]; of the quadrilaterals if None.
      centres: centroids, [J, I, 2]; of the quadrilaterals if None.
    Raises:
      InputError: cells of zero or negative volume; it names the first one. A cut whose two sides do
        not meet.
    """

    nodes: np.ndarray
    periodic: tuple[bool, bool] = (False, True)
    volumes: np.ndarray | None = None
    centres: np.ndarray | None = None
    cut: int = 0

    def __post_init__(self):
        nodes = np.asarray(self.nodes, np.float64)
        if nodes.ndim != 3 or nodes.shape[-1] != 2 or min(nodes.shape[:2]) < 2:
            raise InputError(f"nodes has shape {nodes.shape}, needs [j + 1, i + 1, 2]")
        if not np.isfinite(nodes).all():
            raise InputError("nodes holds NaN or infinity")
        object.__setattr__(self, "nodes", nodes)
        self._check_cut()
        volumes, centres = _quadrilaterals(nodes)
        if not (volumes > 0).all():
            j, i = np.argwhere(~(volumes > 0))[0]
            raise InputError(
                f"the mesh has {(~(volumes > 0)).sum()} cells of volume zero or less, the first at "
                f"j={j}, i={i}, volume {volumes[j, i]:.3g}: use a smoother curve, fewer cells "
                "along it, or a larger first cell"
            )
        for name, value in (("volumes", volumes), ("centres", centres)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells (J, I)."""
        return self.nodes.shape[0] - 1, self.nodes.shape[1] - 1

    @property
    def body(self) -> slice:
        """Columns i whose first cell lies on the body: all of them without a cut."""
        return slice(self.cut, self.shape[1] - self.cut)

    @functools.cached_property
    def i_normals(self) -> np.ndarray:
        """Area vectors of the faces between neighbours along i, towards +i: [J, I + 1, 2]."""
        along = np.diff(self.nodes, axis=0)
        return np.stack([along[..., 1], -along[..., 0]], -1)

    @functools.cached_property
    def j_normals(self) -> np.ndarray:
        """Area vectors of the faces between neighbours along j, towards +j: [J + 1, I, 2]."""
        along = np.diff(self.nodes, axis=1)
        return np.stack([-along[..., 1], along[..., 0]], -1)

    @functools.cached_property
    def padded_centres(self) -> np.ndarray:
        """Centres with one ring of ghosts: [J + 2, I + 2, 2].

        Periodic ones are images of cells, those of a cut the cells across it; beyond other sides
        along j a ghost is its cell's image in the middle of the face, so that the mean of both lies
        there; along i it goes on in line.
        """
        middle = (self.nodes[:, 1:] + self.nodes[:, :-1]) / 2  # of the faces along j
        c = self.centres
        if self.periodic[0]:
            period = self.nodes[-1, :-1] - self.nodes[0, :-1]
            below, above = c[-1] - period, c[0] + period
        else:
            below, above = c[0, ::-1].copy(), 2 * middle[-1] - c[-1]
            below[self.body] = (2 * middle[0] - c[0])[self.body]
        c = np.concatenate([below[None], c, above[None]], 0)
        if self.periodic[1]:
            period = (self.nodes[:1, -1] - self.nodes[:1, 0])[:, None]
            return np.concatenate([c[:, -1:] - period, c, c[:, :1] + period], 1)
        left, right = 2 * c[:, :1] - c[:, 1:2], 2 * c[:, -1:] - c[:, -2:-1]
        return np.concatenate([left, c, right], 1)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """(S_i/V, S_j/V) of each cell: [2 (i, j), J, I, 2]; the inverse of its extents."""
        mean_i = (self.i_normals[:, 1:] + self.i_normals[:, :-1]) / 2
        mean_j = (self.j_normals[1:] + self.j_normals[:-1]) / 2
        return np.stack([mean_i, mean_j]) / self.volumes[..., None]

    def coarsen(self, factor: int) -> "Mesh":
        """The mesh whose cells are ``factor`` x ``factor`` cells of this one, taken together.

        Volumes and centres are those of the unions, so that volume averages conserve exactly; the
        area vectors of straight faces between every ``factor``-th node are the sums of the fine
        faces' anyway.
        """
        if factor < 1 or any(n % factor for n in (*self.shape, self.cut)):
            cut = f" with {self.cut} along its cut" if self.cut else ""
            raise InputError(f"a mesh of {self.shape} cells{cut} does not coarsen by {factor}")
        volumes = blocks(self.volumes, factor).sum((1, 3))
        moments = blocks(self.volumes[..., None] * self.centres, factor).sum((1, 3))
        nodes = self.nodes[::factor, ::factor]
        centres = moments / volumes[..., None]
        return Mesh(nodes, self.periodic, volumes, centres, self.cut // factor)

    def quality(self) -> dict[str, float]:
        """Figures of merit.

        first_cell: smallest and largest height of the cells on the body, from wall to face.
        smallest_angle: of all corners of all cells, degrees; 90 is best.
        stretch: largest ratio of neighbouring volumes along j and along i. aspect: largest ratio
        of a cell's extents. radius: smallest distance of the outer boundary, a C-grid's ends
        included, from the centre of the body.
        """
        corners = self.nodes[:-1, :-1], self.nodes[:-1, 1:], self.nodes[1:, 1:], self.nodes[1:, :-1]
        smallest = np.inf
        for k in range(4):
            a, b = corners[k - 1] - corners[k], corners[(k + 1) % 4] - corners[k]
            cross = np.abs(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
            angle = np.degrees(np.arctan2(cross, (a * b).sum(-1)))
            smallest = min(smallest, angle.min(), (180 - angle).min())
        first = (self.volumes[0] / np.linalg.norm(self.j_normals[0], axis=-1))[self.body]
        extents = np.linalg.norm(self.sizes, axis=-1)
        ratio = extents[0] / extents[1]
        logs = np.log(self.volumes)
        along_i = np.diff(np.concatenate([logs, logs[:, :1]], 1) if self.periodic[1] else logs)
        outer = [self.nodes[-1], *((self.nodes[:, 0], self.nodes[:, -1]) if self.cut else ())]
        outer = np.concatenate(outer) - self.nodes[0, self.body].mean(0)
        return {
            "first_cell_smallest": float(first.min()),
            "first_cell_largest": float(first.max()),
            "smallest_angle": float(smallest),
            "stretch_j": float(np.exp(np.abs(np.diff(logs, axis=0)).max())),
            "stretch_i": float(np.exp(np.abs(along_i).max())),
            "aspect": float(np.maximum(ratio, 1 / ratio).max()),
            "radius": float(np.linalg.norm(outer, axis=-1).min()),
        }

    def _check_cut(self):
        columns, line = self.nodes.shape[1] - 1, self.nodes[0]
        if not 0 <= 2 * self.cut < columns:
            raise InputError(
                f"cut={self.cut} must be from 0 to {(columns - 1) // 2}: {columns} cells along i"
            )
        if self.cut and any(self.periodic):
            raise InputError(f"cut={self.cut} needs periodic=(False, False), not {self.periodic}")
        gap = np.abs(line - line[::-1])[: self.cut + 1].max()
        if self.cut and gap > 1e-12 * np.ptp(self.nodes):
            raise InputError(f"the sides of the cut, cut={self.cut}, are up to {gap:.3g} apart")


def blocks(field: np.ndarray, factor: int) -> np.ndarray:
    """[J, I, ...] as [J/factor, factor, I/factor, factor, ...]."""
    j, i = field.shape[:2]
    return field.reshape(j // factor, factor, i // factor, factor, *field.shape[2:])


def gradient_weights(mesh: Mesh, axis: int) -> np.ndarray:
    """Weights of the gradient at the faces across ``axis`` (0: along j, 1: along i), [4, ...].

        ∂φ/∂x = w₀ a + w₁ b,   ∂φ/∂y = w₂ a + w₃ b

    a: difference of φ over the face; b: mean over its two cells of the central difference along the
    other axis. The weights invert what these differences make of the centres themselves, so the
    gradient of a linear function is exact on any mesh.
    """
    (x_a, y_a), (x_b, y_b) = differences(np.moveaxis(mesh.padded_centres, -1, 0), axis)
    return np.stack([y_b, -y_a, -x_b, x_a]) / (x_a * y_b - x_b * y_a)


def differences(padded, axis: int):
    """(a, b) of ``gradient_weights`` of a field with one ring of ghosts, [..., J + 2, I + 2]."""
    if axis:
        central = (padded[..., 2:, :] - padded[..., :-2, :]) / 2
        across = padded[..., 1:-1, 1:] - padded[..., 1:-1, :-1]
        return across, (central[..., 1:] + central[..., :-1]) / 2
    central = (padded[..., 2:] - padded[..., :-2]) / 2
    across = padded[..., 1:, 1:-1] - padded[..., :-1, 1:-1]
    return across, (central[..., 1:, :] + central[..., :-1, :]) / 2


def _quadrilaterals(nodes):
    """Areas and centroids, by the two triangles of each."""
    a, b, c, d = nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]

    def triangle(p, q, r):
        u, v = q - p, r - p
        return (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / 2, (p + q + r) / 3

    (s, m), (t, n) = triangle(a, b, c), triangle(a, c, d)
    with np.errstate(divide="ignore", invalid="ignore"):
        return s + t, (s[..., None] * m + t[..., None] * n) / (s + t)[..., None]
