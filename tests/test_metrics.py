"""Metrics against values by hand; a perfect rollout is zero, a wild one inf, none is NaN."""

import numpy as np
import pytest

from tfunroll import metrics
from tfunroll.core import InputError
from tfunroll.metrics import StaggeredGrid, errors

GRID = StaggeredGrid(0.5)
FIELDS = {
    n: m for n, m in metrics.METRICS.items() if not {"forces", "observed", "members"} & {*m.needs}
}

pytestmark = pytest.mark.filterwarnings("error")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", FIELDS)
def test_a_perfect_rollout_scores_zero_or_the_whole_horizon(name):
    r = random(3, 20, 8, 8, 2)
    values, status = metrics.compute(name, r, r, 12, stepped=r, grid=GRID, coarse=1.1 * r)
    if name == "rms_divergence":
        assert (values > 0).all()  # of the rollout alone; its reference plays no part
    elif name in ("vorticity_correlation", "gap_closed"):
        np.testing.assert_array_equal(values, 1)
    elif name in ("kinetic_energy", "enstrophy"):
        assert np.ptp(values) > 0
    elif metrics.METRICS[name].kind == "time":
        assert (values == 20).all()
        assert (status == "censored").all()
    else:
        assert (values == 0).all()
        assert (status == "ok").all()


def test_hand_computed_values():
    r = np.array([[[[1.0], [3.0]], [[-4.0], [0.0]]]])  # one sample, two frames, two points
    u = r + np.array([[[[1.0], [0.0]], [[0.0], [2.0]]]])
    np.testing.assert_allclose(errors.relative_error(u, r), [(1 + 4) / 4 / 16])
    np.testing.assert_allclose(errors.mse(u, r), [[0.5, 2.0]])
    rms = np.sqrt((1 + 9 + 16) / 4)
    np.testing.assert_allclose(errors.nrmse(u, r), [[np.sqrt(0.5) / rms, np.sqrt(2) / rms]])
    np.testing.assert_allclose(errors.energy(u), [[(4 + 9) / 4, (16 + 4) / 4]])
    np.testing.assert_allclose(errors.physics_residual(u, r, u + 3), [[9.0, 9.0]])


def test_two_dimensional_states_with_channels():
    r, u = random(2, 3, 4, 5, 2), random(2, 3, 4, 5, 2, seed=1)
    wanted = ((u - r).astype(float) ** 2).reshape(2, -1).mean(1)
    wanted /= (r.astype(float) ** 2).reshape(2, -1).max(1)
    np.testing.assert_allclose(errors.relative_error(u, r), wanted)
    assert errors.mse(u, r).shape == metrics.correlation.correlation(u, r).shape == (2, 3)


def test_only_the_short_horizon_enters_the_relative_error():
    r = random(1, 20, 8, 1)
    u = r.copy()
    u[:, 12:] += 1
    assert metrics.compute("relative_error", u, r, 12)[0] == 0
    assert metrics.compute("relative_error", u, r, 13)[0] > 0


def test_divergence_is_leaving_the_range_of_the_reference():
    """By more than half of it, in one value of one channel; what comes back has diverged still."""
    r = random(4, 16, 32, 2)
    u = r.copy()
    high, low = r.max((1, 2)), r.min((1, 2))
    size = high - low
    u[0, 6, 3, 1] = high[0, 1] + 0.51 * size[0, 1]
    u[1, 6, 3, 1] = high[1, 1] + 0.49 * size[1, 1]
    u[2, 9, 0, 0] = low[2, 0] - 0.51 * size[2, 0]
    u[3, 15, 0, 0] = np.nan
    lost = metrics.diverged(u, r)
    np.testing.assert_array_equal(lost.argmax(1), [6, 0, 9, 15])
    np.testing.assert_array_equal(lost.sum(1), [10, 0, 7, 1])
    values, censored = errors.divergence_time(u, r)
    np.testing.assert_array_equal(values, [7, 16, 10, 16])
    np.testing.assert_array_equal(censored, [False, True, False, False])
    assert list(metrics.stability_label(u, r)) == ["unstable", "regular", "unstable", "unstable"]


