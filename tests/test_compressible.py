"""The compressible solver: exact solutions, orders, symmetry, conservation, gradients, mistakes."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.ops.gas import conservative
from tfunroll.ops.meshes import FAR_FIELD, PERIODIC, REPLICATE, WALL, Mesh
from tfunroll.ops.ogrid import naca, o_grid
from tfunroll.solvers.compressible import Compressible
from tfunroll.stepping.unrolling import repeat

BOX = ((PERIODIC, PERIODIC),) * 2
FLOW = {"mach": [0.5], "reynolds": [1e4], "incidence": [0.0]}


def params(dtype=tf.float64, **values):
    return {name: tf.constant(v, dtype) for name, v in (FLOW | values).items()}


def run(solver, state, steps=1, **values):
    """[batch, j, i, 4] after so many frames, compiled; the dtype is that of the state."""
    given = params(tf.as_dtype(state.dtype), **values)
    names = sorted(given)

    @tf.function(jit_compile=True, autograph=False)
    def compiled(state, *given):
        return repeat(solver.bind(dict(zip(names, given, strict=True))), steps)(state)

    return compiled(tf.constant(state), *(given[n] for n in names)).numpy()


def cartesian(n, size=10.0, bend=0.0, periodic=(True, True)):
    """Square cells, or with ``bend`` curved ones, [n + 1, n + 1, 2]."""
    n = (n, n) if isinstance(n, int) else n
    size = (size, size) if isinstance(size, float) else size
    lines = [np.linspace(0, s, k + 1) for s, k in zip(size, n, strict=True)]
    y, x = np.meshgrid(*lines, indexing="ij")
    wave = bend * np.sin(2 * np.pi * x / size[1]) * np.sin(2 * np.pi * y / size[0])
    return Mesh(np.stack([x + wave, y - wave], -1), periodic)


def aerofoil(cells=32, layers=16, first=0.02, radius=4.0):
    return o_grid(naca("0012", cells), layers, first, radius)


def free_stream(mesh, mach, incidence=0.0, dtype=np.float64):
    mach = np.asarray(mach, float)[:, None, None]
    angle = np.radians(incidence) * np.ones_like(mach)
    one = np.ones((len(mach), *mesh.shape))
    fields = one, np.cos(angle) * one, np.sin(angle) * one, one / (1.4 * mach**2)
    return np.stack(fields, -1).astype(dtype)


# ------------------------------------------------------------------ exact solutions


@pytest.mark.parametrize("viscous", [False, True])
def test_a_free_stream_stays_on_a_curved_mesh(viscous):
    mesh = aerofoil()
    solver = Compressible(mesh, 2e-3, 100, viscous, ((FAR_FIELD, FAR_FIELD), (PERIODIC, PERIODIC)))
    start = free_stream(mesh, [0.5, 0.8], [[[3.0]], [[-8.0]]])
    end = run(solver, start, mach=[0.5, 0.8], incidence=[3.0, -8.0], reynolds=[1e3, 1e4])
    np.testing.assert_allclose(end, start, atol=1e-12)


def vortex(mesh, time=0.0, size=10.0, strength=5.0, wind=(1.0, 0.5)):
    """A vortex that the wind carries, exact for the Euler equations (Yee et al. 1999)."""
    x, y = (
        (mesh.centres[..., k] - size / 2 - wind[k] * time + size / 2) % size - size / 2
        for k in (0, 1)
    )
    speed = strength / (2 * np.pi) * np.exp((1 - x**2 - y**2) / 2)
    temperature = 1 - 0.4 / (2 * 1.4) * speed**2
    density = temperature**2.5
    fields = density, wind[0] - speed * y, wind[1] + speed * x, density * temperature
    return np.stack(fields, -1)[None]


def vortex_error(n, bend):
    mesh = cartesian(n, bend=bend)
    steps = n  # to time 2
    solver = Compressible(mesh, 2.0 / steps / 2, 2 * steps, False, BOX, None)
    end = run(solver, vortex(mesh))
    return np.sqrt((mesh.volumes[..., None] * (end - vortex(mesh, 2.0))[0] ** 2).sum() / 100)


def vortex_orders(cells, bend):
    errors = np.array([vortex_error(n, bend) for n in cells])
    orders = np.log2(errors[:-1] / errors[1:])
    print(f"bend {bend}: errors {errors}, orders {orders}")
    return orders


@pytest.mark.parametrize("bend", [0.0, pytest.param(0.8, marks=pytest.mark.slow)])
def test_the_isentropic_vortex_converges_at_least_at_second_order(bend):
    """On coarse meshes the third-order error of the reconstruction is the larger part."""
    assert (vortex_orders((32, 64, 128), bend) > 2).all()


@pytest.mark.slow
@pytest.mark.parametrize("bend", [0.0, 0.4])
def test_order_of_the_isentropic_vortex(bend):
    orders = vortex_orders((128, 256, 512), bend)
    assert orders[0] > orders[1]  # towards 2 from above, see docs/aerofoil.md
    assert 1.8 < orders[1] < 2.2


def tube(n, wall=False):
    """Sod's tube at t = 0.2: centres, numerical and exact state, [n, 4] each."""
    mesh = cartesian((4, n), (4.0 / n, 1.0), periodic=(True, False))
    x = mesh.centres[0, :, 0]
    left = (x < 0.5)[None, None, :, None] * np.ones((1, 4, 1, 1))
    start = np.where(left, [1, 0, 0, 1.0], [0.125, 0, 0, 0.1])
    boundary = ((PERIODIC, PERIODIC), (REPLICATE, REPLICATE))
    steps = n
    solver = Compressible(mesh, 0.2 / steps, steps, False, boundary)
    return x, run(solver, start)[0, 2]


