"""C-grids: their geometry, and a flow that does not see the cut. See test_compressible.py too."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.ops.averaging import refine, volume_average
from tfunroll.ops.cgrid import c_grid
from tfunroll.ops.gas import conservative
from tfunroll.ops.meshes import FAR_FIELD, Mesh, differences, gradient_weights
from tfunroll.ops.ogrid import body, naca
from tfunroll.solvers.compressible import Compressible
from tfunroll.systems import aerofoil

CUT = 8
OPEN = ((FAR_FIELD, FAR_FIELD),) * 2
FLOW = {"mach": [0.5, 0.7], "reynolds": [1e3, 5e3], "incidence": [4.0, -2.0]}


@functools.cache
def mesh(incidence=0.0, code="0012"):
    return c_grid(naca(code, 32), 16, 0.02, 4.0, CUT, incidence)


def params(**values):
    return {name: tf.constant(v, tf.float64) for name, v in (FLOW | values).items()}


def free_stream(grid, values=FLOW):
    mach, angle = (np.array(values[n])[:, None, None] for n in ("mach", "incidence"))
    one = np.ones((len(mach), *grid.shape))
    angle = np.radians(angle)
    fields = one, np.cos(angle) * one, np.sin(angle) * one, one / (1.4 * mach**2)
    return np.stack(fields, -1)


def run(solver, state, **values):
    """[batch, j, i, 4] after one frame, compiled."""
    given = params(**values)
    names = sorted(given)

    @tf.function(jit_compile=True, autograph=False)
    def compiled(state, *given):
        return solver.bind(dict(zip(names, given, strict=True)))(state)

    return compiled(tf.constant(state), *(given[n] for n in names)).numpy()


@functools.cache
def developed():
    """Flow after 2 c/U around the small aerofoil, two Mach numbers."""
    return run(Compressible(mesh(), 2e-3, 1000), free_stream(mesh()))


def noisy(grid, seed=0, size=0.1):
    """A free stream and random numbers: no two cells alike."""
    noise = np.random.default_rng(seed).uniform(-size, size, (2, *grid.shape, 4))
    return free_stream(grid) * (1 + noise)


def rate(solver, state):
    """∂q/∂t, [4, batch, j, i]."""
    q = conservative(tf.constant(np.moveaxis(state, -1, 0)))
    return solver.rate(q, *solver.operands(params())).numpy()


def fluxes(solver, state, axis):
    pressure, viscosity, cosine, sine = solver.operands(params())
    w = solver._padded(tf.constant(np.moveaxis(state, -1, 0)), pressure, cosine, sine)
    return solver._flux(w, axis, viscosity).numpy()


# ------------------------------------------------------------------ geometry


@pytest.mark.parametrize("incidence", [0.0, 8.0, -8.0])
@pytest.mark.parametrize("code", ["0012", "4412", "0024"])
def test_quality(code, incidence):
    grid = c_grid(naca(code, 96), 48, 4e-3, 15.0, 32, incidence)
    assert grid.shape == (48, 160)
    figures = grid.quality()
    assert 0.0035 < figures["first_cell_smallest"] < figures["first_cell_largest"] < 0.0045
    assert figures["smallest_angle"] > 25
    assert figures["radius"] > 14.5
    assert max(figures["stretch_j"], figures["stretch_i"]) < 1.6


def test_the_aerofoil_has_either_grid():
    chosen = aerofoil.mesh(32, 16, 0.02, 4.0, cut=CUT, incidence=0.0)
    np.testing.assert_array_equal(chosen.nodes, mesh().nodes)
    assert aerofoil.mesh().cut == 0


def test_the_two_sides_of_the_cut_are_neighbours():
    """From far behind along the lower side, clockwise around the body, back along the upper one."""
    grid = mesh(8.0, "4412")
    line = grid.nodes[0]
    np.testing.assert_array_equal(line[: CUT + 1], line[::-1][: CUT + 1])
    np.testing.assert_array_equal(line[grid.body.start : grid.body.stop + 1], naca("4412", 32))
    assert line[0, 0] > 4 > line[CUT, 0]
    below, above = grid.centres[0, :CUT], grid.centres[0, ::-1][:CUT]
    assert (below[:, 1] < above[:, 1]).all()
    np.testing.assert_allclose(grid.padded_centres[0, 1 : CUT + 1], above)
    np.testing.assert_allclose(grid.padded_centres[0, ::-1][1 : CUT + 1], below)
    closed = np.diff(grid.i_normals, axis=1) + np.diff(grid.j_normals, axis=0)
    np.testing.assert_allclose(closed, 0, atol=1e-13)
    end = line[0] - line[1]
    np.testing.assert_allclose(np.degrees(np.arctan2(end[1], end[0])), 8, atol=0.2)
    lengths = np.linalg.norm(np.diff(line[: CUT + 2], axis=0), axis=1)[::-1]
    np.testing.assert_allclose(lengths[1], lengths[0], rtol=0.02)  # body's last, cut's first


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_are_exact_for_linear_functions_across_the_cut(axis):
    for grid in (mesh(8.0, "4412"), mesh().coarsen(4)):
        c = grid.padded_centres
        w = gradient_weights(grid, axis)
        across, along = differences(3 * c[..., 0] - 2 * c[..., 1] + 1, axis)
        np.testing.assert_allclose(w[0] * across + w[1] * along, 3, rtol=1e-9)
        np.testing.assert_allclose(w[2] * across + w[3] * along, -2, rtol=1e-9)


def test_averages_on_the_coarser_mesh_keep_the_cut():
    fine = mesh()
    coarse = fine.coarsen(4)
    assert (coarse.shape, coarse.cut, coarse.body) == ((4, 12), 2, slice(2, 10))
    np.testing.assert_allclose(coarse.volumes[0, 0], fine.volumes[:4, :4].sum())
    state = tf.constant(noisy(fine))
    averaged = volume_average(state, fine, 4)
    np.testing.assert_allclose(volume_average(refine(averaged, fine, 4), fine, 4), averaged)

    def totals(state, grid):
        q = conservative(tf.transpose(state, [3, 0, 1, 2])).numpy()
        return (q * grid.volumes).sum((-2, -1))

    np.testing.assert_allclose(totals(averaged, coarse), totals(state, fine), rtol=1e-12)
    stepped = run(Compressible(coarse, 5e-3, 20), averaged.numpy())
    assert np.isfinite(stepped).all()
    with pytest.raises(InputError, match="48.* cells with 8 along its cut does not coarsen by 16"):
        fine.coarsen(16)


# ------------------------------------------------------------------ the flow sees no cut


@pytest.mark.parametrize("viscous", [False, True])
def test_a_free_stream_stays(viscous):
    grid = mesh(8.0, "4412")
    start = free_stream(grid)
    end = run(Compressible(grid, 2e-3, 100, viscous, OPEN), start)
    np.testing.assert_allclose(end, start, atol=1e-12)


def unfolded(grid):
    """The wake of a C-grid as a mesh of its own, i to the body, j downwards, [2J, cut]."""
    above, below = grid.nodes[::-1, ::-1], grid.nodes[1:]
    return Mesh(np.concatenate([above, below])[:, : grid.cut + 1], (False, False))


@pytest.mark.parametrize("viscous", [False, True])
def test_the_wake_flows_as_if_there_were_no_cut(viscous):
    """∂q/∂t of any state, even a random one, is that of the same cells on a mesh without a cut."""
    grid = mesh(8.0, "4412")
    state = noisy(grid)
    wake = np.concatenate([state[:, ::-1, ::-1], state], 1)[:, :, :CUT]
    got = rate(Compressible(grid, 1e-3, viscous=viscous), state)
    got = np.concatenate([got[..., ::-1, ::-1], got], -2)[..., :CUT]
    wanted = rate(Compressible(unfolded(grid), 1e-3, viscous=viscous, boundary=OPEN), wake)
    inside = slice(1, -2)  # the others' stencils reach cells on the body or a corner's ghosts
    np.testing.assert_allclose(got[..., inside], wanted[..., inside], atol=1e-10, rtol=1e-10)
    assert np.abs(wanted[..., inside]).max() > 1


# ------------------------------------------------------------------ budgets, symmetry


@pytest.mark.parametrize("viscous", [False, True])
def test_nothing_is_lost_at_the_cut(viscous):
    """Change of mass, momentum, energy = fluxes through the far field and the wall, to rounding."""
    solver, state = Compressible(mesh(), 2e-3, viscous=viscous), noisy(mesh())
    change = (rate(solver, state) * mesh().volumes).sum((-2, -1))
    j, i = (fluxes(solver, state, axis) for axis in (0, 1))
    np.testing.assert_allclose(j[..., 0, :CUT], -j[..., 0, ::-1][..., :CUT], rtol=1e-13)
    through = j[..., 0, mesh().body].sum(-1) - j[..., -1, :].sum(-1)
    through += i[..., 0].sum(-1) - i[..., -1].sum(-1)
    np.testing.assert_allclose(change, through, atol=1e-12 * np.abs(i).max())
    np.testing.assert_array_equal(j[[0, 3], :, 0, mesh().body], 0)  # no mass, no energy


@pytest.mark.slow
def test_force_on_the_body_is_the_momentum_that_the_cells_lose():
    solver, state = Compressible(mesh(), 2e-3), developed()
    lost = -(rate(solver, state)[1:3] * mesh().volumes).sum((-2, -1))
    pressure = solver.operands(params())[0].numpy()[:, 0]  # p∞ alone exerts no force
    for axis, normals in ((0, mesh().j_normals[-1:]), (1, mesh().i_normals[:, [0, -1]])):
        flux = fluxes(solver, state, axis)[1:3]
        ends = flux[..., [0, -1]] if axis else flux[..., -1:, :]
        ends = ends - pressure[..., None] * np.moveaxis(normals, -1, 0)[:, None]
        lost -= (ends * ([-1, 1] if axis else 1)).sum((-2, -1))
    angle = np.radians(FLOW["incidence"])
    drag = 2 * (lost[0] * np.cos(angle) + lost[1] * np.sin(angle))
    lift = 2 * (lost[1] * np.cos(angle) - lost[0] * np.sin(angle))
    got = solver.forces(tf.constant(state), params()).numpy()
    np.testing.assert_allclose(got, np.stack([drag, lift], -1), atol=1e-10)
    assert (got[:, 0] > 0.02).all()
    assert got[0, 1] > 0.1
    other = noisy(mesh())  # of the wake's cells, none counts
    other[:, :, mesh().body] = state[:, :, mesh().body]
    np.testing.assert_allclose(solver.forces(tf.constant(other), params()), got, atol=1e-13)


def test_flow_at_zero_incidence_is_symmetric():
    values = FLOW | {"incidence": [0.0, 0.0]}
    solver = Compressible(mesh(), 2e-3, 500)
    end = run(solver, free_stream(mesh(), values), **values)
    np.testing.assert_allclose(end, end[:, :, ::-1] * [1, 1, -1, 1], atol=1e-9)
    assert np.abs(end[..., 2]).max() > 0.1
    drag, lift = solver.forces(tf.constant(end), params(**values)).numpy().T
    assert np.abs(lift).max() < 1e-9
    assert ((drag > 0.02) & (drag < 0.2)).all()


def test_gradients_agree_with_finite_differences():
    """∂q/∂t, weighed at random, in a random direction of the state, and in the Mach number."""
    solver = Compressible(mesh(), 2e-3)
    q = conservative(tf.constant(np.moveaxis(noisy(mesh(), size=0.03), -1, 0)))
    mach = tf.constant(FLOW["mach"], tf.float64)
    weights, direction = tf.constant(np.random.default_rng(1).normal(size=(2, *q.shape)))

    def functional(q, mach):
        operands = solver.operands(params() | {"mach": mach})
        return tf.reduce_sum(weights * solver.rate(q, *operands))

    with tf.GradientTape() as tape:
        tape.watch([q, mach])
        value = functional(q, mach)
    of_q, of_mach = tape.gradient(value, [q, mach])
    h = 1e-7  # beyond it the limiter's kinks, many in so rough a state, count
    for exact, q_change, mach_change in (
        (tf.reduce_sum(of_q * direction), direction, 0.0),
        (tf.reduce_sum(of_mach), 0.0, 1.0),
    ):
        ends = [functional(q + s * q_change, mach + s * mach_change) for s in (h, -h)]
        np.testing.assert_allclose(exact, (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


# ------------------------------------------------------------------ mistakes


def circle(n):
    angle = np.linspace(0, 2 * np.pi, n + 1)
    curve = np.stack([np.cos(angle), np.sin(angle)], -1) / 2
    return body(np.concatenate([curve[:-1], curve[:1]]))


def cartesian(cut, periodic=(False, False)):
    y, x = np.meshgrid(np.arange(4.0), np.arange(9.0), indexing="ij")
    return Mesh(np.stack([x, y], -1), periodic, cut=cut)


SECTION = naca("0012", 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c_grid(SECTION, 16, 0.02, 4.0, 3), "cut=3 must be from 4 to "),
        (lambda: c_grid(SECTION, 16, 0.02, 4.0, 400), "cut=400 must be from 4 to .* cells of"),
        (lambda: c_grid(SECTION, 2, 0.02, 4.0, 8), "layers=2 must be at least 4"),
        (lambda: c_grid(SECTION, 16, 0.5, 4.0, 8), "first=0.5 must be positive and below"),
        (lambda: c_grid(SECTION, 16, 0.02, 4.0, 8, 120.0), "incidence=120 must be between"),
        (lambda: c_grid(circle(32), 16, 0.02, 4.0, 8), "curve: its sides meet at .*use o_grid"),
        (lambda: cartesian(4), "cut=4 must be from 0 to 3: 8 cells along i"),
        (lambda: cartesian(-1), "cut=-1 must be from 0 to 3"),
        (lambda: cartesian(2), "the sides of the cut, cut=2, are up to 8 apart"),
        (lambda: cartesian(2, (False, True)), "cut=2 needs periodic="),
        (
            lambda: Compressible(mesh(), 1e-3, boundary=(*OPEN[:1], ("wall",) * 2)),
            "boundary=.*wall",
        ),
    ],
)
def test_mistakes_are_input_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
