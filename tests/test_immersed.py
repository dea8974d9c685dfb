"""PISO with sides and a body: closed forms, orders, balances, symmetries, gradients, mistakes."""

import numpy as np
import pytest
import tensorflow as tf
from flows import check_gradients, run

from tfunroll.core import InputError
from tfunroll.ops import capacitance, immersed
from tfunroll.ops.grid import Grid, stretched
from tfunroll.ops.stencils import divergence, gradient
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems import wake
from tfunroll.validation import cylinder

RNG = np.random.default_rng(0)
SLIP = (("slip", "slip"),) * 2
CHANNEL = (("no-slip", "no-slip"), ("periodic", "periodic"))
REYNOLDS = [100.0, 300.0]


def small(**options):
    """A body of five cells in a channel of 16 x 24 cells."""
    options = {"sides": wake.SIDES, "body": immersed.circle(1.0, 0.8, 0.27)} | options
    return Incompressible((16, 24), 0.1, 0.03, **options)


@pytest.fixture(scope="module")
def flow():
    """Shedding on the networks' grid, [2, 32, 64, 3], float64."""
    solver = wake.solver()
    return run(solver, wake.started(solver, [0.3, 0.3]), REYNOLDS, 300)


# ---------------------------------------------------------------------- closed forms


def decaying(widths, t, viscosity):
    """A vortex in the box [0, π]² of slip walls: an exact solution."""
    (y, x) = (np.cumsum(w) for w in widths)
    yc, xc = (np.cumsum(w) - w / 2 for w in widths)
    size = np.exp(-2 * viscosity * t)
    u = np.outer(np.cos(yc), np.sin(x)) * size
    v = -np.outer(np.sin(y), np.cos(xc)) * size
    p = (np.cos(2 * yc)[:, None] + np.cos(2 * xc)) / 4 * size**2
    return np.stack([u, v, p], -1)[None]


def box_error(n, viscosity=0.05, time=0.02, steps=100):
    widths = tuple(
        np.diff(np.pi * (s + a * np.sin(2 * np.pi * s)))
        for s, a in ((np.linspace(0, 1, n + 1), 0.06), (np.linspace(0, 1, n + 1), -0.05))
    )
    solver = Incompressible((n, n), widths, time / steps, sweeps=12, sides=SLIP)
    end = run(solver, decaying(widths, 0, viscosity), [1 / viscosity], steps)
    w = tf.transpose(tf.constant(end), [3, 0, 1, 2])
    assert np.abs(divergence(w, solver.grid)).max() < 1e-11
    error = (end - decaying(widths, time, viscosity))[..., :2]
    return np.sqrt((error**2 * np.moveaxis(solver.grid.volumes, 0, -1)).sum())


def test_order_between_walls_on_a_stretched_grid():
    errors = np.array([box_error(n) for n in (16, 32, 64)])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2.0, atol=0.15)


def test_channel_flow_between_no_slip_walls():
    """u = f y (H − y) / (2ν), of which the scheme keeps all but the wall's last half cell, h²/4."""
    n, height, reynolds, force = 12, 1.0, 10.0, 0.3
    solver = Incompressible(
        (n, 8), height / n, 0.2, sweeps=40, sides=CHANNEL, forcing=np.array([[[force, 0]]])
    )
    y = solver.grid.centres[0]
    end = run(solver, np.zeros((1, n, 8, 3)), [reynolds], 400)
    h = height / n
    exact = force * reynolds / 2 * (y * (height - y) + h**2 / 4)
    np.testing.assert_allclose(end[0, :, 3, 0], exact, rtol=1e-6)


def slab_error(n):
    """Flow between two walls inside the grid, off its lines: error of u in its open rows.

    A slab in a periodic box: the flow goes through the box's end, from its one side to the other.
    """
    height, reynolds, force = 1.0, 10.0, 0.3
    lower, upper = 0.3192, 0.6734

    def body(x, y):
        return np.maximum(lower - y, y - upper) + 0 * x

    solver = Incompressible(
        (n, 8), height / n, 0.05, sweeps=60, body=body, forcing=np.array([[[force, 0]]])
    )
    y = solver.grid.centres[0]
    end = run(solver, np.zeros((1, n, 8, 3)), [reynolds], 600)[0, :, 3, 0]
    whole = solver.grid.open[0, :, 3] == 1
    y = np.where(y > upper, y, y + height)
    exact = force * reynolds / 2 * (y - upper) * (lower + height - y)
    return np.abs(end - exact)[whole].max() / exact.max()


