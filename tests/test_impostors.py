"""What the metrics can tell: every metric of every system against rollouts that are no reference.

KS, Kolmogorov flow, the wake and Burgers' equation are stepped by a solver of theirs. The averaged
grid of the aerofoil sheds nothing by itself, so its trajectory is written down: a stream with a
wake, a train of vortices that grows downstream and the pressure beside the body that goes with it,
of the sizes that the dataset has (fluctuations of a tenth to a half of a channel's spread). The
slow test takes the datasets' own.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import data, metrics, systems
from tfunroll.core import InputError
from tfunroll.metrics.correlation import CORRELATION_THRESHOLD
from tfunroll.stepping.unrolling import repeat, rollout
from tfunroll.systems import aerofoil
from tfunroll.validation import impostors

ROOT = Path(__file__).parent.parent
BURGERS = f"{ROOT / 'examples' / 'burgers_numpy.py'}:SYSTEM"
NAMES = (*systems.MODULES, BURGERS)
# Of the solver that steps it: parameters, frames before the first, frames.
STEPPED = {
    "ks": ({"domain_size": [7.44, 7.44, 9.2, 9.2]}, 60, 160),
    "kolmogorov": ({"reynolds": [600.0, 600.0]}, 500, 280),
    "wake": ({"reynolds": [150.0]}, 700, 240),
    BURGERS: ({"viscosity": [0.05, 0.05]}, 0, 80),
}


def stepped(system, params, before, frames):
    flow = system.flow is not None  # whose reference is expensive
    solver = system.coarse() if flow else system.reference()

    @tf.function(jit_compile=solver.compilable, autograph=False)
    def run(state, params):
        step = solver.bind(params)
        return rollout(step, repeat(step, before)(state) if before else state, frames)

    params = {name: np.array(values, np.float32) for name, values in params.items()}
    start = tf.constant(system.initial_state(params, 0), tf.float32)
    return run(start, {n: tf.constant(p) for n, p in params.items()}).numpy(), params


def shedding_aerofoil(frames=210, frequency=0.9):
    """[1, frame, j, i, (density, u, v, p)] and its parameters; a period is 22 frames."""
    params = {"mach": 0.6, "reynolds": 1e4, "incidence": 8.0}
    params = {name: np.array([value], np.float32) for name, value in params.items()}
    x, y = np.moveaxis(aerofoil.averaged().centres, -1, 0)
    t = aerofoil.FRAME_TIME * np.arange(frames)[:, None, None]
    behind = np.clip(x - 0.8, 0, 2) * np.exp(-np.abs(x - 1) / 3)
    wake, near = np.exp(-((y / 0.3) ** 2)), np.exp(-((x - 0.3) ** 2) / 0.1 - (y / 0.2) ** 2)
    angle = 2 * np.pi * (frequency * t - np.clip(x - 1, 0, None) / 0.7)
    lift = np.sin(2 * np.pi * frequency * t) * near * np.sign(y)
    stream = aerofoil.free_stream(params)[0]
    u = stream[..., 1] - 0.4 * behind * wake + 0.15 * behind * wake * np.sin(angle) * y / 0.3
    v = stream[..., 2] * (1 - near) + 0.15 * behind * wake * np.cos(angle)
    p = stream[..., 3] - 0.7 * near * (y > 0) + 0.06 * lift - 0.03 * behind * wake * np.sin(angle)
    density = stream[..., 0] * (p / stream[..., 3]) ** (1 / 1.4)
    return np.stack([density, u, v, p], -1)[None].astype(np.float32), params


@functools.cache
def made(name):
    """(system, states, params, rollouts of impostors.make)."""
    system = systems.get(name)
    states, params = shedding_aerofoil() if name == "aerofoil" else stepped(system, *STEPPED[name])
    return system, states, params, impostors.make(system, states, params)


def table_of(system, states, params, rollouts):
    names = impostors.defined_metrics(system, "tiny" in system.on_reference_grid)
    return impostors.table(system, rollouts, states[:, 0], params, names)


@functools.cache
def scores(name):
    """(system, its metrics' scores)."""
    return made(name)[0], table_of(*made(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_tells_the_impostors_it_is_not_blind_to(name):
    system, table = scores(name)
    assert {*system.metrics} <= {*table.index}
    check(table)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_metrics_reject_every_impostor(name):
    system, table = scores(name)
    rejected = {m: impostors.rejects(m, table.loc[m]) for m in system.metrics}
    for impostor in metrics.IMPOSTORS:
        assert any(impostor in found for found in rejected.values()), impostor
    times = [m for m in system.metrics if m.endswith("correlation_time")]
    assert len(times) == 1
    assert rejected[times[0]] == metrics.IMPOSTORS


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.MODULES)
def test_on_the_data_of_the_tiny_configs(name, tmp_path):
    system = systems.get(name)
    states, params = impostors.test_trajectories(system, data.load(system, "tiny", tmp_path))
    table = table_of(system, states, params, impostors.make(system, states, params))
    if name == "aerofoil":  # hardly spun up: its lift has not made one period
        table = table.drop("phase_error")
    check(table)


def check(table):
    for name, row in table.iterrows():
        metric = metrics.METRICS[name.partition("@")[0]]
        assert np.isfinite(row).all(), name
        if metric.error and name not in ("rms_divergence", "physics_residual"):
            assert row["reference"] == 0, name
        unseen = {*metrics.IMPOSTORS} - {*impostors.rejects(name, row)}
        assert unseen <= {*metric.blind_to}, f"{name}: {row.to_dict()}"


def test_what_metrics_are_blind_to_is_documented():
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8").partition("## Correlation")[0]
    for name, metric in metrics.METRICS.items():
        assert f"`{name}`" in page or f"`{name}@name`" in page
        assert {*metric.blind_to} <= {*metrics.IMPOSTORS}
        assert all(reason in page for reason in metric.blind_to.values())
    seeing = [name for name, metric in metrics.METRICS.items() if not metric.blind_to]
    assert {"relative_error", "mse", "nrmse", "correlation_time"} <= {*seeing}


def test_at_the_default_threshold_no_impostor_correlates():
    """At a fifth, unrelated states of KS do so by chance for some frames."""
    system, _, _, rollouts = made("ks")
    times = impostors.by_threshold(system, rollouts)
    assert (times[["reference", impostors.NEAR]] == "120 [120]").all(axis=None)
    largest = times.map(lambda cell: int(cell.partition("[")[2][:-1]))[[*metrics.IMPOSTORS]]
    assert (largest.loc[CORRELATION_THRESHOLD] <= 1).all()
    assert largest.loc[0.2].max() > 3


# ---------------------------------------------------------------------- the impostors themselves


def pooled_correlation_time(u, r):
    """Of plain correlation, all channels at once: what does not see through a mean flow."""
    u, r = (x.reshape(*x.shape[:2], -1).astype(float) for x in (u, r))
    u, r = u - u.mean(-1, keepdims=True), r - r.mean(-1, keepdims=True)
    size = np.sqrt((u * u).sum(-1) * (r * r).sum(-1))
    return metrics.errors.first_frame((u * r).sum(-1) < 0.2 * size)


def test_a_metric_that_cannot_tell_is_found_out(monkeypatch):
    blunt = metrics.Metric("time", "", pooled_correlation_time, error=False)
    monkeypatch.setitem(metrics.METRICS, "correlation_time", blunt)
    system, states, params, rollouts = made("aerofoil")
    table = impostors.table(system, rollouts, states[:, 0], params, ["correlation_time"])
    assert "time mean" not in impostors.rejects("correlation_time", table.loc["correlation_time"])
    assert "| 157 ! " in impostors.format_table(table)
    with pytest.raises(AssertionError, match="correlation_time: "):
        check(table)


def test_impostors_are_what_they_are_called():
    system = systems.get("wake")
    rng = np.random.default_rng(0)
    states = (rng.normal(size=(3, 12, *system.domain.shape, 3)) + 2) * system.active
    made = impostors.make(system, states, {"reynolds": np.array([100, 100, 200])}, 8)
    assert list(made) == ["reference", "1% off", *metrics.IMPOSTORS]
    r = made["reference"]
    np.testing.assert_array_equal(r, states[:, 1:9].astype(np.float32))
    for impostor in made.values():
        assert impostor.shape == r.shape
        assert (impostor[:, :, ~system.active] == 0).all()
    mean = r.mean(1)
    for t in range(8):
        np.testing.assert_allclose(made["time mean"][:, t], mean, atol=1e-6)
    lives = made["uniform"][:, :, system.active[..., 0], 0]
    assert np.ptp(lives, axis=(1, 2)).max() == 0
    np.testing.assert_allclose(
        lives[:, 0, 0], r[:, :, system.active[..., 0], 0].mean((1, 2)), rtol=1e-5
    )
    np.testing.assert_array_equal(made["shifted"][:, :, 0, 20], r[:, :, 0, 4])
    wrong = made["wrong trajectory"]
    assert is_stretch(wrong[0], states[:2])
    assert is_stretch(wrong[2], states[2:])
    assert not (wrong == r).all((1, 2, 3, 4)).any()
    np.testing.assert_allclose(made["1% off"], 0.99 * r + 0.01 * wrong, atol=1e-5)


def is_stretch(rollout, states):
    """Of one of these trajectories."""
    frames = len(rollout)
    return any(
        np.array_equal(rollout, trajectory[start : start + frames].astype(np.float32))
        for trajectory in states
        for start in range(1, states.shape[1] - frames + 1)
    )


def test_without_another_stretch_there_is_no_wrong_trajectory():
    system = systems.get("ks")
    states, sizes = np.random.default_rng(0).normal(size=(2, 9, 48, 1)), np.array([7.0, 8.0])
    with pytest.raises(InputError, match=r"long_horizon=8: no other stretch .* of 9 with .*7.0"):
        impostors.make(system, states, {"domain_size": sizes}, 8)
    assert impostors.make(system, states, {"domain_size": 0 * sizes + 7}, 8)