def test_the_scale_of_a_channel_does_not_matter_nor_do_rounding_errors_of_a_still_one():
    r = random(2, 8, 16, 3).astype(np.float64)
    r[..., 2] = 1e-12 * r[..., 0]  # such as the flow across one that is symmetric
    scale, shift = np.array([10.0, 0.1, 1.0]), np.array([300.0, -7.0, 0.0])
    u = r + 0.1
    assert not metrics.diverged(r + 1e-4, r).any()
    for more in (0.0, 9.0):
        u[..., 1] = r[..., 1] + more
        u[..., 2] = r[..., 2]
        assert metrics.diverged(u, r).any() == (more > 0)
    u[..., 2] = r[..., 2]
    for name in (0, 1):
        a, b = u.copy(), r.copy()
        a[..., 1 - name] = b[..., 1 - name]
        lost = metrics.diverged(a[..., :2], b[..., :2])
        again = metrics.diverged(*(x[..., :2] * scale[:2] + shift[:2] for x in (a, b)))
        np.testing.assert_array_equal(lost, again)


def test_labels():
    r = random(2, 16, 32, 1)
    u = r.copy()
    u[1, 5:] = u[1, 5]  # static
    assert list(metrics.stability_label(u, r)) == ["regular", "static"]
    steady = np.repeat(r[:, :1], 16, axis=1)
    assert set(metrics.stability_label(steady, steady)) == {"regular"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 1e200])
def test_a_diverged_rollout_scores_as_badly_as_one_can_and_is_never_nan(bad):
    r = random(2, 20, 8, 8, 2).astype(np.float64)
    low, high = r[0].min((0, 1, 2)), r[0].max((0, 1, 2))
    edge = 0.499 * (high - low)
    worst = r.copy()  # within its limits, as far from the reference as they allow
    worst[0, 4:] = np.where(high - r[0, 4:] > r[0, 4:] - low, high + edge, low - edge)
    u = r.copy()
    u[0, 4, 2, 3, 1] = bad  # and the reference again afterwards
    assert not metrics.diverged(worst, r).any()
    for name, metric in FIELDS.items():
        values, status = metrics.compute(name, u, r, 12, stepped=u, grid=GRID, coarse=1.1 * r)
        assert np.isfinite(values).all()
        assert np.all(status[1] != "diverged")
        if metric.kind == "frame":
            assert list(status[0]) == ["ok"] * 4 + ["diverged"] * 16
        else:
            assert status[0] == "diverged"
        if name in ("relative_error", "rollout_mse", "mse", "nrmse", "relative_l2"):
            bound, _ = metrics.compute(name, worst, r, 12)
            assert np.all(values[0] >= bound[0])
            assert np.all(values[0] < 1.01 * bound[0] + 1e-12)
        if metric.kind == "time":
            assert values[0] == 5


def test_errors_before_a_divergence_count():
    r = random(2, 20, 8, 1)
    late, later = r.copy(), r.copy()
    late[:, 10:], later[:, 15:] = np.inf, np.inf
    for horizon, status in ((10, "ok"), (11, "diverged"), (20, "diverged")):
        values, got = metrics.compute("relative_error", late, r, horizon)
        assert set(got) == {status}
        assert (values == 0).all() == (status == "ok")
    for name in ("relative_error", "rollout_mse"):
        a, b = (metrics.compute(name, x, r, 20)[0] for x in (late, later))
        assert (a > b).all()
    assert (metrics.compute("relative_error", late, r, 20)[0] <= 9).all()


def test_a_reference_of_zeros_gives_no_nan():
    r = np.zeros((1, 8, 4, 1))
    assert errors.relative_error(r, r) == 0
    assert errors.relative_error(r + 1, r) == np.inf
    assert not metrics.diverged(r, r).any()
    assert metrics.diverged(r + 9, r).all()


def test_an_unknown_metric_is_named():
    with pytest.raises(InputError, match=r"metrics='speed' is unknown; allowed: .*nrmse"):
        metrics.check_metrics(["nrmse", "speed"])


# ---------------------------------------------------------------------- invariances

ERRORS = [n for n in FIELDS if metrics.METRICS[n].error]
ABSOLUTE = ("mse", "mae", "rollout_mse", "physics_residual", "rms_divergence")
RELATIVE = [n for n in ERRORS if n not in ABSOLUTE]


