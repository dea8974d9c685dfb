"""The system wake and its dataset: solvers, masks, corrections, forces, parts, mistakes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tfunroll.datasets.cylinder_wake import simulated

from tfunroll import datasets, nets, systems
from tfunroll.core import InputError
from tfunroll.ops.resampling import coarsen
from tfunroll.stepping.unrolling import WIG, repeat, unroll
from tfunroll.systems import wake
from tfunroll.validation import cylinder

SYSTEM = systems.get("wake")
REYNOLDS = {"reynolds": np.array([100.0, 400.0])}
SMALL = simulated.SimulatedGroup(
    split="train",
    reynolds=200.0,
    trajectory=0,
    frames=30,
    spin_up=1,
    refinement=2,
    dt=0.025,
    stored_refinement=1,
)


def tensors(dtype=tf.float64):
    return {name: tf.constant(value, dtype) for name, value in REYNOLDS.items()}


def stepper(net, mode="correction"):
    return SYSTEM.stepper(net, SYSTEM.features(mode), mode, "sequential", "piso")


def ones(channels):
    return lambda x: tf.ones([*x.shape[:-1], channels], x.dtype)


@pytest.fixture(scope="module")
def fine():
    """A flow that has started to shed, on a grid twice as fine, [2, 64, 128, 3]."""
    solver = SYSTEM.refined(2)

    @tf.function(jit_compile=True, autograph=False)
    def spin_up(state):
        return repeat(solver.bind(tensors()), 100)(state)

    return spin_up(tf.constant(wake.initial_state(REYNOLDS, 0, 2)))


@pytest.fixture(scope="module")
def state(fine):
    return SYSTEM.refined(2).restrict(fine) * SYSTEM.active


def test_masks_come_from_the_geometry():
    fluid, active = SYSTEM.domain.mask, SYSTEM.active
    y, x = SYSTEM.refined(1).grid.centres
    inside = np.hypot(x - 2.5, y[:, None] - 2.5) < 0.5
    assert not fluid[np.hypot(x - 2.5, y[:, None] - 2.5) < 0.35].any()
    assert fluid[~inside].all()
    assert not active[~fluid].any()
    assert not active[-1, :, 1].any()  # the upper wall
    np.testing.assert_array_equal(SYSTEM.domain.static[..., 0], fluid)
    assert not (SYSTEM.regions["near body"] & ~fluid).any()
    assert not (SYSTEM.regions["near body"] & SYSTEM.regions["far wake"]).any()


def test_down_sampling_keeps_the_mass_balance(fine, state):
    assert np.abs(coarsen(fine, 2)[..., 0].numpy().mean(1) - 1).max() < 1e-12
    prolonged = SYSTEM.refined(2).prolong(state)
    again = SYSTEM.refined(2).restrict(prolonged)
    away = ~SYSTEM.regions["near body"] & SYSTEM.domain.mask
    np.testing.assert_allclose(again.numpy()[:, away], state.numpy()[:, away], atol=1e-12)


@pytest.mark.parametrize(("mode", "channels"), [("correction", 2), ("prediction", 3)])
def test_networks_change_the_fluid_alone(state, mode, channels):
    seen = []

    def net(x):
        seen.append(x)
        return ones(channels)(x)

    after = stepper(net, mode).bind(tensors())(state).numpy()
    assert np.all(after[:, ~SYSTEM.active] == 0)
    before = SYSTEM.coarse("piso").bind(tensors())(state) if mode == "correction" else state
    change = (after - before)[..., :channels]
    np.testing.assert_allclose(change, np.broadcast_to(0.05 * SYSTEM.active[..., :channels],
                                                       change.shape), atol=1e-14)  # fmt: skip
    assert seen[0].shape[-1] == 5  # u, v, p, Re/1000, mask
    np.testing.assert_allclose(seen[0][:, 0, 0, 3], [0.1, 0.4])


@pytest.mark.parametrize("name", ["graph", "unet"])
def test_other_networks_leave_out_the_body(state, name):
    net = nets.build(name, SYSTEM.domain, 5, 2, width=4, depth=1, initial="glorot")
    after = stepper(net).bind(tensors(tf.float32))(tf.cast(state, tf.float32)).numpy()
    assert np.isfinite(after).all()
    assert np.all(after[:, ~SYSTEM.active] == 0)


def test_forces_are_of_states_alone(state):
    """The same wherever a state stands, and close to the finer solver's own."""
    states = np.stack([state, state], 1).astype(np.float32)
    got = SYSTEM.forces(states, REYNOLDS)
    assert got.shape == (2, 2, 2)
    np.testing.assert_array_equal(got[:, 0], got[:, 1])
    spoilt = states.copy()
    spoilt[0, 1, 3, 3, 0] = np.nan
    bad = SYSTEM.forces(spoilt, REYNOLDS)
    assert np.isnan(bad[0, 1]).all()
    np.testing.assert_allclose(bad[0, 0], got[0, 0], rtol=1e-5)
    mirrored = states[:, :, ::-1].copy()
    mirrored[..., 1] = -np.roll(mirrored[..., 1], -1, 2)
    flipped = SYSTEM.forces(mirrored, REYNOLDS)
    np.testing.assert_allclose(flipped, got * [1, -1], atol=2e-3)
    assert 0.8 < got[0, 0, 0] < 2.5  # drag


