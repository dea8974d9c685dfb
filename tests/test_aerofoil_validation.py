"""Published flows around the NACA0012 aerofoil. Slow; -s prints the values of docs/aerofoil.md."""

import numpy as np
import pytest

from tfunroll.ops.cgrid import c_grid
from tfunroll.ops.ogrid import naca, o_grid
from tfunroll.solvers.compressible import Compressible
from tfunroll.systems import aerofoil
from tfunroll.validation.steady import steady

pytestmark = pytest.mark.slow


def settled(mesh, viscous, tolerance=2e-5, **values):
    params = {name: np.array([value]) for name, value in values.items()}
    start = aerofoil.free_stream(params, mesh).astype(np.float32)
    solver = Compressible(mesh, 1.0, viscous=viscous)
    state, forces = steady(solver, start, params, tolerance, courant=0.8)
    drag, lift = forces[0, -1]
    print(f"\n{values} on {mesh.shape}: Cd {drag:.5f}, Cl {lift:.5f}, {len(forces[0])} x 200")
    return state[0], drag, lift, solver


def euler_mesh(cells, layers):
    return o_grid(naca("0012", cells), layers, 0.9 / cells, 400.0, smoothing=100)


def test_laminar():
    """M 0.5, Re 5000, α 0°: steady, Cd .055 to .056, separation at 81 % of the chord."""
    mesh = o_grid(naca("0012", 128), 56, 2e-3, 15.0, smoothing=200)
    state, drag, lift, _ = settled(mesh, True, mach=0.5, incidence=0.0, reynolds=5000.0)
    np.testing.assert_allclose(drag, 0.0555, rtol=0.05)
    assert abs(lift) < 1e-3
    for place in separation(mesh, state):
        np.testing.assert_allclose(place, 0.81, atol=0.02)


def test_laminar_on_a_c_grid():
    """The same on 160 x 48 cells, 32 along each side of the cut, at the default smoothing.

    Below this tolerance the time steps, one in every cell, let the wake leave its symmetry; marched
    in time it keeps it: see docs/aerofoil.md.
    """
    mesh = c_grid(naca("0012", 96), 48, 2.5e-3, 15.0, 32)
    values = {"mach": 0.5, "incidence": 0.0, "reynolds": 5000.0}
    state, drag, lift, _ = settled(mesh, True, tolerance=1e-4, **values)
    np.testing.assert_allclose(drag, 0.0555, rtol=0.05)
    assert abs(lift) < 1e-3
    for place in separation(mesh, state):
        np.testing.assert_allclose(place, 0.81, atol=0.02)


def test_laminar_on_an_o_grid_of_as_many_cells():
    """With the default smoothing the wake fans out, and the flow separates 10 % too late."""
    mesh = o_grid(naca("0012", 160), 48, 2.5e-3, 15.0)
    state, drag, _, _ = settled(mesh, True, mach=0.5, incidence=0.0, reynolds=5000.0)
    assert drag > 0.057
    assert min(separation(mesh, state)) > 0.86


def test_euler_at_incidence():
    """M 0.8, α 1.25°: Cl .347 to .36, Cd .0225 to .0230; far field at 40 c: 3 % less lift."""
    _, drag, lift, _ = settled(euler_mesh(192, 64), False, mach=0.8, incidence=1.25, reynolds=1.0)
    np.testing.assert_allclose(lift, 0.354, rtol=0.05)
    np.testing.assert_allclose(drag, 0.0227, rtol=0.1)


def test_euler_without_incidence():
    """M 0.8, α 0°: Cd .0083 (Vassberg & Jameson 2010)."""
    _, drag, lift, _ = settled(euler_mesh(192, 64), False, mach=0.8, incidence=0.0, reynolds=1.0)
    np.testing.assert_allclose(drag, 0.0083, rtol=0.1)
    assert abs(lift) < 1e-3


def separation(mesh, state):
    """x/c where the flow along the wall turns back, on the lower and the upper side."""
    along = np.diff(mesh.nodes[0], axis=0)[mesh.body]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    speed = (state[0, mesh.body, 1:3] * along).sum(1)
    x = (mesh.nodes[0, :-1, 0] / 2 + mesh.nodes[0, 1:, 0] / 2)[mesh.body]
    half = len(x) // 2
    places = []
    for sign, chosen in ((-1, slice(0, half)), (1, slice(half, None))):
        order = np.argsort(x[chosen])
        where, flow = x[chosen][order], sign * speed[chosen][order]
        k = np.flatnonzero((flow[:-1] > 0) & (flow[1:] <= 0) & (where[:-1] > 0.3))[0]
        places.append(where[k] + (where[k + 1] - where[k]) * flow[k] / (flow[k] - flow[k + 1]))
    print("separation at x/c =", np.round(places, 4))
    return places