def scores(name, u, r, horizon=12):
    more = {"stepped": np.roll(u, 1, 1), "grid": GRID, "coarse": 1.1 * r}
    return metrics.compute(name, u, r, horizon, **more)[0]


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
@pytest.mark.parametrize("name", [n for n, m in FIELDS.items() if m.kind == "time"] + RELATIVE)
def test_units_do_not_matter(name, factor):
    u, r = random(3, 20, 8, 8, 2).astype(float), random(3, 20, 8, 8, 2, seed=1).astype(float)
    np.testing.assert_allclose(scores(name, factor * u, factor * r), scores(name, u, r), rtol=1e-9)


@pytest.mark.parametrize("name", FIELDS)
def test_samples_do_not_see_each_other(name):
    u, r = random(4, 20, 8, 8, 2), random(4, 20, 8, 8, 2, seed=1)
    u[1, 9:] = np.nan
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(scores(name, u[order], r[order]), scores(name, u, r)[order])
    np.testing.assert_array_equal(scores(name, u[:1], r[:1]), scores(name, u, r)[:1])


@pytest.mark.parametrize("name", [n for n, m in FIELDS.items() if m.kind == "rollout"])
@pytest.mark.parametrize("beyond", [0.0, 1e30, np.nan])
def test_what_lies_beyond_the_horizon_is_not_counted(name, beyond):
    u, r = random(2, 20, 8, 8, 2), random(2, 20, 8, 8, 2, seed=1)
    longer = np.concatenate([u, np.full_like(u[:, :1], beyond)], 1)
    reference = np.concatenate([r, 9 * r[:, :1]], 1)
    np.testing.assert_array_equal(scores(name, longer, reference), scores(name, u, r))


@pytest.mark.parametrize("name", ["mse", "relative_l2", "energy_error", "enstrophy_error"])
def test_a_frame_more_leaves_those_before_as_they_are(name):
    u, r = random(2, 20, 8, 8, 2), random(2, 20, 8, 8, 2, seed=1)
    np.testing.assert_array_equal(scores(name, u, r)[:, :19], scores(name, u[:, :19], r[:, :19]))


def test_gap_closed_is_the_part_of_the_coarse_error_that_is_gone():
    r = random(2, 20, 8, 1)
    wave = np.sin(np.arange(8))[:, None]

    def closed(*sizes):
        u, coarse = (r + size * wave for size in sizes)
        return metrics.compute("gap_closed", u, r, 12, coarse=coarse)[0]

    np.testing.assert_allclose(closed(0.1, 0.2), 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(closed(0.2, 0.2), 0, atol=1e-12)
    np.testing.assert_allclose(closed(0.2, 0.1), -3, rtol=1e-6)
    assert not metrics.is_error("gap_closed")
    late = r.copy()
    late[:, 12:] += 1  # beyond the horizon nothing counts
    np.testing.assert_array_equal(metrics.compute("gap_closed", late, r, 12, coarse=r + 1)[0], 1)


def test_errors_of_modes_have_closed_forms():
    """A reference cos(2x), an error cos(5x + 1) / 10: (1 + 25) / (1 + 4) / 100 in the square."""
    x = 2 * np.pi * np.arange(32)[:, None] / 32
    r = np.broadcast_to(np.cos(2 * x), (1, 4, 32, 1))
    u = r + 0.1 * np.cos(5 * x + 1)
    np.testing.assert_allclose(errors.h1(u, r), np.sqrt(26 / 5) / 10)
    np.testing.assert_allclose(errors.spectral(u, r), 0.1)
    np.testing.assert_allclose(errors.nrmse(u, r), 0.1)
    np.testing.assert_allclose(errors.spectral(np.roll(u, 3, 2), u), 0, atol=1e-15)
    np.testing.assert_allclose(errors.spectral(1.3 * r, r), 0.3)
    two = random(1, 3, 8, 12, 2), random(1, 3, 8, 12, 2, seed=1)
    assert (errors.spectral(*two) < errors.nrmse(*two)).all()
    for name in ("spectral", "h1"):
        with pytest.raises(InputError, match=f"metrics={name} is defined on whole periodic boxes"):
            metrics.check_defined([name], None, periodic=False)
        with pytest.raises(InputError, match="whole periodic boxes"):
            metrics.check_defined([f"{name}@left"], None, ("left",))