def test_gradients_through_a_corrected_rollout(state):
    """Finite differences of the loss of a WIG unroll by a weight of the network."""
    step = stepper

    def loss(weight):
        net = lambda x: weight * x[..., :2] * x[..., 2:3]  # noqa: E731
        targets = tf.zeros([2, 3, *state.shape[1:]], tf.float64)
        of_samples, *_ = unroll(
            step(net).bind(tensors()),
            state,
            targets,
            lambda k, before, after, target: tf.reduce_mean(after[..., :2] ** 2, [1, 2, 3]),
            WIG(3),
        )
        return tf.reduce_mean(of_samples)

    weight, h = tf.constant(0.3, tf.float64), 1e-5
    with tf.GradientTape() as tape:
        tape.watch(weight)
        value = loss(weight)
    difference = (loss(weight + h) - loss(weight - h)) / (2 * h)
    np.testing.assert_allclose(tape.gradient(value, weight), difference, rtol=1e-6)


# ---------------------------------------------------------------------- dataset


def test_parts_survive_a_kill_and_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated.SimulatedGroup, "part", 1)
    whole = SMALL.generate()
    assert whole["state"].shape == (1, 30, 32, 64, 3)
    assert whole["diagnostics/forces"].shape == (1, 30, 2)
    assert whole["diagnostics/spin_up_forces"].shape == (1, 20, 2)
    assert np.all(whole["state"][:, :, ~SYSTEM.active] == 0)
    simulate, calls = simulated.SimulatedGroup._simulate, []

    def killed(self, state, start, stop):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(start)
        return simulate(self, state, start, stop)

    monkeypatch.setattr(simulated.SimulatedGroup, "_simulate", killed)
    with pytest.raises(KeyboardInterrupt):
        SMALL.load(tmp_path)
    monkeypatch.setattr(simulated.SimulatedGroup, "_simulate", simulate)
    resumed = SMALL.load(tmp_path)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)


def test_the_metadata_holds_mask_and_geometry(tmp_path):
    for name, factor in (("tiny", 1), ("full", 4)):
        builder = datasets.builder_class("wake").of(name, tmp_path)
        metadata = builder.info.metadata
        assert builder.info.features["state"].shape == (None, 32 * factor, 64 * factor, 3)
        assert metadata["geometry"]["radius"] == 0.5
        assert np.shape(metadata["mask"]) == (32 * factor, 64 * factor)
    assert 0.5 < np.mean(np.array(metadata["mask"]) == 0) / (np.pi / 4 / 50) < 1.1


