"""Whole runs, tiny ones: what a user gets from the scripts, and what a mistake says."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import tfunroll
from tfunroll.core import InputError
from tfunroll.evaluation.results import COLUMNS
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig
from tfunroll.runs.folder import locked

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def config(tiny_data_dir, tmp_path_factory):
    return RunConfig(
        data_dir=str(tiny_data_dir),
        width=4,
        depth=1,
        curriculum="1:20,2:10",
        seeds=(0, 1),
        jit="off",
        long_horizon=30,
        starts=1,
        workers=1,
        out=str(tmp_path_factory.mktemp("runs") / "first"),
    )


@pytest.fixture(scope="module")
def first(config):
    return runs.run(config), Path(config.out)


def test_a_run_leaves_what_it_promises(first):
    text, out = first
    for name in (
        *("flagfile.txt", "environment.json", "config.json", "results.csv", "summary.csv"),
        *("curves.png", "curves.pdf", "rollouts.png", "WIG/1/model.json", "WIG/1/checkpoints"),
    ):
        assert (out / name).exists(), name
        assert str(out / "results.csv") in text
    assert {
        *("training/loss", "training/learning_rate", "training/horizon", "training/gradient_norm"),
        *("gradient_by_step/02", "_hparams_/session_start_info"),
        "final/relative_error/test_interpolation",
    } <= tensorboard_tags(out / "WIG" / "0")
    assert json.loads((out / "environment.json").read_text())["precision"] == "float32"
    for row in ("ONE", "NOG", "WIG", "persistence", "coarse solver", "equal-cost solver"):
        assert f"\n{row}" in text


def test_tensorboard_has_whole_curves_and_every_setting(first):
    """Read back as TensorBoard reads them."""
    _, out = first
    events = event_accumulator.EventAccumulator(str(out / "WIG" / "0"), {"tensors": 0}).Reload()
    steps = [event.step for event in events.Tensors("training/loss")]
    assert steps[0] <= 20 < steps[-1] == 30  # the shared stage, of 20 updates, is in it
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    shown = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    settings = {name: value.ListFields()[0][1] for name, value in shown.items()}
    assert (settings["modality"], settings["seed"]) == ("WIG", 0)
    assert settings["curriculum"] == "1:20:0.0005,2:10:0.0005"
    assert (settings["updates"], settings["longest_horizon"], settings["width"]) == (30, 2, 4)
    said_otherwise = {"modalities", "seeds", "steps"}
    assert set(RunConfig.names(identity=True)) - said_otherwise <= set(settings)


def tensorboard_tags(folder):
    tags = set()
    for path in folder.glob("events.out.tfevents.*"):
        events = event_accumulator.EventAccumulator(str(path))
        tags |= set(events.Reload().Tags()["tensors"])
    return tags


def test_results_are_tidy_and_complete(first):
    _, out = first
    table = pd.read_csv(out / "results.csv")
    assert list(table.columns) == [*COLUMNS, "params.domain_size"]
    errors = table[(table.metric == "relative_error") & (table.modality == "WIG")]
    assert len(errors) == 2 * 16  # seeds × test trajectories
    assert set(errors.test_set) == {"test_interpolation", "test_extrapolation"}
    assert set(errors.status) <= {"ok", "diverged"}


def test_the_same_flags_give_the_same_results(first, config, tmp_path):
    # two processes, another order, fewer seeds: none of it may matter
    again = replace(
        config, out=str(tmp_path / "again"), seeds=(1,), modalities=("WIG", "ONE"), workers=2
    )
    runs.run(again)
    a, b = (pd.read_csv(p / "results.csv") for p in (first[1], tmp_path / "again"))
    for modality in ("ONE", "WIG"):
        x, y = (t[(t.modality == modality) & (t.seed == 1)].value.to_numpy() for t in (a, b))
        np.testing.assert_array_equal(x, y)


def test_load_steps_a_trained_network(first):
    _, out = first
    stepper = tfunroll.load(out / "WIG" / "0")
    step = stepper.bind({"domain_size": tf.constant([7.44, 9.2])})
    assert step(tf.zeros([2, 48, 1])).shape == (2, 48, 1)
    samples = np.load(out / "WIG" / "0" / "samples.npz")
    step = stepper.bind({"domain_size": tf.constant(samples["params.domain_size"][:1])})
    ahead = step(step(tf.constant(samples["prediction"][:1, 0])))
    np.testing.assert_allclose(ahead, samples["prediction"][:1, 2], atol=1e-4)


def test_load_of_something_else(tmp_path):
    with pytest.raises(InputError, match="holds no trained network"):
        tfunroll.load(tmp_path)


def test_a_finished_run_is_not_overwritten_but_resumes(first, config):
    with pytest.raises(InputError, match="out=.* holds a run already; --resume"):
        runs.run(config)
    with pytest.raises(InputError, match="has other flags: batch_size was 16, is 8"):
        runs.run(replace(config, resume=True, batch_size=8))
    before = pd.read_csv(first[1] / "results.csv")
    runs.run(replace(config, resume=True))
    pd.testing.assert_frame_equal(before, pd.read_csv(first[1] / "results.csv"))


def files_of(folder):
    """Path -> content of all files but locks."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith("lock")]
    return {p.relative_to(folder): p.read_bytes() for p in files}


