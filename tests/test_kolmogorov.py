"""The system kolmogorov and its dataset: solvers, corrections, baselines, parts, mistakes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tfunroll.datasets.kolmogorov_flow import simulated

from tfunroll import data, datasets, systems
from tfunroll.core import InputError
from tfunroll.evaluation import evaluator as evaluation
from tfunroll.evaluation.flops import flops_per_frame, largest_substeps
from tfunroll.ops.resampling import coarsen
from tfunroll.ops.stencils import divergence
from tfunroll.stepping import losses
from tfunroll.stepping.unrolling import repeat, rollout
from tfunroll.systems import kolmogorov
from tfunroll.validation import stationarity

SYSTEM = systems.get("kolmogorov")
REYNOLDS = {"reynolds": np.array([300.0, 1000.0])}
LABELS = dict.fromkeys((*("run_id", "mode", "correction", "net", "steps"), "modality"), "x")
SMALL = simulated.SimulatedGroup(
    split="train",
    reynolds=500.0,
    trajectory=0,
    frames=70,
    spin_up=1,
    points=32,
    dt=0.01,
    stored_points=32,
)


def tensors(dtype=tf.float64):
    return {name: tf.constant(value, dtype) for name, value in REYNOLDS.items()}


def zeros(channels):
    return lambda x: tf.zeros([*x.shape[:-1], channels], x.dtype)


def ones(channels):
    return lambda x: tf.ones([*x.shape[:-1], channels], x.dtype)


def stepper(net, mode="correction", **options):
    features = SYSTEM.features(mode)
    return SYSTEM.stepper(net, features, mode, "sequential", "piso", **options)


@pytest.fixture(scope="module")
def fine():
    """A developed flow on the reference's grid, [2, 128, 128, 3]."""
    reference = SYSTEM.reference()

    @tf.function(jit_compile=True, autograph=False)
    def spin_up(state):
        return repeat(reference.bind(tensors()), 50)(state)

    return spin_up(tf.constant(kolmogorov.initial_state(REYNOLDS, 0, 128)))


# ---------------------------------------------------------------------- solvers and corrections


@pytest.mark.parametrize("points", [32, 64])
def test_initial_states_are_solenoidal_and_the_same_flow_on_every_grid(points):
    state = kolmogorov.initial_state(REYNOLDS, 3, points)
    w = tf.transpose(tf.constant(state), [3, 0, 1, 2])
    assert np.abs(divergence(w, 2 * np.pi / points)).max() < 1e-12
    np.testing.assert_allclose((state[..., :2] ** 2).sum(-1).mean((1, 2)), 2.0)
    finer = coarsen(tf.constant(kolmogorov.initial_state(REYNOLDS, 3, 2 * points)), 2)
    assert np.abs(finer - state).max() < 0.1 * (32 / points) ** 2


def test_the_coarse_solver_is_worse_than_the_reference(fine):
    """Against the reference with twice its resolution in time, over 10 frames."""
    refinement = kolmogorov.REFINEMENT
    truth, reference, coarse = (
        tf.function(
            lambda u, s=s: rollout(s.bind(tensors()), u, 10, s.restrict),
            jit_compile=True,
            autograph=False,
        )
        for s in (
            kolmogorov.solver(128, SYSTEM.reference().dt / 2, 8),
            SYSTEM.reference(),
            SYSTEM.coarse("piso"),
        )
    )
    wanted = truth(fine)[:, -1, ..., :2]
    error = np.abs(reference(fine)[:, -1, ..., :2] - wanted).max((1, 2, 3))
    worse = np.abs(coarse(coarsen(fine, refinement))[:, -1, ..., :2] - wanted).max((1, 2, 3))
    assert np.all(worse > 5 * error), (worse, error)


def test_correction_adds_to_the_velocity_and_leaves_the_pressure(fine):
    state = coarsen(fine, kolmogorov.REFINEMENT)
    seen = []

    def net(x):
        seen.append(x)
        return ones(2)(x)

    solved = SYSTEM.coarse("piso").bind(tensors())(state).numpy()
    corrected = stepper(net).bind(tensors())(state).numpy()
    np.testing.assert_array_equal(corrected[..., :2], solved[..., :2] + 0.02)
    np.testing.assert_array_equal(corrected[..., 2], solved[..., 2])
    np.testing.assert_array_equal(seen[0][..., :3], solved)  # [u, v, p, 0.001 Re] after the solver
    np.testing.assert_allclose(seen[0][..., 3], [[[0.3]] * 1, [[1.0]] * 1] * np.ones((2, 32, 32)))