def sod(x, time=0.2):
    """Exact solution with p* = 0.30313, u* = 0.92745 (Toro, table 4.3)."""
    p, u = 0.30313017805064707, 0.92745262004895057
    c1 = np.sqrt(1.4)
    r_left, r_right = p ** (1 / 1.4), 0.125 * (p / 0.1 + 1 / 6) / (p / 0.1 / 6 + 1)
    shock = np.sqrt(1.4 * 0.1 / 0.125) * np.sqrt(6 / 7 * p / 0.1 + 1 / 7)
    s = (x - 0.5) / time
    fan_u = 2 / 2.4 * (c1 + s)
    fan_c = 2 / 2.4 * (c1 - 0.2 * s)
    fan_r = (fan_c**2 / 1.4) ** 2.5
    c_star = c1 * p ** (1 / 7)
    cases = [s < -c1, s < u - c_star, s < u, s < shock]
    density = np.select(cases, [1, fan_r, r_left, r_right], 0.125)
    speed = np.select(cases, [0, fan_u, u, u], 0)
    pressure = np.select(cases, [1, fan_r**1.4, p, p], 0.1)
    return np.stack([density, speed, 0 * x, pressure], -1)


def test_sod():
    errors = []
    for n in (100, 200, 400):
        x, got = tube(n)
        errors.append(np.abs(got - sod(x))[:, 0].mean())
    print(errors)
    assert np.log2(errors[-2] / errors[-1]) > 0.8
    between = (x > 0.72) & (x < 0.82)  # contact at 0.685, shock at 0.8504
    np.testing.assert_allclose(got[between, 3], 0.30313, rtol=0.01)
    np.testing.assert_allclose(got[between, 1], 0.92745, rtol=0.01)
    shock = np.interp(-(0.30313 + 0.1) / 2, -got[x > 0.75, 3], x[x > 0.75])
    np.testing.assert_allclose(shock, 0.8504, rtol=0.01)
    assert got[:, 3].max() < 1.005  # hardly an overshoot
    assert got[:, 0].min() > 0.1245


# ------------------------------------------------------------------ symmetries, budgets


@functools.cache
def developed(dtype="float64"):
    """Flow after 2 c/U around the small aerofoil, two Mach numbers, and its parameters."""
    values = {"mach": [0.5, 0.7], "incidence": [4.0, -2.0], "reynolds": [1e3, 5e3]}
    mesh = aerofoil()
    start = free_stream(mesh, values["mach"], np.reshape(values["incidence"], (2, 1, 1)))
    return run(Compressible(mesh, 2e-3, 1000), start, **values).astype(dtype), values


