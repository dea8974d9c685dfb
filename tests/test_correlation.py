"""Correlation of fluctuations: by hand, of impostors, of steady flows and of what blew up."""

import numpy as np
import pytest

from tfunroll import metrics
from tfunroll.metrics.correlation import (
    CORRELATION_THRESHOLD,
    STEADY,
    correlation,
    correlation_time,
)

pytestmark = pytest.mark.filterwarnings("error")

FRAMES, POINTS = 40, 64
X = 2 * np.pi * np.arange(POINTS) / POINTS
T = 2 * np.pi * np.arange(FRAMES)[:, None] / 20  # two periods


def stream(amplitude=0.01, phase=0.0):
    """Waves that travel over a strong mean flow, in channels of very different units.

    [1, frame, x, (density, u, v, p)]
    """
    mean = 1 + 0.1 * np.exp(-((X - np.pi) ** 2))
    waves = [np.cos(k * X - T - phase) for k in (1, 2, 3, 2)]
    channels = [mean + amplitude * wave for wave in waves]
    return np.stack([c * unit for c, unit in zip(channels, (1, 1, 1e-3, 1e5), strict=True)], -1)[
        None
    ]


def repeated(state, r):
    return np.broadcast_to(state, r.shape)


def test_it_is_the_mean_over_channels_of_the_correlation_of_fluctuations():
    rng = np.random.default_rng(0)
    u, r = rng.normal(size=(2, 3, 7, 16, 2))
    mean = r.mean(1, keepdims=True)
    wanted = [
        [
            np.mean(
                [
                    a[:, c] @ b[:, c] / np.sqrt(a[:, c] @ a[:, c] * (b[:, c] @ b[:, c]))
                    for c in (0, 1)
                ]
            )
            for a, b in zip(us, rs, strict=True)
        ]
        for us, rs in zip(u - mean, r - mean, strict=True)
    ]
    np.testing.assert_allclose(correlation(u, r), wanted)


def test_the_mean_flow_is_no_merit():
    """Plain correlation of these fields, all channels at once, is beyond 0.99."""
    r = stream()
    cells = np.random.default_rng(0).permutation(POINTS)
    for u in (
        repeated(r.mean(1, keepdims=True), r),
        repeated(r.mean((1, 2), keepdims=True), r),
        r[:, :, cells],
    ):
        assert np.corrcoef(u[0, 0].ravel(), r[0, 0].ravel())[0, 1] > 0.99
        assert np.abs(correlation(u, r)).max() < CORRELATION_THRESHOLD
        assert correlation_time(u, r)[0] == 1
    assert (correlation(r, r) == 1).all()


@pytest.mark.parametrize("phase", [0.3, 1.0, 2.0, 3.0])
def test_a_wave_out_of_phase_correlates_by_the_cosine(phase):
    np.testing.assert_allclose(correlation(stream(phase=phase), stream()), np.cos(phase), rtol=1e-6)


def test_half_correlated_is_as_far_from_the_reference_as_its_mean():
    """What the default threshold means."""
    r, u = stream(), stream(phase=np.pi / 3)
    np.testing.assert_allclose(correlation(u, r), CORRELATION_THRESHOLD, rtol=1e-6)
    mean = repeated(r.mean(1, keepdims=True), r)
    np.testing.assert_allclose(metrics.errors.mse(u, r), metrics.errors.mse(mean, r), rtol=1e-6)


def test_channels_in_other_units_and_samples_in_another_order_count_alike():
    rng = np.random.default_rng(1)
    u, r = rng.normal(size=(2, 3, 9, 16, 2)) + 5
    units, offsets = np.array([1e-6, 1e7]), np.array([3e-6, -2e7])
    np.testing.assert_allclose(
        correlation(u * units + offsets, r * units + offsets), correlation(u, r)
    )
    np.testing.assert_array_equal(correlation(u[::-1], r[::-1]), correlation(u, r)[::-1])


def test_a_channel_that_never_moves_does_not_count():
    r = stream()
    ground = np.linspace(0, 3, POINTS)
    rng = np.random.default_rng(0)
    steady = ground + 1e-7 * rng.normal(size=r.shape[:-1])  # but for rounding
    both = np.concatenate([r, steady[..., None]], -1)
    u = np.concatenate([stream(phase=1.0), repeated(ground[:, None], r[..., :1])], -1)
    np.testing.assert_allclose(correlation(u, both), np.cos(1.0), rtol=1e-6)
    mean = repeated(both.mean(1, keepdims=True), both)
    np.testing.assert_array_equal(correlation(mean, both), 0)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_of_a_steady_reference_it_says_whether_a_rollout_stays_there(noise):
    state = stream()[:, :1]
    spread = state.std((1, 2))
    rng = np.random.default_rng(0)

    def shaken(size):
        """Off by so many spreads of each channel."""
        return repeated(state, stream()) + size * spread * rng.normal(size=(1, FRAMES, POINTS, 4))

    r = shaken(noise)
    np.testing.assert_array_equal(correlation(shaken(0.3 * STEADY), r), 1)
    np.testing.assert_array_equal(correlation(shaken(3 * STEADY), r), 0)
    assert correlation_time(shaken(0.3 * STEADY), r)[1].all()
    uniform = repeated(state.mean(2, keepdims=True), r)
    assert correlation_time(uniform, r)[0] == 1


def test_constant_references():
    zero, one = np.zeros((1, 8, 4, 1)), np.ones((1, 8, 4, 1))
    assert (correlation(zero, zero) == 1).all()
    assert (correlation(one, zero) == 0).all()
    assert (correlation(one + 1e-7, one) == 1).all()  # rounding
    assert (correlation(one + 1e-2, one) == 0).all()
    assert correlation(one[:, :1], one[:, :1]) == 1  # a single frame is its own mean
    assert correlation(zero[:, :1], one[:, :1]) == 0


@pytest.mark.parametrize(
    ("low", "time", "censored"),
    [
        (range(3, 9), 4, False),  # six frames, 0-based 3 to 8: more than five
        (range(3, 8), 20, True),  # five are not enough
        ([*range(2, 7), *range(9, 20)], 10, False),
        (range(15, 20), 20, True),  # cut off by the horizon
    ],
)
def test_the_time_needs_a_run_of_more_than_five(low, time, censored):
    r = np.random.default_rng(0).normal(size=(1, 20, 32, 1))
    mean, low = r.mean(1, keepdims=True), list(low)
    u = r.copy()
    u[:, low] = (2 * mean - r)[:, low]
    values, flags = correlation_time(u, r)
    assert (values[0], flags[0]) == (time, censored)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("at", [0, 10, 17, 19])
def test_what_is_not_finite_is_uncorrelated_to_the_end(bad, at):
    r = np.random.default_rng(0).normal(size=(2, 20, 8, 2))
    u = r.copy()
    u[0, at, 3, 1] = bad
    values = correlation(u, r)
    np.testing.assert_array_equal(values[0], np.arange(20) < at)
    np.testing.assert_array_equal(values[1], 1)
    times, censored = correlation_time(u, r)
    np.testing.assert_array_equal(times, [at + 1, 20])
    np.testing.assert_array_equal(censored, [False, True])


def test_short_rollouts_have_a_time():
    r = np.random.default_rng(0).normal(size=(2, 3, 8, 1))
    u = np.stack([r[0], np.full_like(r[1], np.nan)])
    times, censored = correlation_time(u, r)
    np.testing.assert_array_equal(times, [3, 1])
    np.testing.assert_array_equal(censored, [True, False])