def test_prediction_changes_all_three_channels(fine):
    state = coarsen(fine, kolmogorov.REFINEMENT)
    predicted = stepper(ones(3), "prediction").bind(tensors())(state)
    np.testing.assert_array_equal(predicted, state + 0.02)


def test_loss_is_of_what_the_network_changes():
    a, b = tf.zeros([2, 4, 4, 3]), tf.constant(np.arange(3.0), tf.float32) * tf.ones([2, 4, 4, 3])
    loss = losses.Supervised().fitted(stepper(ones(2))).bind({})
    np.testing.assert_array_equal(loss(0, a, a, b), [0.5, 0.5])  # without the pressure's 2²
    loss = losses.Supervised().fitted(stepper(ones(3), "prediction")).bind({})
    np.testing.assert_allclose(loss(0, a, a, b), [5 / 3, 5 / 3], rtol=1e-6)  # the pressure too


def test_refined_grids_take_a_coarse_state_and_give_it_back(fine):
    state = coarsen(fine, kolmogorov.REFINEMENT)
    for substeps in (1, 2, 4):
        solver = SYSTEM.refined(substeps)
        assert (solver.substeps, solver.shape) == (substeps, (32 * substeps,) * 2)
        np.testing.assert_allclose(solver.restrict(solver.prolong(state)), state, atol=1e-12)
    np.testing.assert_array_equal(SYSTEM.reference().restrict(fine), state)


def test_equal_cost_solver_fits_the_budget():
    params, state = {"reynolds": tf.constant([500.0])}, tf.zeros([1, 32, 32, 3])
    costs = [flops_per_frame(SYSTEM.refined(n), params, state) for n in (1, 2, 3, 4)]
    assert costs == sorted(costs)
    assert 50 < costs[3] / costs[0] < 200  # 64 times the cells × sub-steps, twice the sweeps
    for n, cost in enumerate(costs, 1):
        assert largest_substeps(SYSTEM.refined, cost, params, state, 4) == n
        assert largest_substeps(SYSTEM.refined, cost - 1, params, state, 4) == n - 1


def test_operations_of_loops_are_counted():
    """Twice the sweeps are that many more operations, and so are twice the sub-steps."""
    params, state = {"reynolds": tf.constant([500.0])}, tf.zeros([1, 32, 32, 3])

    def count(**options):
        return flops_per_frame(kolmogorov.solver(32, **options), params, state)

    two, four, eight = (count(sweeps=n) for n in (2, 4, 8))
    assert eight - four == 2 * (four - two) > 0
    once, twice, four_times = (count(dt=0.02 / n) for n in (1, 2, 4))
    assert four_times - twice == pytest.approx(2 * (twice - once), rel=0.01)
    assert twice == pytest.approx(2 * once, rel=0.1)


# ---------------------------------------------------------------------- dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kolmogorov")
    return datasets.build("kolmogorov", "tiny", folder), folder


def test_tiny_holds_what_its_card_says(tiny):
    builder, folder = tiny
    config = builder.builder_config
    assert builder.info.metadata["grid"] == [32, 32]
    firsts = set()
    for split, (count, frames) in config.splits.items():
        examples = builder.examples(split)
        values = [float(e["params"]["reynolds"]) for e in examples]
        np.testing.assert_allclose(values, np.repeat(SYSTEM.splits[split], count))
        for e in examples:
            firsts.add(e["state"][0].tobytes())
            assert e["state"].shape == (frames, 32, 32, 3)
            assert e["diagnostics"]["spin_up_energy"].shape == (
                config.spin_up + 3 * split.startswith("test"),
            )
            assert e["start_time"] > (config.spin_up + 3 if split.startswith("test") else 0)
            energy = (e["state"][..., :2] ** 2).sum(-1).mean((1, 2)) / 2
            np.testing.assert_allclose(e["diagnostics"]["energy"], energy, rtol=1e-5)
            w = tf.constant(np.moveaxis(e["state"], -1, 0))
            assert np.abs(divergence(w, 2 * np.pi / 32)).max() < 2e-4  # float32
    assert len(firsts) == 16
    loaded = data.load(SYSTEM, "tiny", folder)
    assert loaded.splits["train"].states.shape == (6, 150, 32, 32, 3)


def test_full_keeps_the_reference_grid(tmp_path):
    builder = datasets.builder_class("kolmogorov").of("full", tmp_path)
    assert builder.info.features["state"].shape == (None, 128, 128, 3)
    assert builder.info.metadata["grid"] == [128, 128]


