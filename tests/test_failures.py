"""What must not pass without a word: failed networks, changed data, lost folders, damage."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfunroll import failures, systems
from tfunroll.core import IncompleteError, InputError
from tfunroll.failures import FailedError
from tfunroll.runs import folder, models
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig
from tfunroll.runs.folder import InUseError, free_folder
from tfunroll.stepping.unrolling import rollout
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.fit import TrainingDivergedError

KS = systems.get("ks")


@pytest.fixture(scope="module")
def states():
    """Six trajectories of 40 frames, [trajectory, frame, 48, 1], of domain size 8."""
    sizes = {"domain_size": np.full(6, 8.0)}
    start = tf.constant(KS.initial_state(sizes, 0))
    step = KS.coarse("etdrk2").bind({"domain_size": tf.constant(sizes["domain_size"])})
    return rollout(step, start, 40).numpy().astype(np.float32)


@pytest.fixture(scope="module")
def data(states, tmp_path_factory):
    """The description of these states as own data."""
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "states.npy", states)
    description = {"system": "ks", "states": "states.npy", "params": {"domain_size": [8.0] * 6}}
    (folder / "own.json").write_text(json.dumps(description))
    return folder / "own.json"


@pytest.fixture(scope="module")
def small(data):
    """A run of seconds."""
    return RunConfig(
        data=str(data),
        modalities=("ONE",),
        width=2,
        depth=1,
        curriculum="2:4",
        seeds=(0, 1),
        checkpoint_every=2,
        horizon=4,
        long_horizon=8,
        starts=1,
        jit="off",
        workers=1,
    )


@pytest.fixture
def config(small, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.plots, "plot_run", lambda *_: [])
    return replace(small, out=str(tmp_path / "run"))


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.plots, "plot_run", lambda *_: [])
        runs.run(replace(small, out=str(out)))
    return out


@pytest.fixture
def out(trained, config):
    """A copy of a trained run's folder, where ``config`` goes on with it."""
    return Path(shutil.copytree(trained, config.out))


def values(out):
    return pd.read_csv(out / "results.csv").value.to_numpy()


def test_resume_and_evaluation_refuse_other_data(config, out, states, data):
    record = json.loads((out / "environment.json").read_text())["data"]
    assert record["splits"]["train"] == [4, 40]
    again = replace(config, resume=True)
    try:
        np.save(data.with_name("states.npy"), 1.001 * states)
        changed = f"fingerprint was {record['fingerprint']}, is [0-9a-f]{{16}};"
        with pytest.raises(InputError, match=f"data: not those .*run' was begun on: {changed} put"):
            runs.run(again)
        np.save(data.with_name("states.npy"), states[:, :30])
        changed = "train was 4 × 40 frames, is 4 × 30 frames; validation was "
        for act in (lambda: runs.run(again), lambda: runs.evaluate(out, workers=1)):
            with pytest.raises(InputError, match=changed):
                act()
    finally:
        np.save(data.with_name("states.npy"), states)
    assert "ONE" in runs.run(again)


def test_resume_needs_a_run_to_go_on_with(config, tmp_path):
    for name in (config.out, ""):
        expected = f"resume: out='{re.escape(name)}' holds no run to go on with"
        with pytest.raises(InputError, match=expected):
            runs.run(replace(config, resume=True, out=name))
    assert not (tmp_path / "run").exists()


def test_the_folder_is_checked_under_its_lock(config, tmp_path, monkeypatch):
    def meanwhile(_):  # another process begins a run after this one has checked
        other = replace(config.resolved(), batch_size=3)
        (tmp_path / "run" / "config.json").write_text(other.to_json())
        return ""

    monkeypatch.setattr(runs, "describe_environment", meanwhile)
    with pytest.raises(InputError, match="holds a run already"):
        runs.run(config)
    assert not list((tmp_path / "run").glob("*/*/checkpoints"))


def test_refined_baselines_need_solvers_to_refine(config, monkeypatch):
    monkeypatch.setattr(systems, "get", lambda name: replace(KS, refined=None))
    with pytest.raises(InputError, match="refined=2,3 is not for system=ks"):
        runs.run(replace(config, refined=(2, 3)))


