"""C-grids: around a body with a sharp trailing edge and along a cut through its wake."""

import numpy as np

from tfunroll.core import InputError
from tfunroll.ops.meshes import Mesh
from tfunroll.ops.ogrid import SMOOTHING, geometric, march, smoothed

TURN = 0.5  # distance over which cut and normals turn from the trailing edge, in chords
SHARP = 90.0  # largest angle between the sides of a trailing edge, degrees


def c_grid(
    curve: np.ndarray,
    layers: int,
    first: float,
    radius: float,
    cut: int,
    incidence: float = 0.0,
    smoothing: int = SMOOTHING,
) -> Mesh:
    """A C-grid around a body: algebraic marching as in ops.ogrid.o_grid, from body and cut.

        node(j, i) = line(i) + d_j n_ij,   line: cut to the trailing edge, body, cut back

    The cut leaves the trailing edge along its bisector and turns to ``incidence``; its cells begin
    as long as those of the body there and grow geometrically up to ``radius``. Its normals begin as
    those of the body and turn to its own, both over TURN chords, so that no line meets another. Far
    away the lines are normal to the end of the cut; around the body they turn by

        φ = (s − sin s)/2,   s = 2π k/m at its node k

    slowly beside the cut, whose lines stay as close as its cells are short.

    Args:
      curve: a body, see ops.ogrid, clockwise from a sharp trailing edge; m cells.
      layers: cells along j. first: height of the first cell; geometric spacing from there on.
      radius: distance of the far field from the body, ahead and behind; both in chords.
      cut: cells along each side of the cut; good value m/3, which with m = 96 on a section of
        ops.ogrid.naca puts 17 of them in the first chord of the wake.
      incidence: direction of the cut far away, degrees; that of the free stream, or 0.
      smoothing: passes over the normals, as in o_grid; the default does, as nothing fans out.
    Returns: a mesh of layers x (m + 2 cut) cells.
    Raises:
      InputError: impossible numbers; a trailing edge that is not sharp; cells of negative volume.
    """
    if not -90 < incidence < 90:
        raise InputError(f"incidence={incidence:g} must be between -90 and 90 degrees")
    cells, chord = len(curve) - 1, np.ptp(curve[:, 0])
    sides = curve[[1, -2]] - curve[0]  # from the trailing edge, below and above
    beginning = np.linalg.norm(sides, axis=1).mean()
    if not (cut >= 4 and beginning * cut < radius):
        most = int(np.ceil(radius / beginning)) - 1
        raise InputError(f"cut={cut} must be from 4 to {most}: cells of {beginning:.3g} and longer")
    below, above = np.arctan2(-sides[:, 1], -sides[:, 0])  # where body's sides go on to
    if abs(above - below) > np.radians(SHARP):
        raise InputError(
            f"curve: its sides meet at {np.degrees(abs(above - below)):.0f} degrees behind, a "
            f"C-grid takes up to {SHARP:g}; use o_grid"
        )
    end, along = np.radians(incidence), geometric(cut, beginning, radius)
    fading = np.exp(-along / (TURN * chord))
    angle = end + ((below + above) / 2 - end) * fading
    steps = np.diff(along)[:, None] * _directions((angle[1:] + angle[:-1]) / 2)
    wake = curve[0] + np.cumsum(steps, 0)
    line = np.concatenate([wake[::-1], curve, wake])

    tangent = curve[2:] - curve[:-2]
    normals = [
        _directions(end + (below - end) * fading[::-1] - np.pi / 2),
        np.stack([-tangent[:, 1], tangent[:, 0]], -1),  # outward of a clockwise curve
        _directions(end + (above - end) * fading + np.pi / 2),
    ]
    normals = smoothed(np.concatenate(normals), smoothing, cells, "edge")
    turned = 2 * np.pi * (np.arange(len(line)) - cut).clip(0, cells) / cells
    far = end - np.pi / 2 - (turned - np.sin(turned)) / 2
    nodes = march(line, normals, far, layers, first, radius, chord)
    return Mesh(nodes, (False, False), cut=cut)


def _directions(angles):
    return np.stack([np.cos(angles), np.sin(angles)], -1)