def test_an_evaluation_records_its_settings_data_and_code(first, config):
    record = json.loads((first[1] / "evaluation.json").read_text())
    dataset = runs.load_data(replace(config.resolved()))
    assert (record["horizon"], record["long_horizon"], record["starts"]) == (12, 30, 1)
    assert record["metrics"] == list(config.resolved().metrics)
    assert record["data"]["fingerprint"] == dataset.fingerprint
    assert record["data"]["config"] == "tiny"
    assert record["environment"]["tfunroll"] == tfunroll.__version__
    assert record["environment"]["precision"] == "float32"
    assert "relative error over 12 frames" in first[0]
    assert "diverged: within 30 frames" in first[0]


@pytest.fixture(scope="module")
def again(first, tmp_path_factory):
    """A copy of the run, evaluated with another horizon: its text, its folder."""
    out = tmp_path_factory.mktemp("again") / "copy"
    shutil.copytree(first[1], out)
    return runs.evaluate(out, horizon=5, workers=1), out


SHORT = {1, 2, 3, 4, 5, 10, 20, 30}  # frames that are kept with that horizon


def test_evaluate_again_with_another_horizon(again):
    text, out = again
    table = pd.read_csv(out / "results.csv")
    assert set(table[table.metric == "mse"].frame) == SHORT
    assert json.loads((out / "evaluation.json").read_text())["horizon"] == 5
    assert "relative error over 5 frames" in text
    events = sorted((out / "WIG" / "1").glob("*.final"))
    assert len(events) == 1  # the old one is gone
    reader = event_accumulator.EventAccumulator(str(events[0]))
    (event,) = reader.Reload().Tensors("final/relative_error/test_extrapolation")
    chosen = "modality == 'WIG' and seed == 1 and test_set == 'test_extrapolation'"
    errors = table[table["metric"] == "relative_error"].query(chosen)["value"]
    assert tf.make_ndarray(event.tensor_proto) == pytest.approx(np.exp(np.log(errors).mean()))


def test_evaluating_elsewhere_keeps_the_old(first, config, tmp_path):
    out, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(first[1], out)
    before = files_of(out)
    text = runs.evaluate(out, str(other), horizon=5, workers=1)
    assert files_of(out) == before
    assert "relative error over 5 frames" in text
    assert str(other / "curves.png") in text
    assert "training loss" in text
    assert json.loads((other / "evaluation.json").read_text())["run"] == str(out)
    assert runs.gather(other) == text
    with pytest.raises(InputError, match="out=.*other' holds a run or an evaluation already"):
        runs.evaluate(out, str(other), workers=1)
    with pytest.raises(InputError, match="out=.*copy' holds a run or an evaluation already"):
        runs.evaluate(out, str(out), workers=1)