def test_seeds_and_times_of_the_tests_are_unseen():
    for config in datasets.builder_class("kolmogorov").BUILDER_CONFIGS:
        if not config.splits:
            continue
        builder = datasets.builder_class("kolmogorov")(config=config.name)
        groups = builder.groups(None)
        starts = {g.initial_state().tobytes() for g in groups[:12]}
        assert len(starts) == 12
        trained = max(
            g.spin_up + simulated.time_units(g.frames) for g in groups if g.split == "train"
        )
        assert all(g.spin_up >= trained for g in groups if g.split.startswith("test"))


def test_parts_survive_a_kill_and_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated.SimulatedGroup, "part", 1)
    whole = SMALL.generate()
    assert whole["state"].shape == (1, 70, 32, 32, 3)
    scratch = SMALL.path(tmp_path).with_suffix(".parts")
    simulate = simulated.SimulatedGroup._simulate
    calls = []

    def killed_after_two(self, state, start, stop):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(start)
        return simulate(self, state, start, stop)

    monkeypatch.setattr(simulated.SimulatedGroup, "_simulate", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        SMALL.load(tmp_path)
    kept = sorted(scratch.iterdir())
    assert len(kept) == 2
    kept[1].write_bytes(kept[1].read_bytes()[:-500])  # cut off: is made anew
    monkeypatch.setattr(
        simulated.SimulatedGroup,
        "_simulate",
        lambda self, state, start, stop: calls.append(start) or simulate(self, state, start, stop),
    )
    resumed = SMALL.load(tmp_path)
    assert calls == [0, 1, 1, 2]
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)
    assert [p.name for p in tmp_path.iterdir()] == [SMALL.path(tmp_path).name]


def test_a_simulation_that_blows_up_names_frame_and_reynolds_number(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated.SimulatedGroup, "part", 1)
    solver, advance = simulated._compiled(32, 0.01)
    calls = []

    def spoilt(state, reynolds):
        calls.append(1)
        frames = advance(state, reynolds)
        if len(calls) < 2:
            return frames
        return tf.tensor_scatter_nd_update(frames, [[0, 7, 3, 3, 0]], [float("nan")])

    monkeypatch.setattr(simulated, "_compiled", lambda points, dt: (solver, spoilt))
    with pytest.raises(InputError, match=r"reynolds=500: .*non-finite at frame 58 .*of train"):
        SMALL.load(tmp_path)
    assert len(list(SMALL.path(tmp_path).with_suffix(".parts").iterdir())) == 1


def test_a_flow_too_fast_for_the_step_is_named(monkeypatch):
    fast = dataclasses.replace(SMALL)
    start = 20 * SMALL.initial_state()
    monkeypatch.setattr(simulated.SimulatedGroup, "initial_state", lambda self: start)
    with pytest.raises(InputError, match=r"dt=0.01 is beyond the stable limit at reynolds=500"):
        fast.generate()


def test_growth_of_the_energy():
    time = np.arange(100)
    steady = np.random.default_rng(0).normal(3, 0.1, (20, 100))
    means, change, error = stationarity.growth(steady)
    assert abs(change) < 3 * error < 0.1
    np.testing.assert_allclose(means, 3, atol=0.1)
    _, change, error = stationarity.growth(steady + time / 50)
    assert change == pytest.approx(0.11, abs=0.02)  # 0.5 / (3 + 1.25 ... 1.75) between quarters
    assert change > 5 * error
    assert stationarity.growth(steady[:1])[2] == np.inf


class _Dear:
    """A network of 160 million multiplications per frame that returns zeros."""

    def __call__(self, x):
        inner = x @ tf.ones([4, 20000], x.dtype)
        return 0 * tf.reduce_sum(inner) + tf.zeros([*x.shape[:-1], 2], x.dtype)

    def count_params(self):
        return 80000


def test_baselines_on_their_own_grids(tiny):
    """The coarse solver is worse than the reference on a fine grid, which beats persistence."""
    dataset = data.load(SYSTEM, "tiny", tiny[1])
    settings = evaluation.Settings(10, 10, 1, ("relative_error",), ("test_interpolation",))
    dear = stepper(_Dear())
    rows = evaluation.baselines(SYSTEM, dataset, settings, dear, LABELS, "piso")
    tables = [e.results[e.results["metric"] == "relative_error"] for e in rows]
    means = {table["kind"].iloc[0]: table["value"].mean() for table in tables}
    fine = means["equal-cost solver"]
    assert means["persistence"] > 3 * means["coarse solver"] > 9 * fine, means
    assert tables[-1]["modality"].iloc[0] == "equal-cost solver (grid × 4, 4 sub-steps)"
    assert set(tables[-1]["refinement"]) == {4}
    samples = rows[-1].samples["prediction"]
    assert samples.shape[2:] == (32, 32, 3)