def test_every_trajectory_starts_with_another_gust():
    groups = datasets.builder_class("wake")(config="study").groups(None)
    assert len(groups) == 6 + 3 + 2 * 2
    few = [dataclasses.replace(g, refinement=1, dt=0.05) for g in groups[:6]]
    assert len({g.initial_state().tobytes() for g in few}) == 6


# ---------------------------------------------------------------------- mistakes and warnings


def test_bad_solvers():
    for arguments, message in (
        ((4, 0.05), "dt=0.05 is beyond the stable limit: the largest stable dt on 128 x 256"),
        ((1, 0.03), "dt=0.03 must divide the frame of 0.05"),
        ((0,), "refinement=0 must be at least 1"),
        ((1, -1.0), "dt=-1.0 must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            wake.solver(*arguments)
    with pytest.raises(InputError, match="'fraction' is not an option of piso; allowed: .*sweeps"):
        SYSTEM.coarse("piso:fraction=0.5")


def test_unresolved_reynolds_numbers_warn(tmp_path):
    (tmp_path / "cylinder_wake").touch()  # so that the build stops before its work
    with (
        pytest.warns(UserWarning, match=r"cylinder_wake/tiny: reynolds=600, 700, 800, 1000 lies"),
        pytest.raises(OSError, match="cylinder_wake"),
    ):
        datasets.build("wake", "tiny", tmp_path)
    assert SYSTEM.doubts({"reynolds": [20.0, 512.0]}) == []


# ---------------------------------------------------------------------- physics (slow)


def unconfined(reynolds, time, cells=25, kick=0.3):
    solver = cylinder.unconfined(cells, 0.0125)
    start = wake.started(solver, np.full(len(reynolds), kick))
    return solver, *cylinder.history(solver, start, np.array(reynolds), time)


@pytest.mark.slow
def test_unconfined_cylinder_beside_the_literature():
    """Values and sources: docs/wake.md."""
    solver, forces, state = unconfined([40.0, 100.0, 200.0], 160)
    found = [cylinder.characteristics(solver.dt, f) for f in forces]
    assert found[0][1] == pytest.approx(1.525, rel=0.05)
    assert cylinder.bubble(solver, state[0]) == pytest.approx(2.27, rel=0.05)
    strouhal, drag, lift, _ = found[1]
    assert strouhal == pytest.approx(0.1655, rel=0.04)
    assert drag == pytest.approx(1.355, rel=0.06)
    assert lift == pytest.approx(0.32, rel=0.12)
    assert found[2][0] == pytest.approx(0.197, rel=0.05)


@pytest.mark.slow
def test_onset_of_shedding():
    """Disturbances decay at Re = 40 and grow at 60, until they saturate."""
    solver, forces, _ = unconfined([40.0, 60.0], 120, kick=0.05)
    assert cylinder.growth_rate(solver.dt, forces[0, :, 1]) < -0.01
    last = forces[:, -len(forces[0]) // 4 :, 1].std(1)
    assert last[1] > 0.03 > 10 * last[0]


@pytest.mark.slow
def test_second_order_away_from_the_body():
    """Steady flow at Re = 20: velocities on the coarsest grid's faces, two diameters away."""
    found = []
    for refinement in (2, 4, 8):
        solver = wake.solver(refinement)
        start = wake.started(solver, np.zeros(1))
        _, state = cylinder.history(solver, start, np.array([20.0]), 30, "float64")
        found.append(coarsen(state, refinement).numpy()[0])
    y, x = SYSTEM.refined(1).grid.centres
    away = np.hypot(x - 2.5, y[:, None] - 2.5) > 1.5
    changes = [np.sqrt(np.mean((b - a)[away][:, :2] ** 2)) for a, b in
               ((found[0], found[1]), (found[1], found[2]))]  # fmt: skip
    order = np.log2(changes[0] / changes[1])
    assert 1.7 < order < 3.0, (order, changes)
