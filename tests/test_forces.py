"""Forces, regions and masks: metrics by hand, masked losses and outputs, pictures, mistakes."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import metrics, systems
from tfunroll.core import Domain, InputError
from tfunroll.evaluation.evaluator import Persistence, Settings, evaluate
from tfunroll.metrics import Forces, StaggeredGrid
from tfunroll.metrics.forces import dominant_frequency
from tfunroll.plots.forces import forces as picture
from tfunroll.stepping.features import Features
from tfunroll.stepping.losses import Supervised

DT = 0.05
NAMES = tuple(n for n, m in metrics.METRICS.items() if "forces" in m.needs)
CELLS = np.arange(8)
RIGHT = np.broadcast_to(CELLS >= 4, (8, 8))


def shedding(frequencies, amplitude=0.4, drag=1.3, phase=0.0, frames=500):
    """[sample, frame, 2]"""
    t = DT * np.arange(1, frames + 1)
    lift = [amplitude * np.sin(2 * np.pi * f * t + phase) for f in frequencies]
    drags = [drag + 0.02 * np.cos(4 * np.pi * f * t) for f in frequencies]
    return np.stack([drags, lift], -1)


def value(name, rollout, reference):
    states = np.zeros((*rollout.shape[:2], 1, 1))  # the force alone counts
    return metrics.compute(name, states, states, 1, forces=Forces(rollout, reference, DT))


@pytest.mark.parametrize("frequency", [0.12, 0.165, 0.21, 0.3])
@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_dominant_frequency(frequency, phase):
    for frames, tolerance in ((500, 0.01), (300, 0.04)):
        lift = shedding([frequency], phase=phase, frames=frames)[..., 1]
        np.testing.assert_allclose(dominant_frequency(lift, DT), frequency, rtol=tolerance)


def test_steady_flow_has_no_frequency():
    forces = shedding([0.2, 0.2], amplitude=np.array([1e-3])) + np.array([0, 0.7])
    np.testing.assert_array_equal(value("strouhal", forces, forces)[0], 0)
    np.testing.assert_array_equal(value("phase_error", forces, forces)[0], 0)


def test_a_flow_that_stands_still_loses_a_period_each_period():
    """And rounding of a constant lift is no oscillation."""
    r = shedding([0.2])
    u = r * 0 + 0.7 + 1e-6 * np.random.default_rng(0).normal(size=r.shape)
    periods = 0.2 * DT * np.arange(1, 501)
    np.testing.assert_allclose(value("phase_error", u, r)[0][0], periods, atol=0.1)
    np.testing.assert_array_equal(value("strouhal", u, r)[0], 0)
    np.testing.assert_allclose(value("strouhal_error", u, r)[0], 0.2, atol=2e-3)


def test_a_lift_that_never_crosses_its_mean_twice_has_no_phase():
    rising = shedding([0.2]) * 0 + np.linspace(0, 1, 500)[:, None]
    np.testing.assert_array_equal(value("phase_error", shedding([0.2]), rising)[0], 0)


def test_forces_of_a_state_that_has_blown_up_do_not_count():
    """However fine they look."""
    fine = Forces(shedding([0.2, 0.2]), shedding([0.2, 0.2]), DT)
    r = np.ones((2, 500, 4, 1))
    u = r.copy()
    u[0, 30] = 1e6
    for name in NAMES:
        values, status = metrics.compute(name, u, r, 1, forces=fine)
        assert np.all(status[1] == "ok")
        if metrics.METRICS[name].kind == "frame":
            assert list(status[0]) == ["ok"] * 30 + ["diverged"] * 470
        else:
            assert (values[0], status[0]) == (np.inf, "diverged")


def test_hand_computed_values():
    r, u = shedding([0.2, 0.2]), shedding([0.2, 0.24], amplitude=0.5, drag=1.5)
    np.testing.assert_allclose(value("strouhal_error", u, r)[0], [0, 0.04], atol=2e-3)
    np.testing.assert_allclose(value("drag_error", u, r)[0], 0.2, atol=1e-3)
    np.testing.assert_allclose(value("mean_drag", u, r)[0], 1.5, atol=1e-3)
    np.testing.assert_allclose(value("lift_rms", u, r)[0], 0.5 / np.sqrt(2), atol=5e-3)
    np.testing.assert_allclose(value("lift_rms_error", u, r)[0], 0.1 / np.sqrt(2), atol=5e-3)
    phase = value("phase_error", u, r)[0]
    assert phase.shape == (2, 500)
    assert phase[0].max() < 0.03
    np.testing.assert_allclose(phase[1], 0.04 * DT * np.arange(1, 501), atol=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name):
    r, u = shedding([0.17, 0.2, 0.25]), shedding([0.2, 0.2, 0.2], amplitude=0.6, phase=1.0)
    u[1, 40:] = np.nan
    order = [2, 0, 1]
    whole = value(name, u, r)[0]
    np.testing.assert_array_equal(value(name, u[order], r[order])[0], whole[order])


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_rollout_is_perfect_and_a_wild_one_inf(name):
    r = shedding([0.17, 0.2])
    exact, status = value(name, r, r)
    assert np.all(status == "ok")
    if metrics.METRICS[name].error:
        assert np.all(exact == 0)
    for bad in (np.nan, np.inf):
        u = r.copy()
        u[0, 40:] = bad
        values, status = value(name, u, r)
        assert not np.isnan(values).any()
        assert np.isinf(values[0]).any()
        assert np.all(status[1] == "ok")
        if metrics.METRICS[name].kind == "frame":
            assert np.isfinite(values[0, :40]).all()
            assert np.isinf(values[0, 40:]).all()


# ---------------------------------------------------------------------- regions


def test_a_region_is_a_part_of_space():
    r = np.random.default_rng(0).uniform(-9, 9, (2, 5, 8, 8, 2))
    u = r.copy()
    u[..., 6, :] += 2.0  # one of the four columns on the right
    parts = {"right": (slice(None), slice(None), RIGHT), "left": (slice(None), slice(None), ~RIGHT)}
    for name, wanted in (("mse@right", 1.0), ("mse@left", 0.0)):
        got, _ = metrics.compute(name, u, r, 5, parts=parts)
        np.testing.assert_allclose(got, np.full((2, 5), wanted))
    assert metrics.is_error("mse@right")
    assert not metrics.is_error("mean_drag")


def test_regions_and_forces_that_a_system_does_not_have():
    with pytest.raises(InputError, match="metrics=mse@top: region='top' is unknown.* left, right"):
        metrics.check_defined(["mse@top"], None, ("left", "right"))
    with pytest.raises(InputError, match="enstrophy needs all of space"):
        metrics.check_defined(["enstrophy@left"], StaggeredGrid(1.0), ("left",))
    with pytest.raises(InputError, match="metrics=strouhal is defined for systems with a body"):
        metrics.check_defined(["strouhal"], None)


# ---------------------------------------------------------------------- masks


def test_the_loss_counts_where_channels_live():
    active = np.zeros((4, 4, 3), bool)
    active[1:3, :, :2] = True
    a, b = np.zeros((2, 4, 4, 3)), np.ones((2, 4, 4, 3))
    b[:, 1, :, 0] = 3.0
    b[:, 0] = np.nan  # outside
    loss = Supervised(2, active).bind({})(0, None, tf.constant(a), tf.constant(b))
    np.testing.assert_allclose(loss, [(4 * 9 + 12 * 1) / 16] * 2)


def test_increments_are_zero_where_nothing_lives():
    active = np.random.default_rng(0).uniform(size=(4, 5, 3)) > 0.5
    features = Features({"reynolds": 0.001}, 3, 2, active=active)
    again = Features.from_json(json.loads(json.dumps(features.to_json())))
    for each in (features, again):
        got = each.increment(tf.ones([2, 4, 5, 2]), tf.float32).numpy()
        np.testing.assert_array_equal(got[0, ..., :2], active[..., :2])
        np.testing.assert_array_equal(got[..., 2], 0)


def box(**changes):
    mask = np.ones((8, 8), bool)
    mask[3:5, 3:5] = False
    return dataclasses.replace(
        systems.get("kolmogorov"),
        domain=Domain((8, 8), (("replicate",) * 2,) * 2, mask=mask),
        flow=StaggeredGrid(1.0, (False, False)),
        **{"active": np.repeat(mask[..., None], 3, -1), **changes},
    )


def test_inconsistent_masks():
    box()
    with pytest.raises(InputError, match="active is True in cells that domain.mask leaves"):
        box(active=np.ones((8, 8, 3), bool))
    with pytest.raises(InputError, match=r"active must be \(8, 8, 3\) of bool"):
        box(active=np.ones((8, 8), bool))
    with pytest.raises(InputError, match=r"regions\['near'\] must be \(8, 8\) of bool"):
        box(regions={"near": np.zeros((8, 8), bool)})


# ---------------------------------------------------------------------- evaluation, any system


def test_evaluation_measures_forces_and_regions():
    """Of a system whose forces are means of two channels."""
    calls = []

    def forces(states, params):
        calls.append(params["reynolds"])
        return states.mean((2, 3))[..., :2]

    system = box(forces=forces, regions={"right": RIGHT})
    states = np.random.default_rng(1).normal(size=(2, 60, 8, 8, 3)).astype(np.float32)
    params = {"reynolds": np.array([100.0, 200.0], np.float32)}
    split = SimpleNamespace(states=states, params=params, ids=("a", "b"), diagnostics={})
    dataset = SimpleNamespace(name="own", config="x", splits={"test_interpolation": split})
    labels = dict.fromkeys(("run_id", "mode", "correction", "net", "modality"), "x")
    settings = Settings(5, 50, 2, ("mean_drag", "mse@right", "nrmse"), ("test_interpolation",))
    evaluation = evaluate(
        Persistence(), system, dataset, settings, {**labels, "steps": 1, "seed": 0}
    )
    table = evaluation.results
    got = table[table["metric"] == "mean_drag"]["value"].to_numpy(float)
    starts = np.concatenate([states[:, s] for s in (0, 9)])
    np.testing.assert_allclose(got, starts.mean((1, 2))[..., 0], rtol=1e-4)
    assert (table["metric"] == "mse@right").sum() == 4 * (5 + 5)
    assert len(calls) == 2
    samples = evaluation.samples
    assert samples["reference_forces"].shape == samples["prediction_forces"].shape
    figure = picture({"ONE": samples}, system)
    assert len(figure.axes) == 2 * len(set(samples["physics"]))
