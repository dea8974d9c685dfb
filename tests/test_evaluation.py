"""Evaluation: perfect steppers, cases, statuses, one trace, baselines of equal cost."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import nets, systems
from tfunroll.core import InputError
from tfunroll.evaluation.evaluator import (
    Evaluator,
    Persistence,
    Settings,
    _labels_of,
    baselines,
    evaluate,
)
from tfunroll.evaluation.flops import flops_per_frame, largest_substeps
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout

KS = systems.get("ks")
FRAMES = 31
LABELS = {
    **dict.fromkeys(("run_id", "mode", "correction", "net"), "x"),
    **{"modality": "ONE", "steps": 1, "seed": 0},
}
SETTINGS = Settings(horizon=12, long_horizon=25, starts=2, metrics=KS.metrics)


class Drift:
    """One grid point per frame: exact in any batch, where matrix products round by its size."""

    dt = frame_time = 1.0

    def bind(self, params):
        return lambda u: tf.roll(u, 1, axis=1)


DRIFTING = dataclasses.replace(KS, reference=Drift)  # a system with an exact reference


def split(sizes, solver=None):
    """Trajectories of DRIFTING, or of another solver."""
    params = {"domain_size": np.array(sizes, np.float32)}
    initial = tf.constant(KS.initial_state(params, seed=1), tf.float32)
    step = (solver or Drift()).bind({name: tf.constant(p) for name, p in params.items()})
    states = rollout(step, initial, FRAMES).numpy()
    chaotic = np.arange(len(sizes))[:, None] % 2 == 0
    ids = tuple(f"t{i}" for i in range(len(sizes)))
    return SimpleNamespace(states=states, params=params, ids=ids, diagnostics={"chaotic": chaotic})


@pytest.fixture(scope="module")
def dataset():
    splits = {
        "test_interpolation": split([7.44, 7.44, 9.2]),
        "test_extrapolation": split([6.8, 11.2]),
    }
    named = {"name": "kuramoto_sivashinsky", "config": "tiny", "on_reference_grid": True}
    return SimpleNamespace(**named, splits=splits)


@pytest.fixture(scope="module")
def perfect(dataset):
    return evaluate(Drift(), DRIFTING, dataset, SETTINGS, LABELS)


@pytest.fixture
def stepper():
    features = KS.features("correction")
    net = nets.build("resnet", KS.domain, 2, 1, width=4, depth=1, initial="glorot")
    return KS.stepper(net, features, "correction", "parallel", "etd1")


def test_a_perfect_stepper_scores_exactly_zero_from_every_start(perfect):
    errors = perfect.results[~perfect.results["metric"].str.endswith("_time")]
    assert set(errors["metric"]) == {"relative_error", "mse", "nrmse", "physics_residual"}
    assert (errors["value"] == 0).all()
    times = perfect.results[perfect.results["metric"].str.endswith("_time")]
    assert (times["value"] == 25).all()
    assert set(times["status"]) == {"censored"}


def test_the_reference_solver_has_no_residual(dataset):
    settings = Settings(12, 12, 1, ("mse", "physics_residual"), ("test_interpolation",))
    other = {"test_interpolation": split([7.44, 9.2], KS.refined(1))}  # near enough for 12 frames
    other = SimpleNamespace(**{**vars(dataset), "splits": other})
    table = evaluate(KS.reference(), KS, other, settings, LABELS).results
    assert not (table["status"] == "diverged").any()
    assert (table.loc[table["metric"] == "physics_residual", "value"] == 0).all()
    assert (table.loc[table["metric"] == "mse", "value"] > 0).all()


def test_rows_are_those_of_the_format(perfect):
    table = perfect.results
    assert tuple(table) == (
        *("run_id", "system", "dataset", "mode", "correction", "net", "num_weights", "modality"),
        *("steps", "kind", "refinement", "substeps"),
        *("seed", "test_set", "trajectory", "start_frame", "physics", "metric", "frame"),
        *("value", "status", "chaotic", "params.domain_size"),
    )
    cases = 5 * 2
    assert len(table) == cases * (3 + 3 * (12 + 1))  # frames 1 to 12 and 20
    assert set(table["physics"]) == {f"domain_size={d}" for d in ("7.44", "9.2", "6.8", "11.2")}
    assert set(table["start_frame"]) == {0, FRAMES - 1 - 25}
    assert table.loc[table["metric"] == "relative_error", "frame"].isna().all()
    assert set(table.loc[table["metric"] == "mse", "frame"]) == {*range(1, 13), 20}
    assert set(table.loc[table["chaotic"], "trajectory"]) == {"t0", "t2"}
    assert set(table["dataset"]) == {"kuramoto_sivashinsky/tiny"}
    assert set(table["kind"]) == {"network"}
    np.testing.assert_allclose(
        sorted(set(table["params.domain_size"])), (6.8, 7.44, 9.2, 11.2), rtol=1e-6
    )


def test_the_divergence_time_is_measured_in_any_case(dataset):
    settings = dataclasses.replace(SETTINGS, metrics=("mse",))
    table = evaluate(Persistence(), KS, dataset, settings, LABELS).results
    assert set(table["metric"]) == {"mse", "divergence_time"}


def test_the_initial_state_is_not_counted(dataset):
    """Persistence is off by the whole way from the start in each frame, and by nothing else."""
    evaluation = evaluate(Persistence(), KS, dataset, SETTINGS, LABELS)
    states = dataset.splits["test_extrapolation"].states[1].astype(float)
    r = states[7:19]  # start frame 6: frames 7 to 18
    wanted = np.mean((states[6] - r) ** 2) / np.max(r**2)
    table = evaluation.results.query(
        "metric == 'relative_error' and trajectory == 't1' and start_frame == 6 "
        "and test_set == 'test_extrapolation'"
    )
    np.testing.assert_allclose(table["value"], wanted)


def test_samples_hold_two_trajectories_of_every_parameter(perfect):
    samples = perfect.samples
    assert samples["reference"].shape == samples["prediction"].shape == (5, 25, 48, 1)
    np.testing.assert_array_equal(samples["reference"], samples["prediction"])
    assert list(samples["physics"][:2]) == ["domain_size=7.44"] * 2
    np.testing.assert_allclose(samples["params.domain_size"][:3], [7.44, 7.44, 9.2], rtol=1e-6)
    assert samples["diverged"].shape == (5, 25)
    assert not samples["diverged"].any()
    assert set(samples["stability"]) == {"regular"}
    assert all(array.dtype != object for array in samples.values())  # np.savez without pickle


def test_new_weights_need_no_new_trace(dataset, stepper):
    evaluator = Evaluator(stepper, KS, dataset, SETTINGS)
    first = evaluator.run(LABELS).results
    same = evaluator.run({**LABELS, "seed": 1}).results
    for weight in stepper.net.weights:
        weight.assign(weight + 0.01)
    changed = evaluator.run(LABELS).results
    assert evaluator.traces == 1
    assert (first["value"] == same["value"]).all()
    assert not first["value"].equals(changed["value"])
    assert (first["num_weights"] == stepper.net.count_params()).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_and_eager_rollouts_agree(dataset, stepper, jit_compile):
    settings = Settings(4, 4, 1, ("mse",), jit_compile=jit_compile)
    compiled = evaluate(stepper, KS, dataset, settings, LABELS).results
    stepper.solver.compilable = False
    evaluator = Evaluator(stepper, KS, dataset, settings)
    eager = evaluator.run(LABELS).results
    assert evaluator.traces == 1  # once per run: nothing was traced beforehand
    np.testing.assert_allclose(compiled["value"], eager["value"], rtol=1e-4)


def test_one_wild_sample_leaves_the_others_alone(dataset):
    class Wild:
        def bind(self, params):
            wild = (params["domain_size"] > 11)[:, None, None]
            return lambda u: tf.where(wild, u * 1e20, u)

    evaluation = evaluate(Wild(), KS, dataset, SETTINGS, LABELS)
    table = evaluation.results
    for metric in ("relative_error", "divergence_time"):
        rows = table[table["metric"] == metric]
        assert (rows["status"] == "diverged").equals(rows["params.domain_size"] > 11)
    assert np.isfinite(table["value"]).all()
    samples = evaluation.samples
    np.testing.assert_array_equal(samples["diverged"].any(1), samples["params.domain_size"] > 11)
    np.testing.assert_array_equal(samples["stability"] == "unstable", samples["diverged"].any(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"long_horizon": 31}, r"long_horizon=31 .*at most 30"),
        ({"horizon": 26}, r"long_horizon=25 must be at least horizon=26"),
        ({"horizon": 0}, r"horizon=0 must be at least 1"),
        ({"starts": 7}, r"starts=7 .*at most 6 start frames"),
        ({"metrics": ("speed",)}, r"metrics='speed' is unknown"),
        ({"test_sets": ("test",)}, r"test_sets='test' is unknown"),
    ],
)
def test_impossible_settings_are_named(dataset, change, message):
    with pytest.raises(InputError, match=message):
        Evaluator(Persistence(), KS, dataset, dataclasses.replace(SETTINGS, **change))


def test_the_residual_needs_data_on_the_reference_grid(dataset):
    other = SimpleNamespace(**{**vars(dataset), "config": "fine", "on_reference_grid": False})
    with pytest.raises(InputError, match=r"physics_residual is not defined for kuramoto_\w+/fine"):
        Evaluator(Persistence(), KS, other, SETTINGS)
    evaluate(Persistence(), KS, other, dataclasses.replace(SETTINGS, metrics=("mse",)), LABELS)


def test_baselines_and_their_cost(dataset, stepper):
    settings = dataclasses.replace(SETTINGS, metrics=("relative_error",))
    tables = [e.results for e in baselines(KS, dataset, settings, stepper, LABELS, "etd1")]
    names = [table["modality"].iloc[0] for table in tables]
    assert names[:2] == ["persistence", "coarse solver"]
    assert len(baselines(KS, dataset, settings, None, LABELS, "etd1")) == 2
    # This network is cheaper than the reference's two sub-steps: one fits beside it.
    params, state = {"domain_size": tf.constant([8.0])}, tf.zeros([1, 48, 1])
    budget = flops_per_frame(stepper, params, state)
    allowed = largest_substeps(KS.refined, budget, params, state, cap=200)
    cheap = min(allowed, 2)
    assert names[2:] == [f"equal-cost solver ({cheap} sub-step{'s'[: cheap > 1]})"]
    columns = ["kind", "refinement", "substeps"]
    assert [tuple(table[columns].iloc[0]) for table in tables] == [
        ("persistence", 0, 0),
        ("coarse solver", 1, 2),
        ("equal-cost solver", 1, cheap),
    ]
    assert flops_per_frame(KS.refined(allowed), params, state) <= budget
    assert flops_per_frame(KS.refined(allowed + 1), params, state) > budget
    assert all((table["num_weights"] == stepper.net.count_params()).all() for table in tables)


def test_baselines_on_finer_grids_say_so():
    aerofoil = systems.get("aerofoil")
    labels = [_labels_of("reference scheme", aerofoil.refined(n)) for n in (1, 2, 4)]
    assert [(label["refinement"], label["substeps"]) for label in labels] == [
        *((1, 10), (2, 32), (4, 92)),
    ]
    assert [label["modality"] for label in labels] == [
        "reference scheme (10 sub-steps)",
        "reference scheme (grid × 2, 32 sub-steps)",
        "reference scheme (grid × 4, 92 sub-steps)",
    ]


def test_operations_are_counted_by_hand():
    params, state = {"domain_size": tf.constant([8.0])}, tf.zeros([1, 48, 1])
    dense = SimpleNamespace(bind=lambda params: lambda u: 2.0 * (tf.ones([48, 48]) @ u[0])[None])
    assert flops_per_frame(dense, params, state) == 2 * 48 * 48 + 48
    reference = flops_per_frame(KS.reference(), params, state)
    # in and out; in each sub-step three operators, each on an even and an odd part
    products = 2 * (2 * 48 * 50) + 2 * 3 * 2 * (2 * 25 * 25)
    assert products < reference < 1.1 * products
    # Above 128 points FFTs replace the products; the profiler alone would not see them.
    fine = flops_per_frame(KuramotoSivashinsky(256), params, tf.zeros([1, 256, 1]))
    assert fine > 10 * 2.5 * 256 * 8
    assert largest_substeps(KS.refined, 10, params, state, cap=200) == 0
    assert largest_substeps(KS.refined, 10**9, params, state, cap=5) == 5