def test_two_runs_without_a_name_never_share_a_folder(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [free_folder(config)[-3:] for _ in range(3)] == ["001", "002", "003"]


def test_a_failed_network_is_a_failed_run(config, tmp_path, monkeypatch, capsys):
    original = runs.train_networks

    def diverging(config, modality, seeds):
        if seeds == (1,):
            raise TrainingDivergedError(f"{modality} 1:\n200 updates in a row were skipped")
        return original(config, modality, seeds)

    monkeypatch.setattr(runs, "train_networks", diverging)
    expected = "1 of 3 failed: ONE 1: TrainingDivergedError: ONE 1: 200 updates .*--resume tries"
    with pytest.raises(FailedError, match=expected) as caught:
        runs.run(config)
    assert caught.value.status == 1
    assert "\n" not in str(caught.value)
    shown = capsys.readouterr().out
    assert "\nONE " in shown  # the others' table, with the gap named
    assert "not trained to their end, so not in this table: ONE 1" in shown
    monkeypatch.setattr(runs, "train_networks", original)
    assert "not trained" not in runs.run(replace(config, resume=True))
    assert set(pd.read_csv(tmp_path / "run" / "results.csv").seed) == {0, 1}


def test_a_failed_evaluation_leaves_the_old_results(out, monkeypatch):
    before = values(out)

    def failing(config, modality, seed, *more):
        if seed == 1:
            raise MemoryError("too large")
        return original(config, modality, seed, *more)

    original = runs.evaluate_network
    monkeypatch.setattr(runs, "evaluate_network", failing)
    expected = "1 of 3 failed: ONE 1: MemoryError: too large; the results before stand"
    with pytest.raises(FailedError, match=expected):
        runs.evaluate(out, horizon=6, workers=1)
    for name in ("evaluate_network", "evaluate_baselines"):  # before anything was written

        def failing_at_once(*_):
            raise MemoryError("too large")

        monkeypatch.setattr(runs, name, failing_at_once)
    with pytest.raises(FailedError, match="3 of 3 failed: .*: MemoryError: too large"):
        runs.evaluate(out, horizon=6, workers=1)
    runs.gather(out)
    np.testing.assert_array_equal(values(out), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "is not a run folder"),
        ("ONE/1/samples.npz", "samples.npz cannot be read .*evaluate.py"),
        ("ONE/1/history.csv", "history.csv cannot be read .*; delete it"),
        ("ONE/1/results.csv", "results.csv (cannot be read|lacks)"),
        ("baselines/samples.npz", "samples.npz cannot be read"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_line(out, name, message):
    for damage in (b"\xff\xfe\x00", b"[1, 2]\n3\n", (out / name).read_bytes()[:-20] + b"x\n"):
        (out / name).write_bytes(damage)
        with pytest.raises(InputError, match=message) as told:
            runs.gather(out)
        assert "\n" not in str(told.value)


def test_a_damaged_description_of_a_network_is_one_line(out):
    for damage in (b"\xff\xfe\x00", b"[1, 2]", b"{}", b'{"config": {}, "features": null}'):
        (out / "ONE/1/model.json").write_bytes(damage)
        with pytest.raises(InputError, match="holds no trained network .model.json"):
            models.describe(out / "ONE/1")


def test_what_else_stands_in_a_run_is_left_alone(out):
    whole = folder.samples(out).keys()
    shutil.copytree(out / "ONE" / "1", out / "ONE" / "backup")
    (out / "ONE/0/training.json").write_text("[")
    assert folder.samples(out).keys() == whole
    assert len(folder.training_outcomes(out, "ONE")) == 1


def test_a_finished_network_with_a_damaged_checkpoint_is_trained_to_its_end_again(config, out):
    before = values(out)
    checkpoints = out / "ONE" / "1" / "checkpoints"
    for path in checkpoints.glob("ckpt-4.npz"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(
        FailedError, match="ONE 1: .*ckpt-4.npz is damaged .*train.py --resume trains"
    ):
        runs.evaluate(out, workers=1)
    again = replace(config, resume=True)
    runs.run(again)
    np.testing.assert_array_equal(values(out), before)
    assert Checkpoints(checkpoints).is_whole(4)
    for path in checkpoints.glob("*.npz"):
        path.write_bytes(b"")
    with pytest.raises(FailedError, match=r"ONE 1: .* no other is left: delete .*checkpoints to"):
        runs.run(again)
    np.testing.assert_array_equal(values(out), before)


def test_which_error_ends_the_work():
    mistake, bug = InputError("a mistake"), KeyError("x")
    assert failures.error_of({"a": 1, "b": None}, "") is None
    assert failures.error_of({"a": mistake, "b": mistake}, "") is mistake
    for outcome in ({"a": mistake, "b": 1}, {"a": mistake, "b": bug}):
        assert isinstance(failures.error_of(outcome, ""), FailedError)
    error = failures.error_of({"a": bug, "b": bug, "c": mistake, "d": 1}, "go on")
    assert str(error) == "3 of 4 failed: a, b: KeyError: 'x'; c: a mistake; go on"


# ---------------------------------------------------------------------- how scripts end


def script(body, tmp_path, **more):
    """A script around cli.main whose ``run`` has this body."""
    path = tmp_path / "script.py"
    path.write_text(
        "import os, pathlib, sys\nfrom tfunroll import core\nfrom tfunroll.runs import cli\n"
        f"def run():\n    {body}\nif __name__ == '__main__':\n    cli.main(run, 'what it does')\n"
    )
    return subprocess.Popen([sys.executable, path], text=True, cwd=tmp_path, **more)


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        ("core.InputError('width=-1')", 2, "error: width=-1\n"),
        ("core.IncompleteError('1 failed')", 1, "error: 1 failed\n"),
        ("core.IncompleteError('stopped', 143)", 143, "error: stopped\n"),
        ("KeyboardInterrupt", 130, "error: stopped by SIGINT; what was saved before stands\n"),
        ("type('Reply', (Exception,), {'status': 0})('bug')", 1, "Reply: bug\n"),
    ],
)
def test_statuses(raised, status, line, tmp_path):
    process = script(f"raise {raised}", tmp_path, stderr=subprocess.PIPE)
    text = process.communicate()[1]
    assert process.returncode == status
    assert text.endswith(line)
    assert ("Traceback" in text) == ("Reply" in text)


def test_output_that_nobody_reads_ends_nothing(tmp_path):
    body = (
        "for i in range(20000): print('table', i)\n"
        "    print('progress', file=sys.stderr, flush=True)\n"
        "    pathlib.Path('saved').touch()"
    )
    process = script(body, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert (tmp_path / "saved").exists()


def test_errors_of_tasks_cross_processes():
    for error in (IncompleteError("x", 7), FailedError("x"), InUseError("x"), InputError("x")):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert vars(back) == vars(error)
        assert re.fullmatch("x", str(back))