def test_walls_between_grid_lines():
    """With links that reach to the wall, the error of a staircase (h at the wall) is far off."""
    errors = [slab_error(n) for n in (16, 32, 64)]
    assert errors[0] < 0.04
    assert errors[2] < errors[0] / 6
    assert errors[2] < 0.005


# ---------------------------------------------------------------------- pressure and balances


@pytest.mark.parametrize("spacing", ["square", "stretched"])
def test_capacitance_matrix_and_conjugate_gradients_agree(spacing):
    grid = wake.solver(2).grid if spacing == "square" else cylinder.unconfined(8, 0.05, 6.0).grid
    r = tf.constant(RNG.normal(size=(2, *grid.shape)) * grid.fluid)
    direct, iterative = capacitance.direct(grid)(r), capacitance.iterative(grid)(r)
    np.testing.assert_allclose(direct, iterative, atol=1e-8 * np.abs(direct).max())
    image = divergence(tf.constant(grid.open[:, None]) * gradient(direct, grid), grid)
    np.testing.assert_allclose(image * grid.fluid, r, atol=1e-10 * np.abs(r).max())
    assert np.all(direct.numpy()[:, ~grid.fluid] == 0)


@pytest.mark.parametrize("solve", [capacitance.direct, capacitance.iterative])
def test_the_backward_pass_of_the_pressure_is_the_adjoint(solve):
    pressure = solve(small().grid)
    r, g = (tf.constant(RNG.normal(size=(2, 16, 24))) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch(r)
        value = tf.reduce_sum(g * pressure(r))
    np.testing.assert_allclose(tf.reduce_sum(tape.gradient(value, r) * r), value, rtol=1e-9)


def test_both_pressures_make_the_same_step(flow):
    steps = [run(wake.solver(pressure=p), flow, REYNOLDS, 2) for p in ("direct", "iterative")]
    np.testing.assert_allclose(*steps, atol=1e-8)


def test_mass_is_balanced_everywhere(flow):
    """In every cell, and so between inflow and outflow; the body lets nothing through."""
    grid = wake.solver().grid
    w = tf.transpose(tf.constant(flow), [3, 0, 1, 2])
    inflow = tf.ones([2, 2, 32, 1], tf.float64) * [[[[1.0]]], [[[0.0]]]]
    assert np.abs(divergence(w, grid, inflow)).max() < 1e-11
    np.testing.assert_allclose(flow[:, :, -1, 0].mean(1), 1.0, atol=1e-13)
    assert np.all(np.moveaxis(flow[..., :2], -1, 0)[:, :, ~grid.fluid] == 0)
    assert np.abs(flow[..., 1]).max() > 0.3


def test_the_force_is_the_momentum_that_the_body_takes():
    """In a periodic box, where at last it balances the driving force on the open faces."""
    body, n = immersed.circle(1.1, 0.93, 0.33), 20
    force = 0.05
    solver = Incompressible(
        (n, n), 0.1, 0.05, sweeps=30, body=body, forcing=np.array([[[force, 0.02]]]), correctors=8
    )
    end = run(solver, np.zeros((1, n, n, 3)), [5.0], 2000)
    got = solver.forces({"reynolds": tf.constant([5.0], tf.float64)})(tf.constant(end))
    wanted = [f * 0.1**2 * (solver.grid.open[c] > 0).sum() for c, f in enumerate((force, 0.02))]
    np.testing.assert_allclose(got[0], wanted, rtol=1e-6)


# ---------------------------------------------------------------------- symmetries and batches


def mirrored(state):
    """y → −y: v changes sign and side; its last row is the wall."""
    u, v, p = (state[:, ::-1, :, c] for c in range(3))
    v = np.concatenate([-v[:, 1:], np.zeros_like(v[:, :1])], 1)
    return np.stack([u, v, p], -1)


def test_mirror_equivariance(flow):
    solver = wake.solver()
    after = run(solver, mirrored(flow), REYNOLDS, 3)
    np.testing.assert_allclose(after, mirrored(run(solver, flow, REYNOLDS, 3)), atol=1e-11)
    force = solver.forces({"reynolds": tf.constant(REYNOLDS, tf.float64)})
    np.testing.assert_allclose(
        force(tf.constant(mirrored(flow))), force(tf.constant(flow)) * [1, -1], atol=1e-11
    )


def test_float32_is_close_to_float64(flow):
    step = wake.solver().bind({"reynolds": tf.constant(REYNOLDS)})
    single = step(tf.constant(flow, tf.float32))
    double = run(wake.solver(), flow, REYNOLDS, 1)
    np.testing.assert_allclose(single[..., :2], double[..., :2], atol=5e-5)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("pressure", "substeps"),
    [("direct", 1), pytest.param("iterative", 2, marks=pytest.mark.slow)],
)
def test_gradients_equal_finite_differences(pressure, substeps):
    """With respect to state, viscosity, forcing and inflow, through two frames."""
    solver = small(pressure=pressure, substeps=substeps)
    weight = RNG.normal(size=(2, 16, 24, 3))

    @tf.function(jit_compile=True, autograph=False)
    def value(state, viscosity, forcing, inflow):
        step = solver.step_of(viscosity, forcing, inflow)
        return tf.reduce_sum(weight * step(step(state)) ** 2)

    point = [
        0.3 * RNG.normal(size=(2, 16, 24, 3)),
        RNG.uniform(0.01, 0.05, 2),
        RNG.normal(size=(1, 16, 24, 2)),
        np.array([1.0, 0.1]) + 0.1 * RNG.normal(size=(2, 16, 2)),
    ]
    check_gradients(value, point, RNG, rtol=1e-5)


