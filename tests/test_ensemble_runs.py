"""Ensembles of a run: evaluated, tabulated, drawn, loaded, exported; and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfunroll as tu
from tfunroll.core import InputError
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig
from tfunroll.runs.models import load_weights
from tfunroll.stepping.unrolling import rollout


@pytest.fixture(scope="module")
def config(tiny_data_dir, tmp_path_factory):
    return RunConfig(
        data_dir=str(tiny_data_dir),
        width=4,
        depth=1,
        curriculum="1:8",
        modalities=("ONE",),
        seeds=(0, 1, 4),
        jit="off",
        horizon=6,
        long_horizon=10,
        starts=1,
        metrics=("relative_error", "nrmse", "mae"),
        workers=1,
        ensemble=True,
        out=str(tmp_path_factory.mktemp("runs") / "first"),
    )


@pytest.fixture(scope="module")
def first(config):
    return runs.run(config), Path(config.out)


def of(table, modality, metric):
    rows = table[(table["modality"] == modality) & (table["metric"] == metric)]
    assert len(rows)
    return rows


def test_a_row_of_its_own_without_a_test(first):
    text, out = first
    assert sum(line.startswith("ONE, 3 seeds") for line in text.splitlines()) == 1
    assert "spread/skill" in text
    summary = pd.read_csv(out / "summary.csv")
    assert of(summary, "ONE, 3 seeds", "relative_error")["n_seeds"].tolist() == [1, 1]
    assert of(summary, "ONE, 3 seeds", "relative_error")["p_value"].isna().all()
    assert of(summary, "ONE", "relative_error")["n_seeds"].tolist() == [3, 3]
    assert of(summary, "ONE, 3 seeds", "relative_error")["ratio"].notna().all()
    table = pd.read_csv(out / "results.csv")
    assert set(table.loc[table["modality"] == "ONE, 3 seeds", "kind"]) == {"ensemble"}
    for metric in ("crps", "spread", "spread_skill", "coverage@0.9", "rollout_crps", "mae"):
        assert np.isfinite(of(table, "ONE, 3 seeds", metric)["value"]).all()
    assert not (table[table["modality"] == "ONE"]["metric"] == "crps").any()
    for suffix in ("png", "pdf"):
        assert (out / f"ensembles.{suffix}").exists()


def test_it_is_the_mean_of_its_members(first):
    _, out = first
    each = [np.load(out / "ONE" / seed / "samples.npz")["prediction"] for seed in "014"]
    kept = np.load(out / "ONE" / "ensemble" / "samples.npz")
    np.testing.assert_allclose(kept["prediction"], np.mean(each, 0), atol=1e-4)
    wanted = np.swapaxes([one[:, :, 24, 0] for one in each], 0, 1)
    np.testing.assert_allclose(kept["members_at_point"], wanted, atol=1e-4)
    assert kept["rank_histogram"].shape == (2, 4)
    np.testing.assert_allclose(kept["rank_histogram"].sum(1), 1)


def test_a_modalitys_folder_loads_as_one_stepper(first):
    _, out = first
    kept = np.load(out / "ONE" / "ensemble" / "samples.npz")
    truth = np.load(out / "ONE" / "0" / "samples.npz")
    params = {"domain_size": tf.constant(kept["params.domain_size"])}
    ensemble = tu.load(out / "ONE")
    assert ensemble.count == 3
    start = tf.constant(truth["prediction"][:, 0])
    states = ensemble.members(rollout(ensemble.bind(params), ensemble.start(start), 2))
    each = [tu.load(out / "ONE" / seed) for seed in "014"]
    alone = [rollout(stepper.stepper.bind(params), start, 2) for stepper in each]
    np.testing.assert_allclose(states, np.stack(alone), atol=1e-4)


def test_the_mean_step_exports(first, tmp_path):
    _, out = first
    tu.export(out / "ONE", tmp_path / "model")
    model, each = tf.saved_model.load(str(tmp_path / "model")), []
    u = tf.constant(np.load(out / "ONE" / "0" / "samples.npz")["reference"][:2, 0])
    params = {"domain_size": tf.constant([7.44, 9.2])}
    each = [tu.load(out / "ONE" / seed).bind(params)(u) for seed in "014"]
    np.testing.assert_allclose(model.step(u, params), np.mean(each, 0), atol=1e-5)


def test_an_evaluation_without_it_leaves_no_old_one(first, config, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(first[1], out)
    assert "ONE, 3 seeds" in runs.gather(out)
    assert runs.run(replace(config, out=str(out), resume=True)) == runs.gather(out)
    plain = out / "config.json"
    plain.write_text(plain.read_text().replace('"ensemble": true', '"ensemble": false'))
    assert "ONE, 3 seeds" not in runs.evaluate(out, horizon=5, workers=1)
    assert not (out / "ONE" / "ensemble").exists()


def test_one_that_diverged_is_said(first, config, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(first[1], out)
    wrong = config.resolved()
    from tfunroll.nets.weights import Weights
    from tfunroll.runs.plan import Plan
    from tfunroll.training.checkpoints import Checkpoints

    net = Plan(wrong).net(0)
    load_weights(out / "ONE" / "4", net)
    checkpoints = Checkpoints(out / "ONE" / "4" / "checkpoints")
    parts = checkpoints.read(8)
    parts["net"]["flat"] = 1e3 * Weights(net).read().numpy()
    checkpoints.save(8, parts)
    runs.evaluate(out, workers=1)
    table = pd.read_csv(out / "results.csv")
    for metric in ("relative_error", "rollout_crps", "crps"):
        rows = of(table, "ONE, 3 seeds", metric)
        assert (rows["status"] == "diverged").any()
        assert np.isfinite(rows["value"]).all()
    assert (of(table, "ONE", "relative_error").query("seed == 0")["status"] == "ok").all()


def test_evaluate_takes_an_ensemble(first, config):
    data = runs.load_data(config.resolved())
    found = tu.evaluate(
        tu.load(first[1] / "ONE"), data, name="three", horizon=6, long_horizon=10, jit=False
    )
    assert "three" in str(found)
    assert "spread/skill" in str(found)
    assert set(found.results["kind"]) == {"ensemble", "persistence", "coarse solver"}


def test_points_of_a_line_and_members_of_noise(config, tmp_path):
    changes = {"subspace": "line", "stochastic": True, "loss": "crps", "members": 2}
    out = tmp_path / "run"
    text = runs.run(replace(config, out=str(out), seeds=(0, 1), curriculum="1:3", **changes))
    assert "ONE, 5 points" in text
    table = pd.read_csv(out / "results.csv")
    for modality, kind in (("ONE", "network"), ("ONE, 5 points", "ensemble")):
        rows = of(table, modality, "rollout_crps")
        assert set(rows["seed"]) == {0, 1}  # each line is an ensemble of its own
        assert set(rows["kind"]) == {kind}
    one = np.load(out / "ONE" / "0" / "samples.npz")["members_at_point"]
    assert one.shape[1] == 2
    assert np.load(out / "ONE" / "ensemble" / "samples.npz")["members_at_point"].shape[1] == 5
    first, second = (tu.load(out / "ONE" / "0", alpha=a).net.get_weights() for a in (0, 1))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    with pytest.raises(InputError, match="how='steps': the mean of steps with noise"):
        tu.export(out / "ONE", tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (3,)}, "ensemble: seeds=3 is one member"),
        ({"ensemble": False, "metrics": ("crps",)}, "metrics=crps judges an ensemble's members"),
        ({"metrics": ("coverage@2",)}, "must be a number between 0 and 1"),
    ],
)
def test_what_is_refused(config, changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        runs.run(replace(config, out=str(tmp_path / "x"), **changes))


def test_averages_of_weights_across_seeds_are_refused(first):
    with pytest.raises(InputError, match="how='weights': the mean of the weights of independent"):
        tu.load(first[1] / "ONE", how="weights")


def test_a_folder_of_one_seed(first, tmp_path):
    shutil.copytree(first[1] / "ONE" / "0", tmp_path / "ONE" / "0")
    with pytest.raises(InputError, match="an Ensemble has 1 member"):
        tu.load(tmp_path / "ONE")
