"""The PISO solver: orders, closed forms, budgets, operators, instability, mistakes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from flows import REYNOLDS, UNFORCED, box, run, turbulent

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.ops.stencils import divergence, fluxes, gradient, neighbour_sum
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems import kolmogorov


def div(state, n):
    return divergence(tf.transpose(tf.constant(state), [3, 0, 1, 2]), 2 * np.pi / n).numpy()


def taylor_green(n, t, viscosity, u0=1.0, v0=0.5):
    """Vortices that decay while a mean flow carries them: an exact solution."""
    h = 2 * np.pi / n
    face, centre = (np.arange(n) + 1) * h, (np.arange(n) + 0.5) * h

    def places(x, y):
        return np.meshgrid(x - u0 * t, y - v0 * t)

    x, y = places(face, centre)
    u = u0 - np.cos(x) * np.sin(y) * np.exp(-2 * viscosity * t)
    x, y = places(centre, face)
    v = v0 + np.sin(x) * np.cos(y) * np.exp(-2 * viscosity * t)
    x, y = places(centre, centre)
    p = -(np.cos(2 * x) + np.cos(2 * y)) / 4 * np.exp(-4 * viscosity * t)
    return np.stack([u, v, p], -1)[None]


def taylor_green_error(n, steps, time, viscosity=0.05):
    start = taylor_green(n, 0, viscosity)
    end = run(box(n, time / steps, sweeps=20), start, [1 / viscosity], steps)
    assert np.abs(div(end, n)).max() < 1e-12
    return np.abs(end - taylor_green(n, time, viscosity))[..., :2].max()


def test_order_in_space():
    errors = np.array([taylor_green_error(n, 200, 0.01) for n in (16, 32, 64)])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2.0, atol=0.1)


@pytest.mark.parametrize(
    ("scheme", "order", "tolerance"), [("piso", 1, 0.1), ("midpoint", 2, 0.25)]
)
def test_order_in_time(scheme, order, tolerance):
    """Differences between runs on one grid, whose error in space is the same in all of them.

    The midpoint scheme comes down to its order from above: 2.23, 2.14.
    """
    n, viscosity = 32, 0.05
    start = taylor_green(n, 0, viscosity)
    ends = [
        run(box(n, 1 / steps, sweeps=20, scheme=scheme), start, [1 / viscosity], steps)
        for steps in (40, 80, 160, 320)
    ]
    changes = [np.abs(b - a)[..., :2].max() for a, b in itertools.pairwise(ends)]
    rates = np.log2(np.divide(changes[:-1], changes[1:]))
    np.testing.assert_allclose(rates, order, atol=tolerance)


def test_energy_of_taylor_green_decays_at_the_exact_rate():
    n, viscosity, time = 64, 0.02, 0.5
    start = taylor_green(n, 0, viscosity, 0, 0)
    end = run(box(n, time / 500, sweeps=8), start, [1 / viscosity], 500)
    got = (end[..., :2] ** 2).sum() / (start[..., :2] ** 2).sum()
    np.testing.assert_allclose(got, np.exp(-4 * viscosity * time), rtol=1e-3)


def laminar(n, reynolds, wavenumber=6):
    """The discrete steady state u = A sin 6y, A = Re h² / (2 − 2 cos 6h); A = Re/36 as h → 0."""
    h = 2 * np.pi / n
    amplitude = reynolds * h**2 / (2 - 2 * np.cos(wavenumber * h))
    state = np.zeros((1, n, n, 3))
    state[..., 0] = amplitude * np.sin(wavenumber * h * (np.arange(n) + 0.5))[:, None]
    return state


def test_laminar_profile_is_steady_and_reached():
    n, reynolds, dt = 32, 10.0, 0.05
    h, steady = 2 * np.pi / n, laminar(n, reynolds)
    forced = box(n, dt, sweeps=12, forcing=kolmogorov.solver(n).forcing)
    stays = run(forced, steady, [reynolds], 200)
    np.testing.assert_allclose(stays, steady, atol=1e-6)
    np.testing.assert_allclose(laminar(512, reynolds).max(), reynolds / 36, rtol=1e-3)
    # from rest it grows as 1 − (1 + dt λ)^(−steps): implicit Euler with the discrete eigenvalue λ
    growing = run(box(n, dt, sweeps=30, forcing=forced.forcing), 0 * steady, [reynolds], 20)
    rate = (2 - 2 * np.cos(6 * h)) / h**2 / reynolds
    np.testing.assert_allclose(growing, steady * (1 - (1 + dt * rate) ** -20.0), atol=1e-6)


@pytest.fixture(scope="module")
def state():
    return turbulent()


def test_energy_budget(state):
    """dE/dt = <w·f> − ν <|∇w|²> within 1 % of the injection: convection makes no energy."""
    n, dt = 32, 1e-4  # implicit Euler itself loses dt/2 <|∂w/∂t|²>
    small = kolmogorov.solver(n).forcing
    after = run(box(n, dt, sweeps=8, forcing=small), state, REYNOLDS, 1)
    w, middle = state[..., :2], (state[..., :2] + after[..., :2]) / 2
    change = ((after[..., :2] ** 2 - w**2) / 2).sum(-1).mean((1, 2)) / dt
    injection = (middle * small).sum(-1).mean((1, 2))
    slopes = [np.roll(middle, -1, axis) - middle for axis in (1, 2)]
    loss = sum((s**2).sum(-1).mean((1, 2)) for s in slopes) / (2 * np.pi / n) ** 2
    budget = injection - loss / np.array(REYNOLDS)
    scale = np.abs(injection) + loss / REYNOLDS
    assert np.all(np.abs(change - budget) < 0.01 * scale)
    assert np.all(np.abs(change) > 0.05 * scale)


def test_midpoint_neither_loses_nor_makes_energy(state):
    """Without viscosity and force, over half a time unit; implicit Euler loses some."""
    change = {}
    for scheme, sweeps in (("piso", 8), ("midpoint", 2)):
        flow = box(32, 0.01, sweeps=sweeps, scheme=scheme)
        energy = (run(flow, state, [1e12, 1e12], 50)[..., :2] ** 2).sum((1, 2, 3))
        change[scheme] = energy / (state[..., :2] ** 2).sum((1, 2, 3)) - 1
    assert np.all(np.abs(change["midpoint"]) < 1e-3)
    assert np.all(change["piso"] < -10 * np.abs(change["midpoint"]))


def test_midpoint_is_stable_up_to_twice_the_sub_step(state):
    limit = UNFORCED.stable_dt(state, REYNOLDS).min()
    flow = box(32, 1.9 * limit, sweeps=1, scheme="midpoint")
    flow.check_stable(state, np.array(REYNOLDS))
    end = run(flow, state, REYNOLDS, 100)
    assert (end[..., :2] ** 2).sum() < (state[..., :2] ** 2).sum()
    assert np.abs(div(end, 32)).max() < 1e-11


def test_divergence_is_removed_even_from_states_that_have_one(state):
    rng = np.random.default_rng(0)
    spoilt = state + 0.1 * rng.normal(size=state.shape)
    assert np.abs(div(spoilt, 32)).max() > 0.5
    assert np.abs(div(run(kolmogorov.solver(), spoilt, REYNOLDS, 1), 32)).max() < 1e-12


def test_convection_is_skew_symmetric():
    """<a, H(b)> = <H(a), b> with the fluxes reversed; the viscous part alone is symmetric."""
    rng = np.random.default_rng(1)
    a, b, w = (tf.constant(rng.normal(size=(2, 3, 8, 10))) for _ in range(3))
    rightward, upward = fluxes(w)
    for viscosity in (tf.zeros([3, 1, 1], tf.float64), tf.constant(rng.uniform(size=(3, 1, 1)))):
        forward = tf.reduce_sum(a * neighbour_sum(b, rightward, upward, viscosity, 0.3))
        backward = tf.reduce_sum(b * neighbour_sum(a, -rightward, -upward, viscosity, 0.3))
        np.testing.assert_allclose(forward, backward, rtol=1e-12)


def test_gradient_is_minus_the_adjoint_of_divergence():
    rng = np.random.default_rng(2)
    w, p = tf.constant(rng.normal(size=(2, 8, 10))), tf.constant(rng.normal(size=(8, 10)))
    np.testing.assert_allclose(
        tf.reduce_sum(w * gradient(p, 0.3)), -tf.reduce_sum(p * divergence(w, 0.3)), rtol=1e-12
    )


# ---------------------------------------------------------------------- instability (slow)


def growth_rate(reynolds, wavenumber, n=128, dt=0.01, settle=800, measure=400):
    """Growth of a small disturbance with this wavenumber along x on the laminar profile."""
    base = laminar(n, reynolds)
    flow = box(n, dt, sweeps=6, forcing=kolmogorov.solver(n, 0.002).forcing)
    rng = np.random.default_rng(0)
    x = 2 * np.pi * (np.arange(n) + 0.5) / n
    noise = np.zeros_like(base)
    y_part = rng.normal(size=4)[:, None] * np.cos(
        np.outer(6 * np.arange(4), x) + rng.normal(size=(4, 1))
    )
    noise[..., 1] = 1e-7 * y_part.sum(0)[:, None] * np.cos(wavenumber * x)
    first = run(flow, base + noise, [reynolds], settle)
    second = run(flow, first, [reynolds], measure)
    sizes = [np.sqrt(np.mean((s - base)[..., 1] ** 2)) for s in (first, second)]
    return np.log(sizes[1] / sizes[0]) / (measure * dt)


@pytest.mark.slow
def test_growth_rate_at_reynolds_30():
    np.testing.assert_allclose(growth_rate(30.0, 3), 0.583, rtol=0.05)


@pytest.mark.slow
def test_stability_threshold():
    """The laminar profile loses stability at Re = 17.84 (1/ν), to the longest wave in the box."""
    low, high = (growth_rate(17.84 * f, 1) for f in (0.97, 1.03))
    assert low < 0 < high
    zero = 17.84 * (0.97 - 0.06 * low / (high - low))
    np.testing.assert_allclose(zero, 17.84, rtol=0.03)


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (2, 8)}, "shape="),
        ({"dt": 0.0}, "dt=0.0"),
        ({"spacing": -1.0}, "spacing=-1.0"),
        ({"substeps": 0}, "substeps=0"),
        ({"sweeps": 0}, "sweeps=0"),
        ({"scheme": "upwind"}, "scheme='upwind' is unknown; allowed: midpoint, piso"),
        ({"scheme": "midpoint", "sweeps": 1, "correctors": 1}, "midpoint needs 3 in all"),
        ({"refinement": 3}, "does not down-sample by refinement=3"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Incompressible(**{"shape": (8, 8), "spacing": 0.1, "dt": 0.1, **options})


@pytest.mark.parametrize("value", [0.0, -5.0, float("nan")])
def test_reynolds_number_that_is_not_positive(value):
    with pytest.raises(InputError, match="reynolds=.* must be positive"):
        kolmogorov.solver().bind({"reynolds": tf.constant([300.0, value])})
    with pytest.raises(InputError, match="outside the allowed range"):
        systems.get("kolmogorov").check_params({"reynolds": [value]})


def test_too_long_a_step_names_the_largest_stable_one(state):
    flow = kolmogorov.solver()
    fast = 10 * state
    limit = flow.stable_dt(fast, REYNOLDS).min()
    with pytest.raises(InputError, match=f"dt=0.02 is beyond.*reynolds=.*cells: {limit:.3g}"):
        flow.check_stable(fast, np.array(REYNOLDS))
    box(32, 1.19 * limit).check_stable(fast, np.array(REYNOLDS))  # passing speeds: docs/design.md
    with pytest.raises(InputError, match="is beyond the stable limit"):
        box(32, 1.21 * limit).check_stable(fast, np.array(REYNOLDS))
    with pytest.raises(InputError, match=r"dt=0.04 is beyond.*largest stable dt .* is 0.0218"):
        kolmogorov.solver(32, 0.04)


def test_sweeps_contract_below_the_stable_limit_and_not_above():
    """Uniform flow with noise: what a sweep changes shrinks by (|u| + |v|)/h / A_P each time.

    That is |H| / A_P of the mode whose phase is π/2 along both axes.
    """
    n, reynolds, speed = 16, 50.0, 1.5
    h, friction = 2 * np.pi / n, 4 / (reynolds * (2 * np.pi / n) ** 2)
    state = 1e-6 * np.random.default_rng(0).normal(size=(1, n, n, 3))
    state[..., :2] += speed
    limit = 1 / (2 * speed / h - friction)
    np.testing.assert_allclose(box(n, 0.1).stable_dt(state, [reynolds]), limit, rtol=1e-4)
    for dt in (0.9 * limit, 1.1 * limit):

        def swept(sweeps, dt=dt):
            step = box(n, dt, sweeps=sweeps).bind({"reynolds": tf.constant([reynolds], tf.float64)})
            return step(tf.constant(state)).numpy()[..., :2]

        first, second, third = swept(40), swept(80), swept(120)
        factor = (np.abs(third - second).max() / np.abs(second - first).max()) ** (1 / 40)
        np.testing.assert_allclose(factor, 2 * speed / h / (1 / dt + friction), rtol=0.01)
        assert (factor < 1) == (dt < limit)


def test_other_dt_and_grids():
    with pytest.raises(InputError, match="points=48 does not down-sample to 32"):
        kolmogorov.solver(48)
    with pytest.raises(InputError, match="dt=0.003 must divide the frame"):
        kolmogorov.solver(64, 0.003)


@pytest.mark.parametrize("shape", [(1, 32, 31, 3), (1, 32, 32, 2), (32, 32, 3)])
def test_bad_state(shape):
    step = kolmogorov.solver().bind({"reynolds": tf.constant([300.0])})
    with pytest.raises(ValueError, match=r"\[batch, \*space, channel\]"):
        step(tf.zeros(shape))