def test_a_resumed_run_is_evaluated_as_its_other_networks_were(again, config, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(again[1], out)
    (out / "WIG" / "1" / "results.csv").unlink()
    assert "relative error over 5 frames" in runs.run(replace(config, out=str(out), resume=True))
    table = pd.read_csv(out / "results.csv")
    frames = table[table["metric"] == "mse"].groupby(["modality", "seed"])["frame"].apply(set)
    assert frames["WIG", 1] == frames["ONE", 0] == SHORT


def test_a_kill_while_old_results_are_replaced_mixes_nothing(first, again, tmp_path, monkeypatch):
    out, moved = tmp_path / "copy", []
    shutil.copytree(first[1], out)
    parts = [*again[1].glob("*/*/results.csv*"), *again[1].glob("*/*/samples.npz")]
    for part in [*parts, *again[1].glob("baselines/*"), again[1] / "evaluation.json"]:
        new = out / runs.READY / part.relative_to(again[1])  # an evaluation that is complete
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(part, new)

    def move(path, target, replace_=Path.replace):
        if runs.READY in str(path):
            if len(moved) == 3:
                raise KeyboardInterrupt
            moved.append(path)
        return replace_(path, target)

    monkeypatch.setattr(Path, "replace", move)
    with pytest.raises(KeyboardInterrupt):
        runs.gather(out)
    monkeypatch.undo()
    with locked(out):  # by another that puts them in place
        with pytest.raises(InputError, match="is in use by another run"):
            runs.gather(out)
        assert (out / runs.READY).exists()
    runs.gather(out)
    with locked(out):
        runs.gather(out)  # nothing is to be moved: a run may go on meanwhile
    assert (out / "results.csv").read_bytes() == (again[1] / "results.csv").read_bytes()
    assert not (out / ".evaluation").exists()


def test_results_of_earlier_versions_are_refused(first, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(first[1], out)
    record = json.loads((out / "evaluation.json").read_text())
    for damaged in ("{", "[]", json.dumps(record | {"horizon": "x"}), json.dumps({"horizon": 3})):
        (out / "evaluation.json").write_text(damaged)
        with pytest.raises(InputError, match=r"evaluation\.json: .*; scripts/evaluate.py"):
            runs.gather(out)
    (out / "evaluation.json").unlink()
    with pytest.raises(
        InputError, match=r"evaluation\.json cannot be read .*; scripts/evaluate.py"
    ):
        runs.gather(out)
    with pytest.raises(InputError, match="is not a run folder"):
        runs.gather(tmp_path)


def test_a_killed_evaluation_leaves_the_old_results(first, config, tmp_path, monkeypatch):
    out = tmp_path / "copy"
    shutil.copytree(first[1], out)
    before = pd.read_csv(out / "results.csv")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.failures, "error_of", killed)  # all done but for the renames
    with pytest.raises(KeyboardInterrupt):
        runs.evaluate(out, horizon=5, workers=1)
    assert list((out / runs.STAGING).glob("*/*/results.csv"))
    runs.gather(out)
    pd.testing.assert_frame_equal(before, pd.read_csv(out / "results.csv"))


@pytest.mark.slow
def test_start_from_a_trained_run(first, config, tmp_path):
    out = str(tmp_path / "next")
    text = runs.run(
        replace(config, curriculum="2:5", start_from=config.out, out=out, seeds=(0,), horizon=3)
    )
    assert "WIG" in text
    with pytest.raises(InputError, match="start_from=.* holds no ONE network of seed 7"):
        runs.run(replace(config, start_from=config.out, out=str(tmp_path / "x"), seeds=(7,)))


def test_horizons_that_do_not_fit_the_data(config, tmp_path):
    out = str(tmp_path / "run")
    with pytest.raises(InputError, match="steps=5000 does not fit training trajectories"):
        runs.run(replace(config, curriculum="5000:2", out=out))
    with pytest.raises(InputError, match="long_horizon=5000"):
        runs.run(replace(config, long_horizon=5000, out=out))
    with pytest.raises(InputError, match="metrics='guess' is unknown; allowed: "):
        runs.run(replace(config, metrics=("guess",), out=out))


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        (
            "train",
            ["--system=navier"],
            "error: system='navier' is unknown; allowed: aerofoil, kolmogorov, ks, "
            "path/to/module.py:SYSTEM, wake",
        ),
        ("train", ["--steps=x"], "error: flag --steps=x"),
        ("train", ["--colour=red"], "error: Unknown command line flag 'colour'"),
        ("evaluate", ["--run=nowhere"], "error: run='nowhere' is not a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(script, arguments, message):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{script}.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("I0", "W0", "E0"))]
    assert "Traceback" not in done.stderr
    assert any(line.startswith(message) for line in lines), done.stderr


def test_two_runs_in_one_folder(tmp_path):
    with locked(tmp_path):
        expected = "is in use by another run (process"
        with pytest.raises(InputError, match=re.escape(expected)), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass


def train(config, *more):
    """scripts/train.py with a configuration's flags, as a user starts it."""
    flags = [*config.flagfile().split("\n")[:-1], *more]
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "train.py", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(out, pattern, process, seconds=120):
    end = time.monotonic() + seconds
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, f"{pattern} did not appear"
        time.sleep(0.05)


@pytest.mark.slow
def test_sigterm_saves_and_resume_equals_the_uninterrupted_run(config, tmp_path):
    out = tmp_path / "stopped"
    config = replace(config, out=str(out), checkpoint_every=5, workers=2)
    process = train(config)
    wait_for(out, "shared/*/checkpoints/*.npz", process)
    second = train(config, "--resume")  # while the first one is at work
    assert second.wait(120) == 2
    assert "is in use by another run (process" in second.stdout.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    text = process.stdout.read()
    assert "error: stopped by SIGTERM; what was trained is saved" in text
    assert "Traceback" not in text
    resumed = train(config, "--resume")
    assert resumed.wait(200) == 0, resumed.stdout.read()
    reference = replace(config, out=str(tmp_path / "whole"))
    runs.run(reference)
    a, b = (pd.read_csv(p / "results.csv") for p in (out, tmp_path / "whole"))
    np.testing.assert_array_equal(a.value.to_numpy(), b.value.to_numpy())