def test_flow_at_zero_incidence_is_symmetric():
    """Upper and lower side agree as long as nothing disturbs the flow; the lift is zero."""
    mesh = aerofoil()
    solver = Compressible(mesh, 2e-3, 500)
    end = run(solver, free_stream(mesh, [0.5]))
    mirrored = end[:, :, ::-1] * [1, 1, -1, 1]
    np.testing.assert_allclose(end, mirrored, atol=1e-9)
    assert np.abs(end[..., 2]).max() > 0.1
    drag, lift = solver.forces(tf.constant(end), params()).numpy()[0]
    assert abs(lift) < 1e-9
    assert 0.02 < drag < 0.2


def test_an_aerofoil_at_incidence_mirrors_that_at_the_opposite_one():
    mesh = aerofoil()
    solver = Compressible(mesh, 2e-3, 100)
    pair = {"mach": [0.6, 0.6], "incidence": [5.0, -5.0], "reynolds": [1e3, 1e3]}
    end = run(solver, free_stream(mesh, pair["mach"], [[[5.0]], [[-5.0]]]), **pair)
    np.testing.assert_allclose(end[0], end[1, :, ::-1] * [1, 1, -1, 1], atol=1e-10)
    forces = solver.forces(tf.constant(end), params(**pair)).numpy()
    np.testing.assert_allclose(forces[0], forces[1] * [1, -1], atol=1e-10)
    assert forces[0, 1] > 0.1


@pytest.mark.parametrize("viscous", [False, True])
def test_periodic_flow_conserves(viscous):
    """Mass, momentum and energy of a bent box, away from all boundaries, to rounding."""
    mesh = cartesian(24, bend=0.4)
    rng = np.random.default_rng(0)
    start = vortex(mesh) + 0.05 * rng.uniform(-1, 1, (1, 24, 24, 4))
    end = run(Compressible(mesh, 0.02, 50, viscous, BOX), start, reynolds=[100.0])

    def totals(w):
        q = conservative(tf.constant(np.moveaxis(w, -1, 0))).numpy()
        return (q * mesh.volumes).sum((-2, -1))

    np.testing.assert_allclose(totals(end), totals(start), rtol=1e-12)
    assert np.abs(end - start).max() > 0.1


def test_shear_layers_decay_at_the_exact_rate():
    """u = a sin(2πy/L), almost incompressible: a falls as exp(−(2π/L)² t / Re), on any mesh."""
    mesh, reynolds, time = cartesian(48, 1.0, bend=0.02), 50.0, 0.2
    x, y = mesh.centres[..., 0], mesh.centres[..., 1]
    wave, one = np.sin(2 * np.pi * y), np.ones_like(x)
    start = np.stack([one, 0.01 * wave, 0 * x, one / 1.4], -1)[None]
    steps = 100
    end = run(Compressible(mesh, time / steps, steps, True, BOX), start, reynolds=[reynolds])
    amplitude = (end[0, ..., 1] * wave * mesh.volumes).sum() / (wave**2 * mesh.volumes).sum()
    exact = 0.01 * np.exp(-((2 * np.pi) ** 2) * time / reynolds)
    np.testing.assert_allclose(amplitude, exact, rtol=2e-3)
    assert np.abs(end[0, ..., 2]).max() < 1e-4


def test_forces_balance_the_momentum_that_leaves_a_box_of_cells():
    """d(momentum)/dt of all cells = fluxes through the far field − force on the body."""
    state, values = developed()
    mesh = aerofoil()
    solver = Compressible(mesh, 2e-3)
    given = params(**values)
    operands = solver.operands(given)
    w = tf.constant(np.moveaxis(state, -1, 0))
    rate = (solver.rate(conservative(w), *operands).numpy() * mesh.volumes).sum((-2, -1))
    outside = solver._flux(solver._padded(w, operands[0], *operands[2:]), 0, operands[1]).numpy()
    angle = np.radians(values["incidence"])
    pressure = operands[0].numpy()[:, 0]
    outward = np.moveaxis(mesh.j_normals[-1], -1, 0)[:, None]
    leaving = (outside[1:3, :, -1] - pressure * outward).sum(-1)  # p∞ alone exerts no force
    force = -rate[1:3] - leaving
    drag = 2 * (force[0] * np.cos(angle) + force[1] * np.sin(angle))
    lift = 2 * (force[1] * np.cos(angle) - force[0] * np.sin(angle))
    got = solver.forces(tf.constant(state), given).numpy()
    np.testing.assert_allclose(got, np.stack([drag, lift], -1), atol=1e-10)


