"""Solvers at fewer iterations: one graph for all counts, convergence, gradients."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from flows import REYNOLDS, turbulent

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.ops import capacitance, poisson
from tfunroll.ops.loops import iterate
from tfunroll.ops.stencils import gradient
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems import aerofoil, kolmogorov, wake


def every_count(function, most, jit=False):
    """What one graph gives for each count from 1 to ``most``, and for the counts as numbers."""
    graph = tf.function(function, jit_compile=jit, autograph=False)
    one = graph.get_concrete_function(tf.TensorSpec([], tf.int32))
    counts = range(1, most + 1)
    return [one(tf.constant(n)) for n in counts], [function(n) for n in counts]


@pytest.mark.parametrize("jit", [False, True])
def test_one_graph_iterates_any_number_of_times_as_the_number_itself(jit):
    rng = np.random.default_rng(0)
    x, a, b = (tf.constant(rng.normal(size=(2, 3))) for _ in range(3))

    def gradients(times):
        with tf.GradientTape() as tape:
            tape.watch([x, a, b])
            out = iterate(lambda x, a, b: tf.sin(a * x) + b * x * x / 4, times, x, (a, b), most=5)
        return out, *tape.gradient(out, [x, a, b])

    for ours, theirs in zip(*every_count(gradients, 5, jit), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


POINTS, RATIO = 30, 0.95  # of the heat equation, u = 0 at the ends: r = ν dt / h²
INSIDE = np.arange(1, POINTS + 1)[:, None]
MODES = np.sin(np.pi * INSIDE * INSIDE.T / (POINTS + 1))  # [point, mode]
RADII = 2 * RATIO * np.cos(np.pi * INSIDE[:, 0] / (POINTS + 1)) / (1 + 2 * RATIO)


def heat_sweep(u, known):
    """One Jacobi sweep of (1 + 2r) u − r (its neighbours) = known, [batch, point]."""
    padded = tf.pad(u, [[0, 0], [1, 1]])
    return (known + RATIO * (padded[:, 2:] + padded[:, :-2])) / (1 + 2 * RATIO)


def heat_matrix():
    off = np.eye(POINTS, k=1) + np.eye(POINTS, k=-1)
    return (1 + 2 * RATIO) * np.eye(POINTS) - RATIO * off


def test_jacobi_sweeps_leave_a_power_of_each_mode():
    known = tf.constant(MODES.T @ heat_matrix().T)  # its solutions are the modes

    def error(times):
        return iterate(heat_sweep, times, tf.zeros_like(known), [known], most=12) - MODES.T

    for count, left in enumerate(every_count(error, 12)[0], start=1):
        wanted = -(RADII[:, None] ** count) * MODES.T
        np.testing.assert_allclose(left, wanted, rtol=0, atol=1e-14)


def test_implicit_and_unrolled_gradients_of_jacobi_sweeps_from_zero_are_the_same():
    """S_K of a symmetric matrix from zero is a symmetric matrix: the adjoint is the same sweeps."""
    known, weights = (tf.constant(np.random.default_rng(n).normal(size=(3, 30))) for n in (0, 1))

    def gradients(times):
        def swept(r):
            return iterate(heat_sweep, times, tf.zeros_like(r), [r], most=12)

        found = []
        for solve in (swept, poisson.with_adjoint(swept, swept)):
            with tf.GradientTape() as tape:
                tape.watch(known)
                value = tf.reduce_sum(weights * solve(known) ** 2)
            found.append(tape.gradient(value, known))
        return found

    for unrolled, implicit in every_count(gradients, 12)[0]:
        np.testing.assert_allclose(implicit, unrolled, rtol=0, atol=1e-14)
        assert np.abs(unrolled).max() > 0.1


def unrolled_gradients(operator, iterations, r):
    """Conjugate gradients as a Python loop, which TensorFlow differentiates."""
    p, residual, direction = tf.zeros_like(r), r, r
    for _ in range(iterations):
        image, before = operator(direction), tf.reduce_sum(residual**2)
        step = before / tf.reduce_sum(direction * image)
        p, residual = p + step * direction, residual - step * image
        direction = residual + tf.reduce_sum(residual**2) / before * direction
    return p


def test_the_implicit_gradient_of_conjugate_gradients_has_a_gap_that_closes_with_their_number():
    matrix = tf.constant(heat_matrix())
    r, weights = (tf.constant(np.random.default_rng(n).normal(size=(1, 1, 30))) for n in (0, 1))

    def operator(p):
        return tf.linalg.matvec(matrix, p)

    gaps = []
    for count in (1, 2, 4, 8, 16):
        solve = poisson.conjugate_gradients(operator, tf.identity, count)
        found = []
        for function in (solve, lambda r, n=count: unrolled_gradients(operator, n, r)):
            with tf.GradientTape() as tape:
                tape.watch(r)
                p = function(r)
                value = tf.reduce_sum(weights * p)
            found.append(tape.gradient(value, r))
        gaps.append(np.linalg.norm(found[0] - found[1]) / np.linalg.norm(found[1]))
    assert gaps[0] > 0.02  # not linear in r
    assert all(b < a for a, b in itertools.pairwise(gaps))
    assert gaps[-1] < 1e-5


@pytest.mark.parametrize("flow", ["box", "channel"])
@pytest.mark.parametrize("warm", [False, True])
def test_plain_conjugate_gradients_converge_to_the_direct_pressure(flow, warm):
    grid = kolmogorov.solver().grid if flow == "box" else wake.make(points=16).coarse().grid
    r, start = (tf.constant(np.random.default_rng(n).normal(size=(2, *grid.shape))) for n in (0, 1))
    exact = capacitance.direct(grid)(r)
    slope = gradient(exact, grid)
    errors = []
    for count in (20, 60, 200):
        found = capacitance.plain(grid, count, start if warm else None)(r)
        errors.append(np.abs(gradient(found, grid) - slope).max())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-7
    begun = tf.cast(exact, tf.float32) if warm else None
    rough = capacitance.plain(grid, 1000, begun)(tf.cast(r, tf.float32))
    np.testing.assert_allclose(
        gradient(rough, grid), slope, rtol=0, atol=1e-4 * np.abs(slope).max()
    )


def test_a_warm_start_needs_fewer_iterations():
    flow, errors = turbulent(2), []
    exact = step_of(kolmogorov.solver(), flow)
    for warm in (False, True):
        solver = kolmogorov.solver(pressure="cg", iterations=8, warm_start=warm)
        errors.append(np.abs(step_of(solver, flow) - exact)[..., :2].max())
    assert errors[1] < errors[0] / 2


def step_of(solver, state, **params):
    params = params or {"reynolds": np.array(REYNOLDS[: len(state)])}
    params = {name: tf.constant(values) for name, values in params.items()}
    return solver.bind(params)(tf.constant(state)).numpy()


BOX = Incompressible((8, 8), 0.5, 0.1, 3, 3, pressure="cg", iterations=5, warm_start=True)
CHANNEL = wake.make(points=16).coarse()
KS = systems.get("ks").coarse("etdrk2:substeps=3")
AT = {"mach": 0.7, "incidence": 3.0, "reynolds": 500.0}
PLANE = aerofoil.make(points=16).coarse()
KNOBS = [
    *((BOX, knob) for knob in ("sweeps", "correctors", "substeps", "pressure")),
    (Incompressible(CHANNEL.shape, 0.5, 0.1, 2, 2, None, 1, wake.SIDES), "substeps"),
    (KS, "substeps"),
    (PLANE, "substeps"),
]


def state_of(solver):
    rng = np.random.default_rng(0)
    if solver is KS:
        return np.cos(np.arange(48) / 8)[None, :, None] + 0.1 * rng.normal(size=(2, 48, 1))
    if solver is PLANE:
        return aerofoil.make(points=16).initial_state(params_of(solver), 0)
    return 0.1 * rng.normal(size=(2, *solver.shape, 3)) + [1, 0, 0]


def params_of(solver):
    if solver is KS:
        return {"domain_size": np.array([7.2, 8.0])}
    if solver is PLANE:
        return {
            "mach": np.array([0.7]),
            "incidence": np.array([3.0]),
            "reynolds": np.array([500.0]),
        }
    return {"reynolds": np.array([100.0, 200.0])}


@pytest.mark.parametrize("case", range(len(KNOBS)))
def test_one_graph_serves_all_counts_of_a_knob(case):
    solver, knob = KNOBS[case]
    state = tf.constant(state_of(solver))
    params = {name: tf.constant(v) for name, v in params_of(solver).items()}

    def both(count):
        with tf.GradientTape() as tape:
            tape.watch(state)
            out = solver.at(knob, count).bind(params)(state)
            value = tf.reduce_sum(out**2)
        return out, tape.gradient(value, state)

    most = min(solver.knobs[knob][1], 3)
    found = every_count(both, most)
    for ours, theirs in zip(*found, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert np.abs(found[0][0][0] - found[0][-1][0]).max() > 1e-9
    assert solver.at(knob, solver.knobs[knob][1]) is solver


def test_substeps_share_out_the_frame_and_its_iterations():
    solver = kolmogorov.solver(64, 0.01, refinement=1, pressure="cg", iterations=30)
    assert solver.knobs == {
        "sweeps": (1, 4),
        "correctors": (1, 2),
        "substeps": (1, 2),
        "pressure": (1, 30),
    }
    coarser = solver.at("substeps", 1)
    assert (coarser.dt, coarser.substeps, coarser.frame_time) == (0.02, 1, 0.02)
    assert coarser.knobs["substeps"] == (1, 1)
    assert (solver.dt, solver.substeps) == (0.01, 2)
    counted = [solver.iterations(knob, 3) for knob in ("sweeps", "substeps", "pressure")]
    assert counted == [6, 3, 12]
    assert kolmogorov.solver(scheme="midpoint", sweeps=1).knobs["sweeps"] == (1, 1)
    assert kolmogorov.solver(scheme="midpoint", sweeps=3).knobs["correctors"] == (1, 2)


@pytest.mark.parametrize(
    ("solver", "knob", "counts", "words"),
    [
        (BOX, "speed", (), "no such knob; allowed: sweeps, correctors, substeps, pressure$"),
        (
            CHANNEL,
            "pressure",
            (),
            "solved directly, it has no iterations; allowed: .*cg=40",
        ),
        (KS, "sweeps", (), "'KuramotoSivashinsky' has no such knob; allowed: substeps$"),
        (BOX, "sweeps", (0,), "ladder='sweeps': 0 is outside the solver's range, 1 to 3"),
        (BOX, "pressure", (2, 6), "6 is outside the solver's range, 1 to 5"),
    ],
)
def test_unknown_knobs_and_numbers_out_of_range(solver, knob, counts, words):
    with pytest.raises(InputError, match=words):
        solver.check_knob(knob, *counts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pressure": "cg"}, "iterations=0 of pressure='cg': .* need at least 1"),
        ({"iterations": 4}, "iterations=4 of pressure='direct': .*all else takes none"),
        ({"warm_start": True}, "warm_start is of conjugate gradients"),
        ({"pressure": "jacobi"}, "pressure='jacobi' is unknown; allowed: cg, direct, iterative"),
    ],
)
def test_impossible_pressures(options, words):
    with pytest.raises(InputError, match=words):
        Incompressible((8, 8), 1.0, 0.1, **options)


def test_the_coarse_solver_has_them_by_its_options():
    for name in ("kolmogorov", "wake:points=16"):
        solver = systems.get(name).coarse("piso:cg=40,warm=1")
        assert (solver.knobs["pressure"], solver.warm_start) == ((1, 40), True)
    with pytest.raises(InputError, match="warm_start is of conjugate gradients"):
        systems.get("kolmogorov").coarse("piso:warm=1")
