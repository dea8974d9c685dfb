"""Metrics against values by hand; a perfect rollout is zero, a wild one inf, none is NaN."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from tfunroll import metrics
from tfunroll.core import InputError
from tfunroll.metrics import StaggeredGrid, errors

GRID = StaggeredGrid(0.5)
FIELDS = {n: m for n, m in metrics.METRICS.items() if not {"forces", "observed"} & {*m.needs}}

pytestmark = pytest.mark.filterwarnings("error")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", FIELDS)
def test_a_perfect_rollout_scores_zero_or_the_whole_horizon(name):
    r = random(3, 20, 8, 8, 2)
    values, status = metrics.compute(name, r, r, 12, stepped=r, grid=GRID)
    if name == "rms_divergence":
        assert (values > 0).all()  # of the rollout alone; its reference plays no part
    elif name == "vorticity_correlation":
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
    assert errors.mse(u, r).shape == errors.correlation(u, r).shape == (2, 3)


def test_only_the_short_horizon_enters_the_relative_error():
    r = random(1, 20, 8, 1)
    u = r.copy()
    u[:, 12:] += 1
    assert metrics.compute("relative_error", u, r, 12)[0] == 0
    assert metrics.compute("relative_error", u, r, 13)[0] > 0


def test_correlation_is_pearsons():
    u, r = random(2, 3, 16, 1), random(2, 3, 16, 1, seed=1)
    wanted = [[pearsonr(u[i, j].ravel(), r[i, j].ravel())[0] for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(errors.correlation(u, r), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("low", "time", "censored"),
    [
        (range(3, 9), 4, False),  # six frames, 0-based 3 to 8: more than five
        (range(3, 8), 20, True),  # five are not enough
        ([*range(2, 7), *range(9, 20)], 10, False),
        (range(15, 20), 20, True),  # cut off by the horizon
    ],
)
def test_correlation_time_needs_a_run_of_more_than_five(low, time, censored):
    r = random(1, 20, 32, 1)
    u = r.copy()
    u[:, list(low)] *= -1
    values, flags = errors.correlation_time(u, r)
    assert (values[0], flags[0]) == (time, censored)


def test_divergence_time_and_labels():
    r = random(3, 16, 32, 1)
    u = r.copy()
    u[0, 6:] *= 100  # unstable from frame 7 on
    u[1, 5:] = u[1, 5]  # static
    values, censored = errors.divergence_time(u, r)
    np.testing.assert_array_equal(values, [7, 16, 16])
    np.testing.assert_array_equal(censored, [False, True, True])
    assert list(metrics.stability_label(u, r)) == ["unstable", "static", "regular"]
    steady = np.repeat(r[:, :1], 16, axis=1)
    assert set(metrics.stability_label(steady, steady)) == {"regular"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 1e200])
def test_blown_up_rollouts_are_inf_from_there_on_and_never_nan(bad):
    r = random(2, 20, 8, 8, 2).astype(np.float64)
    u = r.copy()
    u[0, 4, 2, 3, 1] = bad
    for name, metric in FIELDS.items():
        values, status = metrics.compute(name, u, r, 12, stepped=u, grid=GRID)
        assert not np.isnan(values).any()
        assert np.all(status[1] != "diverged")
        if name == "vorticity_correlation":
            assert (values[0, :4] == 1).all()
            assert abs(values[0, 4]) < 0.5
        elif metric.kind == "frame":
            assert np.isfinite(values[0, :4]).all()
            assert np.isinf(values[0, 4:]).all()
            assert list(status[0]) == ["ok"] * 4 + ["diverged"] * 16
        elif metric.kind == "rollout":
            assert values[0] == np.inf
            assert status[0] == "diverged"
    assert errors.divergence_time(u, r)[0][0] == 5


def test_a_large_but_finite_error_diverges_above_a_thousand():
    r = np.ones((2, 1, 4, 1))
    u = r + np.sqrt([999.0, 1001.0]).reshape(2, 1, 1, 1)
    values, status = metrics.compute("relative_error", u, r, 1)
    assert list(status) == ["ok", "diverged"]
    np.testing.assert_allclose(values, [999.0, np.inf])


def test_a_reference_of_zeros_gives_no_nan():
    r = np.zeros((1, 8, 4, 1))
    assert errors.relative_error(r, r) == 0
    assert errors.relative_error(r + 1, r) == np.inf


def test_an_unknown_metric_is_named():
    with pytest.raises(InputError, match=r"metrics='speed' is unknown; allowed: .*nrmse"):
        metrics.check_metrics(["nrmse", "speed"])
