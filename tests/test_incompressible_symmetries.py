"""The PISO solver in a periodic box: symmetries, batches, precision, gradients, XLA."""

import numpy as np
import pytest
import tensorflow as tf
from flows import REYNOLDS, UNFORCED, box, check_gradients, run, turbulent

from tfunroll.systems import kolmogorov

FORCED = kolmogorov.solver()


@pytest.fixture(scope="module")
def state():
    return turbulent()


# ---------------------------------------------------------------------- symmetries and batches


def test_translation_equivariance(state):
    shift = (5, 7)
    before = run(UNFORCED, np.roll(state, shift, (1, 2)), REYNOLDS, 2)
    np.testing.assert_allclose(
        before, np.roll(run(UNFORCED, state, REYNOLDS, 2), shift, (1, 2)), atol=1e-12
    )


def test_translation_equivariance_of_the_forced_flow(state):
    """The force allows any shift along x, and along y by its period: 128 / 6 is no whole number of
    cells, but half the box (3 periods) is."""
    forced, shift = FORCED, (16, 5)
    moved = run(forced, np.roll(state, shift, (1, 2)), REYNOLDS, 2)
    np.testing.assert_allclose(
        moved, np.roll(run(forced, state, REYNOLDS, 2), shift, (1, 2)), atol=1e-12
    )
    broken = run(forced, np.roll(state, (3, 0), (1, 2)), REYNOLDS, 2)
    assert np.abs(broken - np.roll(run(forced, state, REYNOLDS, 2), (3, 0), (1, 2))).max() > 1e-3


def rotated(state):
    """By 180 degrees, (x, y) → (−x, −y): faces change sides, so u and v move by one cell."""
    u, v, p = (state[:, ::-1, ::-1, c] for c in range(3))
    return np.stack([-np.roll(u, -1, 2), -np.roll(v, -1, 1), p], -1)


def mirrored(state):
    """x → −x."""
    u, v, p = (state[:, :, ::-1, c] for c in range(3))
    return np.stack([-np.roll(u, -1, 2), v, p], -1)


@pytest.mark.parametrize("flip", [mirrored, rotated])
def test_reflection_equivariance(state, flip):
    after = run(UNFORCED, flip(state), REYNOLDS, 2)
    np.testing.assert_allclose(after, flip(run(UNFORCED, state, REYNOLDS, 2)), atol=1e-12)


def test_rotation_by_180_degrees_of_the_forced_flow(state):
    """sin(6y) is odd, so the force turns into itself."""
    forced = FORCED
    after = run(forced, rotated(state), REYNOLDS, 2)
    np.testing.assert_allclose(after, rotated(run(forced, state, REYNOLDS, 2)), atol=1e-12)


def test_float32_is_close_to_float64(state):
    step = kolmogorov.solver().bind({"reynolds": tf.constant(REYNOLDS)})
    single = step(tf.constant(state, tf.float32))
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, run(kolmogorov.solver(), state, REYNOLDS, 1), atol=2e-5)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("substeps", "jit", "scheme"),
    [
        (1, True, "piso"),
        (2, False, "piso"),
        pytest.param(2, True, "midpoint", marks=pytest.mark.slow),
    ],
)
def test_gradients_equal_finite_differences(substeps, jit, scheme):
    """With respect to state, viscosity and forcing, through two frames."""
    n = 8
    rng = np.random.default_rng(3)
    flow = box(n, 0.05, substeps=substeps, sweeps=3, scheme=scheme)
    weight = rng.normal(size=(2, n, n, 3))

    @tf.function(jit_compile=jit, autograph=False)
    def value(state, viscosity, forcing):
        step = flow.step_of(viscosity, forcing)
        return tf.reduce_sum(weight * step(step(state)) ** 2)

    point = [
        rng.normal(size=(2, n, n, 3)),
        rng.uniform(0.01, 0.1, 2),
        rng.normal(size=(1, n, n, 2)),
    ]
    check_gradients(value, point, rng, rtol=1e-6)
