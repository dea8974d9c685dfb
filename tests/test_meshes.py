"""Meshes around bodies: geometry, sections, quality, exact gradients, mistakes."""

import numpy as np
import pytest

from tfunroll.core import InputError
from tfunroll.ops.meshes import Mesh, differences, gradient_weights
from tfunroll.ops.ogrid import body, naca, o_grid


def square(n, bend=0.0):
    y, x = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    wave = bend * np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y)
    return Mesh(np.stack([x + wave, y - wave], -1), (True, True))


MESHES = {
    "aerofoil": lambda: o_grid(naca("0012", 64), 24, 0.01, 10.0),
    "cambered": lambda: o_grid(naca("4415", 64), 24, 0.01, 10.0),
    "circle": lambda: o_grid(body(circle(64)), 24, 0.01, 10.0),
    "bent square": lambda: square(16, 0.05),
    "averaged": lambda: o_grid(naca("0012", 64), 24, 0.01, 10.0).coarsen(4),
}


def circle(n, radius=0.5):
    angle = np.linspace(0, 2 * np.pi, n + 1)
    curve = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([curve[:-1], curve[:1]])


@pytest.mark.parametrize("name", MESHES)
def test_cells_are_closed_and_fill_the_domain(name):
    mesh = MESHES[name]()
    i, j = mesh.i_normals, mesh.j_normals
    np.testing.assert_allclose(i[:, 1:] - i[:, :-1] + j[1:] - j[:-1], 0, atol=1e-13)
    assert mesh.volumes.min() > 0

    def area(curve):
        x, y = curve.T
        return abs(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2

    if name != "averaged":
        inner = 0 if mesh.periodic[0] else area(mesh.nodes[0])
        outer = 1 if mesh.periodic[0] else area(mesh.nodes[-1])
        np.testing.assert_allclose(mesh.volumes.sum(), outer - inner, rtol=1e-12)


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_at_faces_are_exact_for_linear_functions(name, axis):
    mesh = MESHES[name]()
    c = mesh.padded_centres
    w = gradient_weights(mesh, axis)
    across, along = differences(3 * c[..., 0] - 2 * c[..., 1] + 1, axis)
    np.testing.assert_allclose(w[0] * across + w[1] * along, 3, rtol=1e-9)
    np.testing.assert_allclose(w[2] * across + w[3] * along, -2, rtol=1e-9)


def test_an_averaged_mesh_is_the_union_of_fine_cells():
    fine = MESHES["aerofoil"]()
    coarse = fine.coarsen(4)
    assert coarse.shape == (6, 16)
    np.testing.assert_allclose(coarse.volumes[0, 0], fine.volumes[:4, :4].sum())
    np.testing.assert_allclose(coarse.j_normals[0, 1], fine.j_normals[0, 4:8].sum(0), atol=1e-15)
    with pytest.raises(InputError, match="does not coarsen by 5"):
        fine.coarsen(5)


def test_naca_sections():
    """Ordinates of NACA 0012 and of the mean line of NACA 4412 (Abbott & von Doenhoff 1959)."""
    section = naca("0012", 400)
    upper = section[200:]
    np.testing.assert_allclose(section[0], [1, 0], atol=1e-15)
    np.testing.assert_allclose(section[200], [0, 0], atol=1e-15)
    for x, y in ((0.1, 0.04683), (0.3, 0.06002), (0.6, 0.04563)):
        np.testing.assert_allclose(np.interp(x, *upper.T), y, atol=2e-4)
    cambered = naca("4412", 400)
    top, bottom = cambered[200:], cambered[200::-1]
    middle = [(np.interp(x, *top.T) + np.interp(x, *bottom.T)) / 2 for x in (0.4, 0.8)]
    np.testing.assert_allclose(middle, [0.04, 0.04 * 5 / 9], atol=1e-3)
    body(section), body(cambered)  # closed and simple


def test_quality_of_the_aerofoil_mesh():
    figures = o_grid(naca("0012", 128), 48, 4e-3, 15.0).quality()
    assert 0.002 < figures["first_cell_smallest"] < figures["first_cell_largest"] < 0.0045
    assert figures["smallest_angle"] > 5
    assert figures["radius"] > 14.9
    assert max(figures["stretch_j"], figures["stretch_i"]) < 2.5
    assert square(8).quality()["smallest_angle"] == pytest.approx(90)


def test_bodies_may_be_given_either_way_around():
    curve = circle(40)
    np.testing.assert_allclose(body(curve), body(curve[::-1]), atol=1e-12)
    assert body(curve)[1, 1] < 0  # clockwise from the rearmost point
    even = body(curve, 64)
    steps = np.linalg.norm(np.diff(even, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: body(circle(32)[:-1]), "curve is open: its last point is"),
        (lambda: body(eight()), "curve crosses itself: segment"),
        (lambda: body(np.zeros((3, 2))), "at least 9 points"),
        (lambda: body(circle(32) * np.nan), "NaN"),
        (lambda: body(np.repeat(circle(32), 2, 0)[1:-1]), "repeats its point"),
        (lambda: naca("12", 64), "four digits"),
        (lambda: naca("4012", 64), "needs its place"),
        (lambda: naca("0012", 7), "even number"),
        (lambda: o_grid(naca("0012", 64), 24, -1.0, 10.0), "first=-1 must be positive"),
        (lambda: o_grid(naca("0012", 64), 2, 0.01, 10.0), "layers=2"),
        (lambda: o_grid(body(bay()), 24, 0.05, 10.0), "cells of volume zero or less, the first at"),
        (lambda: Mesh(np.zeros((3, 3))), "nodes has shape"),
        (lambda: Mesh(square(4).nodes[::-1]), "volume zero or less"),
    ],
)
def test_mistakes_are_input_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


def eight():
    angle = np.linspace(0, 2 * np.pi, 40)
    curve = np.stack([np.cos(angle), np.sin(2 * angle)], -1)
    return np.concatenate([curve[:-1], curve[:1]])


def bay():
    """A body with deep bays, whose opposite walls' normals meet."""
    angle = np.linspace(0, 2 * np.pi, 257)
    radius = 1 - 0.8 * np.cos(4 * angle) ** 8
    curve = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([curve[:-1], curve[:1]])