# ---------------------------------------------------------------------- geometry and mistakes


def test_open_parts_of_faces():
    grid = wake.solver().grid
    fine = wake.solver(8).grid
    blocks = fine.open[0].reshape(32, 8, 64, 8)[:, :, :, -1].mean(1)
    np.testing.assert_allclose(grid.open[0], np.where(blocks < 0.1, 0, blocks), atol=0.03)
    closed = 1 - grid.open[0, :, 15]  # through the centre, x = 2.5
    np.testing.assert_allclose(closed.sum() * 10 / 64, 1.0, atol=0.01)


def test_several_bodies_and_other_shapes():
    bodies = immersed.union(immersed.circle(2.5, 1.5, 0.5), immersed.box((5, 6), (2.9, 4.1)))
    solver = wake.solver(body=bodies)
    state = run(solver, wake.started(solver, [0.3]), [100.0], 20)
    assert np.isfinite(state).all()
    shut = ~solver.grid.fluid
    assert shut[8:12, 14:18].any()
    assert shut[19:26, 33:38].all()


def test_stretched_axes():
    widths = stretched(0.1, (-1, 1), (-10, 20), 80)
    np.testing.assert_allclose(widths.sum(), 30)
    assert len(widths) == 80
    ratios = widths[1:] / widths[:-1]
    assert ratios.max() < 1.15
    assert ratios.min() > 0.87
    with pytest.raises(InputError, match="cells=20"):
        stretched(0.1, (-1, 1), (-10, 20), 20)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (immersed.circle(-3, 2.5, 0.5), "body: no cell lies in it"),
        (immersed.circle(0.3, 2.5, 0.5), "body: it touches the inflow side along x"),
        (immersed.circle(9.8, 2.5, 0.5), "body: it touches the outflow side along x"),
        (immersed.circle(2.5, 4.9, 0.5), "body: it touches the slip side along y"),
        (immersed.circle(2.5, 2.5, 0.2), "body: [23] cells across it are too few; .* at least 4"),
        (lambda x, y: x * np.nan, "body: its signed distance is not finite"),
    ],
)
def test_bad_bodies(body, message):
    with pytest.raises(InputError, match=message):
        wake.solver(body=body)


def test_a_body_across_a_periodic_side_is_one():
    """Three of its six cells on either side, along x, along y and along both."""
    for x, y in ((0.0, 0.8), (0.8, 0.0), (1.6, 1.6)):
        across = immersed.union(
            *(immersed.circle(x + a, y + b, 0.3) for a in (-1.6, 0, 1.6) for b in (-1.6, 0, 1.6))
        )
        assert Grid((16, 16), 0.1, body=across).of_body.any()
    with pytest.raises(InputError, match="2 cells across it are too few"):
        Grid((16, 16), 0.1, body=immersed.union(across, immersed.box((0.5, 0.7), (0.3, 1.2))))


def test_bad_sides():
    with pytest.raises(InputError, match="lower x side='wall' is unknown"):
        Grid((8, 8), 0.1, (("slip", "slip"), ("wall", "outflow")))
    with pytest.raises(InputError, match="periodic comes in pairs"):
        Grid((8, 8), 0.1, (("slip", "slip"), ("periodic", "outflow")))
    with pytest.raises(InputError, match="spacing along x must be 8 positive widths"):
        Grid((8, 8), (np.ones(8), np.ones(7)))
    with pytest.raises(InputError, match="pressure='multigrid' is unknown"):
        wake.solver(pressure="multigrid")
    with pytest.raises(InputError, match="largest stable dt"):
        wake.solver(4, 0.05)
