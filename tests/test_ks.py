"""The Kuramoto-Sivashinsky solver: orders, closed forms, budgets, symmetries, gradients, XLA."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.ops.spectral import FFTFourier, MatrixFourier
from tfunroll.solvers.etd import ORDERS
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import repeat, rollout

KS = systems.get("ks")
SIZES = [7.2, 8.0, 9.6]


def bound(solver, sizes=SIZES, dtype=tf.float64):
    return solver.bind({"domain_size": tf.constant(sizes, dtype)})


def smooth(batch=3, points=48, modes=6, dtype=tf.float64):
    """Random periodic states of order one with few modes."""
    rng = np.random.default_rng(5)
    theta = 2 * np.pi * np.arange(points) / points
    n = np.arange(1, modes + 1)[:, None]
    a, b = rng.normal(size=(2, batch, modes)) / modes**0.5
    return tf.constant((a @ np.cos(n * theta) + b @ np.sin(n * theta))[..., None], dtype)


@pytest.fixture(scope="module")
def attractor():
    """States on the attractor for SIZES, 200 frames after the start."""
    state = tf.constant(KS.initial_state({"domain_size": SIZES}, 0))
    roll = tf.function(lambda u: rollout(bound(KS.reference()), u, 200)[:, -1])
    return roll(state)


@pytest.mark.parametrize("scheme", sorted(ORDERS))
def test_order_of_convergence(attractor, scheme):
    def solve(scheme, steps):
        step = bound(KuramotoSivashinsky(48, scheme, 2.0 / steps, substeps=1))
        return tf.function(repeat(step, steps))(attractor)

    fine = solve("etdrk2", 1024)
    errors = np.array([np.abs(solve(scheme, n) - fine).max() for n in (32, 64, 128)])
    rates = np.log2(errors[:-1] / errors[1:])
    assert np.all(rates > ORDERS[scheme] - 0.25), rates
    assert np.all(rates < ORDERS[scheme] + 0.35), rates


@pytest.mark.parametrize("scheme", sorted(ORDERS))
@pytest.mark.parametrize("n", [1, 5, 8, 12])
def test_small_waves_grow_at_the_linear_rate(scheme, n):
    theta = 2 * np.pi * np.arange(48) / 48
    state = tf.constant(np.tile(1e-9 * np.cos(n * theta), (3, 1))[..., None])
    after = bound(KuramotoSivashinsky(48, scheme))(state)
    k = n / np.array(SIZES)
    wanted = np.exp(k**2 - k**4)[:, None, None] * state
    np.testing.assert_allclose(after, wanted, atol=1e-16)


def test_flat_state_is_unstable_beyond_a_domain_of_2_pi():
    sizes = [0.9, 0.99, 1.01, 1.1]
    theta = 2 * np.pi * np.arange(48) / 48
    state = tf.constant(np.tile(1e-6 * np.cos(theta), (4, 1))[..., None])
    after = bound(KuramotoSivashinsky(48), sizes)(state)
    growth = np.abs(after).max((1, 2)) / np.abs(state).max((1, 2))
    np.testing.assert_array_equal(growth > 1, [False, False, True, True])


@pytest.mark.parametrize("scheme", sorted(ORDERS))
def test_mean_is_conserved(scheme):
    state = smooth() + 0.3
    after = bound(KuramotoSivashinsky(48, scheme, 0.1, 5))(state)
    np.testing.assert_allclose(tf.reduce_mean(after, 1), tf.reduce_mean(state, 1), atol=1e-15)
    assert np.abs(after - state).max() > 0.01


def test_energy_budget():
    """d/dt ½<u²> = <u_x²> − <u_xx²>: the nonlinear term neither makes nor takes energy."""
    dt = 1e-5

    def energy(u):
        return 0.5 * np.mean(u.numpy() ** 2, (1, 2))

    def budget(u):
        ik = 1j * np.arange(25) / np.array(SIZES)[:, None]
        u_hat = np.fft.rfft(u.numpy()[..., 0])
        u_x, u_xx = np.fft.irfft(ik * u_hat), np.fft.irfft(ik**2 * u_hat)
        return np.mean(u_x**2 - u_xx**2, 1)

    before = 3 * smooth()
    after = bound(KuramotoSivashinsky(48, "etdrk2", dt, 1))(before)
    got = (energy(after) - energy(before)) / dt
    np.testing.assert_allclose(got, (budget(before) + budget(after)) / 2, rtol=1e-5)
    assert np.abs(got).min() > 0.01


def test_translation_equivariance():
    step, state = bound(KS.reference()), smooth()
    np.testing.assert_allclose(
        step(tf.roll(state, 7, 1)), tf.roll(step(state), 7, 1), rtol=0, atol=1e-13
    )


def test_reflection_symmetry():
    step, state = bound(KS.reference()), smooth()
    np.testing.assert_allclose(step(-state[:, ::-1]), -step(state)[:, ::-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("points", [48, 256])
def test_both_bases_give_the_same_step(points):
    matrix, fft = KuramotoSivashinsky(points), KuramotoSivashinsky(points)
    matrix._basis, fft._basis = MatrixFourier(points), FFTFourier(points)
    state = smooth(points=points)
    np.testing.assert_allclose(bound(matrix)(state), bound(fft)(state), atol=1e-12)
    # one domain size for all samples has operators of its own
    shared = bound(matrix, [8.0])(state)
    np.testing.assert_allclose(shared, bound(matrix, [8.0] * len(SIZES))(state), atol=1e-12)


@pytest.mark.parametrize("scheme", sorted(ORDERS))
def test_float32_is_close_to_float64(scheme):
    solver = KuramotoSivashinsky(48, scheme)
    double = bound(solver)(smooth())
    single = bound(solver, dtype=tf.float32)(smooth(dtype=tf.float32))
    assert single.dtype == tf.float32
    assert double.dtype == tf.float64
    np.testing.assert_allclose(single, double, atol=3e-6)


def test_fraction_integrates_part_of_the_frame():
    part = KuramotoSivashinsky(48, "etdrk2", fraction=0.4)
    assert part.frame_time == 1.0
    whole = KuramotoSivashinsky(48, "etdrk2", dt=0.2)
    np.testing.assert_allclose(bound(part)(smooth()), bound(whole)(smooth()), atol=1e-14)


def three_steps(solver, weight):
    """A scalar of (state, domain_size): what the gradient tests differentiate."""

    def value(state, size):
        step = solver.bind({"domain_size": size})
        return tf.reduce_sum(weight * step(step(step(state))))

    return value


@pytest.mark.parametrize(("scheme", "points"), [("etd1", 48), ("etdrk2", 48), ("etdrk2", 256)])
def test_gradient_equals_finite_differences(scheme, points):
    state, size = smooth(points=points), tf.constant(SIZES, tf.float64)
    weight = smooth(points=points) ** 2
    value = tf.function(three_steps(KuramotoSivashinsky(points, scheme, dt=0.1), weight))
    with tf.GradientTape() as tape:
        tape.watch([state, size])
        out = value(state, size)
    to_state, to_size = tape.gradient(out, [state, size])
    rng, h = np.random.default_rng(1), 1e-5
    for _ in range(2):
        direction = tf.constant(rng.normal(size=state.shape))
        difference = (value(state + h * direction, size) - value(state - h * direction, size)) / 2
        np.testing.assert_allclose(tf.reduce_sum(to_state * direction), difference / h, rtol=1e-6)
    for i in range(3):
        e = tf.one_hot(i, 3, dtype=tf.float64)
        difference = (value(state, size + h * e) - value(state, size - h * e)) / (2 * h)
        np.testing.assert_allclose(to_size[i], difference, rtol=1e-6)


@pytest.mark.parametrize("points", [48, 256])
def test_xla_forward_and_gradient(points):
    value = three_steps(KuramotoSivashinsky(points, substeps=1), smooth(points=points) ** 2)

    def both(state, size):
        with tf.GradientTape() as tape:
            tape.watch([state, size])
            out = value(state, size)
        return out, *tape.gradient(out, [state, size])

    arguments = smooth(points=points), tf.constant(SIZES, tf.float64)
    compiled = tf.function(both, jit_compile=True)(*arguments)
    for a, b in zip(compiled, both(*arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_coarse_solver_is_worse_and_diverges(attractor):
    """ETD1 alone leaves the attractor within tens of frames; the reference stays."""

    def roll(solver, frames):
        return tf.function(lambda u: rollout(bound(solver), u, frames))(attractor).numpy()

    fine, reference = roll(KS.refined(20), 2), roll(KS.reference(), 60)
    coarse = roll(KS.coarse("etd1"), 60)
    error = np.abs(coarse[:, :2] - fine).max((2, 3))
    assert np.all(error > 3 * np.abs(reference[:, :2] - fine).max((2, 3)))
    assert np.abs(reference).max() < 10
    assert np.all(
        ~np.isfinite(coarse[:, -1]).all((1, 2)) | (np.abs(coarse[:, -1]).max((1, 2)) > 1e3)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 47}, "points=47"),
        ({"points": 2}, "points=2"),
        ({"scheme": "etd4"}, "scheme='etd4'"),
        ({"dt": 0.0}, "dt=0.0"),
        ({"substeps": 0}, "substeps=0"),
        ({"fraction": 0.0}, "fraction=0.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        KuramotoSivashinsky(**options)


@pytest.mark.parametrize("shape", [(1, 47, 1), (1, 48, 2), (48, 1)])
def test_bad_state(shape):
    with pytest.raises(ValueError, match=r"\[batch, \*space, channel\]"):
        bound(KS.reference(), [8.0])(tf.zeros(shape, tf.float64))