# ------------------------------------------------------------------ parameters, gradients


@pytest.mark.slow
def test_float32_agrees_with_float64():
    state, values = developed()
    solver = Compressible(aerofoil(), 2e-3, 20)
    single = run(solver, state.astype(np.float32), **values)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, run(solver, state, **values), atol=2e-4)


@pytest.mark.slow
def test_gradients_agree_with_finite_differences():
    """Of a random functional, in a random direction of the state, and in each parameter."""
    state, values = developed()
    solver = Compressible(aerofoil(), 2e-3, 2)
    rng = np.random.default_rng(1)
    weights, direction = tf.constant(rng.normal(size=(2, *state.shape)))
    names = sorted(values)
    given = [tf.constant(values[n], tf.float64) for n in names]

    @tf.function(jit_compile=True, autograph=False)
    def functional(state, *given):
        return tf.reduce_sum(weights * solver.bind(dict(zip(names, given, strict=True)))(state))

    @tf.function(jit_compile=True, autograph=False)
    def gradients(state, *given):
        with tf.GradientTape() as tape:
            tape.watch([state, *given])
            value = functional.python_function(state, *given)
        return tape.gradient(value, [state, *given])

    state = tf.constant(state)
    of_state, *of_params = gradients(state, *given)
    h = 1e-6

    def slope(change_state, *changes):
        ends = [
            functional(
                state + s * h * change_state,
                *(g + s * h * c for g, c in zip(given, changes, strict=True)),
            )
            for s in (1, -1)
        ]
        return (ends[0] - ends[1]).numpy() / (2 * h)

    zeros = [tf.zeros_like(g) for g in given]
    exact = tf.reduce_sum(of_state * direction).numpy()
    np.testing.assert_allclose(exact, slope(direction, *zeros), rtol=1e-5)
    for k, name in enumerate(names):
        scale = tf.constant([1e3 if name == "reynolds" else 1.0] * 2, tf.float64)
        changes = [scale if i == k else z for i, z in enumerate(zeros)]
        exact = tf.reduce_sum(of_params[k] * scale).numpy()
        np.testing.assert_allclose(
            exact, slope(tf.zeros_like(state), *changes), rtol=1e-4, err_msg=name
        )


# ------------------------------------------------------------------ stability, mistakes


@pytest.mark.slow
def test_the_stable_sub_step_is_stable_and_not_far_from_the_limit():
    mesh = aerofoil()
    values = {"mach": [0.5], "reynolds": [1e3], "incidence": [4.0]}
    start = free_stream(mesh, [0.5], 4.0)
    limit = Compressible(mesh, 1.0).stable_dt(start, {"reynolds": np.array([1e3])}).min()
    steps = int(4 / limit)
    fine = run(Compressible(mesh, limit, steps), start, **values)
    assert np.isfinite(fine).all()
    assert np.abs(fine[..., 1:3]).max() < 3
    wild = run(Compressible(mesh, 3 * limit, steps), start, **values)
    assert not np.isfinite(wild).all()


def test_mistakes_are_input_errors():
    mesh = aerofoil()
    for mach in (0.01, 3.0, np.nan):
        with pytest.raises(InputError, match="mach=.*allowed range"):
            Compressible(mesh, 1e-3).bind(params(mach=[mach]))
    state = free_stream(mesh, [0.5])
    given = {"mach": np.array([0.5]), "reynolds": np.array([1e4])}
    with pytest.raises(InputError, match=r"dt=0.1 is beyond the stable limit at mach=0.5: largest"):
        Compressible(mesh, 0.1).check_stable(state, given)
    Compressible(mesh, 2e-3).check_stable(state, given)
    for bad in ({"dt": 0}, {"dt": np.nan}, {"substeps": 0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            Compressible(mesh, **{"dt": 1e-3, **bad})
    with pytest.raises(InputError, match="boundary"):
        Compressible(mesh, 1e-3, boundary=((WALL, FAR_FIELD), (REPLICATE, REPLICATE)))
