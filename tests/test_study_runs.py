"""Studies that really run, tiny ones: sharded, resumed, failing in part, gathered."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread
from PIL import Image

from tfunroll import study
from tfunroll.core import InputError
from tfunroll.runs.folder import locked
from tfunroll.study import collection, costs, execution, folder

ROOT = Path(__file__).parents[1]
TINY = """
title = "Tiny"
question = "Does it run?"
[mini]
curriculum = "2:4"
seeds = [0, 1]
modalities = ["ONE", "WIG"]
width = 2
depth = 1
jit = "off"
horizon = 4
long_horizon = 8
starts = 1
checkpoint_every = 2
metrics = ["relative_error", "nrmse", "divergence_time"]
[[mini.cells]]
mode = ["correction", "prediction"]
[[mini.cells]]
net = "fno"
modes = 500
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return study.load(written(tmp_path_factory.mktemp("description"), TINY), "mini")


@pytest.fixture(scope="module")
def whole(tiny, tiny_data_dir, tmp_path_factory):
    """The study run at once: (folder, what failed)."""
    out = tmp_path_factory.mktemp("studies") / "whole"
    return out, study.run(tiny, out, count=1, data_dir=str(tiny_data_dir))


def test_a_failure_does_not_stop_the_rest(tiny, whole):
    out, failed = whole
    *good, bad = tiny.runs
    assert list(failed) == [bad]
    (why,) = set(failed[bad].values())
    assert why.startswith("modes=500 is too much for a grid of (48,) points")
    assert [folder.state(tiny, out, run_id) for run_id in tiny.runs] == [
        *("finished", "finished", "failed")
    ]
    gathered = collection.collect(out)
    assert list(gathered.labels) == good
    assert "2 finished, 1 failed" in collection.progress(gathered)
    assert f"failed: {bad}: modes=500" in collection.progress(gathered)


def test_the_gathered_table_is_tidy(tiny, whole):
    gathered = collection.collect(whole[0])
    errors = gathered.table.query("metric == 'relative_error' and modality in ('ONE', 'WIG')")
    assert len(errors) == 2 * 2 * 2 * 16  # runs × modalities × seeds × test trajectories
    keys = ["run_id", "test_set", "trajectory", "start_frame", "metric", "frame"]
    assert not gathered.table.duplicated([*keys, "modality"]).any()
    assert set(gathered.labels.values()) == {"correction", "prediction"}
    summary = gathered.summary
    assert summary.columns[0] == "run"
    wig = summary.query("modality == 'WIG' and metric == 'relative_error' and subset == 'all'")
    assert len(wig) == 4
    wig = wig[wig["mode"] == "prediction"]  # the correction diverges, so little is it trained
    assert wig[["value", "spread_seeds", "diverged", "ratio"]].notna().all(axis=None)
    assert wig["p_value"].isna().all()  # of two seeds
    assert "too few seeds" in collection.table(gathered)
    assert " 4, 8 " in collection.table(gathered)  # frames of errors and of times


def test_gathering_writes_everything_and_trains_nothing(whole):
    out, _ = whole
    before = {p: p.stat().st_mtime for p in out.rglob("training.json")}
    text = study.gather([out], docs=str(out / "docs"))
    for name in ("results.csv", "summary.csv", "findings.md", "errors.png", "ratios.pdf"):
        assert (out / name).exists(), name
        assert str(out / name) in text
    for run_id in collection.collect(out).labels:
        assert (folder.run_folder(out, run_id) / "curves.png").exists()
    assert {p: p.stat().st_mtime for p in out.rglob("training.json")} == before
    page = (out / "docs" / "findings.md").read_text()
    fingerprints = set(pd.read_csv(out / "summary.csv")["fingerprint"])
    assert len(fingerprints) == 1
    assert re.search(rf"kuramoto_sivashinsky/tiny [\d.]+ \({fingerprints.pop()}\)", page)
    with Image.open(out / "errors.png") as picture:
        assert json.loads(picture.text["Description"])["data"][0] in page
    assert "2 of 3 runs are finished" in page
    assert "## Not run yet" in page
    assert all(name in page for name in study.names())
    for line in page.splitlines():
        if line.startswith("!["):
            assert (out / "docs" / line.split("](")[1].rstrip(")")).exists(), line
    first = (out / "results.csv").read_bytes()
    study.gather([out])
    assert (out / "results.csv").read_bytes() == first


@pytest.mark.slow
def test_two_shards_give_the_table_of_the_whole(tiny, whole, tiny_data_dir, tmp_path):
    out = tmp_path / "sharded"
    for part in ("2/2", "1/2"):
        study.run(tiny, out, part=part, count=1, data_dir=str(tiny_data_dir))
    a, b = collection.collect(whole[0]), collection.collect(out)
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)
    pd.testing.assert_frame_equal(a.summary, b.summary, check_exact=True)
    assert a.states == b.states


def test_what_is_finished_is_skipped(tiny, whole, tiny_data_dir, capsys):
    out, _ = whole
    before = {p: p.stat().st_mtime for p in out.rglob("*.csv")}
    first = next(iter(tiny.runs))
    assert study.run(tiny, out, only=first, data_dir=str(tiny_data_dir)) == {}
    assert "1 of 1 runs are done" in capsys.readouterr().out
    assert {p: p.stat().st_mtime for p in out.rglob("*.csv")} == before


def test_a_run_in_progress_elsewhere_is_left_alone(tiny, whole, tiny_data_dir, tmp_path):
    out, run_id = tmp_path / "busy", next(iter(tiny.runs))
    path = folder.run_folder(out, run_id)
    path.mkdir(parents=True)
    with locked(path):
        failed = study.run(tiny, out, only=run_id, data_dir=str(tiny_data_dir))
    assert "is in use by another run" in failed[run_id]["start"]
    assert folder.failures(out, run_id) == {}


def test_nothing_to_gather(tiny, tmp_path):
    folder.claim(tiny, tmp_path)
    with pytest.raises(InputError, match="holds no results yet"):
        study.gather([tmp_path])


def test_the_estimate_grows_with_the_work(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(costs, "TIMED", 0.2)
    monkeypatch.setattr(costs, "measure", lambda config: (1e-9, 0.0))
    text = study.estimate(tiny, tmp_path, count=1)
    assert "3 runs, 12 networks, 48 updates" in text  # 2 seeds × 2 modalities × 4 × 3 runs
    assert "not estimated: ks-correction-fno" in text
    big = study.load(written(tmp_path, TINY.replace("2:4", "2:4000")), "mini")

    def seconds(of):
        config = of.config(next(iter(of.runs))).resolved()
        return costs.operations(config) * execution.runs.total_states(config)

    assert seconds(big) / seconds(tiny) == pytest.approx(1000, rel=0.01)


def test_a_rate_is_measured(tiny, monkeypatch):
    monkeypatch.setattr(costs, "TIMED", 0.2)
    per_operation, compiling = costs.measure(tiny.config(next(iter(tiny.runs))).resolved())
    assert 1e-13 < per_operation < 1e-4
    assert compiling > 0


def start(out, description, data_dir, *more):
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "study.py", f"--study={description}", f"--out={out}",
         f"--data_dir={data_dir}", "--workers=2", *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_study_resumes_to_the_same_table(number, tiny, whole, tiny_data_dir, tmp_path):
    description, out = written(tmp_path, TINY), tmp_path / "killed"
    process = start(out, description, tiny_data_dir)
    end = time.monotonic() + 200
    while not list(out.glob("runs/*/WIG/*/checkpoints/*.npz")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == (-9 if number == signal.SIGKILL else 143), text
    if number == signal.SIGTERM:
        assert "what was trained is saved, the same command goes on" in text
    resumed = start(out, description, tiny_data_dir)
    text = resumed.communicate(timeout=400)[0]
    assert resumed.returncode == 1, text  # the run that cannot work
    assert "failed: 1 runs" in text
    a, b = collection.collect(whole[0]), collection.collect(out)
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)


STUB = """#!/bin/bash
# sbatch as far as a study needs it: --array=A-B from the command line or the script, tasks in a row
array=$(grep -oP '^#SBATCH --array=\\K.*' "$1")
if [[ $1 == --array=* ]]; then array=${1#--array=}; shift; fi
export SLURM_ARRAY_TASK_MIN=${array%-*} SLURM_SUBMIT_DIR=$PWD
export SLURM_ARRAY_TASK_COUNT=$((${array#*-} - SLURM_ARRAY_TASK_MIN + 1))
for i in $(seq ${array%-*} ${array#*-}); do SLURM_ARRAY_TASK_ID=$i bash "$@" || exit $?; done
"""


def submit(tmp_path, *arguments, python):
    """sbatch's stub with the array script and these arguments, in the repository."""
    stub = tmp_path / "sbatch"
    stub.write_text(STUB)
    array = [a for a in arguments if a.startswith("--array")]
    flags = [a for a in arguments if a not in array]
    return subprocess.run(
        ["bash", stub, *array, "scripts/study_slurm.sh", *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("array", "n"), [((), 4), (("--array=1-3",), 3), (("--array=0-1",), 2)])
def test_slurm_tasks_are_shards(array, n, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "$@"\n')
    python.chmod(0o755)
    done = submit(tmp_path, *array, "--study=modalities", python=python)
    assert done.returncode == 0, done.stderr
    wanted = [f"scripts/study.py --shard={i}/{n} --study=modalities" for i in range(1, n + 1)]
    assert done.stdout.splitlines() == wanted


@pytest.mark.slow
def test_a_slurm_array_runs_a_study(tiny, whole, tiny_data_dir, tmp_path):
    good = TINY.split('[[mini.cells]]\nnet = "fno"')[0]
    arguments = (
        *("--array=1-2", f"--study={written(tmp_path, good)}", f"--out={tmp_path / 'out'}"),
        *(f"--data_dir={tiny_data_dir}", "--workers=1"),
    )
    done = submit(tmp_path, *arguments, python=sys.executable)
    assert done.returncode == 0, done.stderr
    a, b = collection.collect(whole[0]), collection.collect(tmp_path / "out")
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", study.names())
def test_every_study_starts(name, tiny_data_dir, tmp_path):
    """Each KS run of a mini study, cut to a few updates of one seed, trains and is gathered."""
    found = study.load(name, "mini")
    small = {}
    for run_id, settings in found.runs.items():
        config = found.config(run_id)
        if config.system != "ks":
            continue
        curriculum = ",".join(f"{s.steps}:2" for s in config.stages())
        small[run_id] = {
            **settings,
            **{"curriculum": curriculum, "seeds": (0, 1), "dataset_config": "tiny"},
            **{"validate_every": 1, "jit": "off", "long_horizon": 20},
        }
        if name == "convergence":  # a ratio needs rollouts that do not all diverge
            small[run_id]["mode"] = "prediction"
        if config.net == "resnet":
            small[run_id] |= {"size": "", "width": 1 + config.width % 5, "depth": 1}
        else:
            small[run_id]["size"] = "1k"
    few = study.Study(name, "mini", found.title, found.question, small)
    out = tmp_path / name
    assert study.run(few, out, count=1, data_dir=str(tiny_data_dir)) == {}
    text = study.gather([out])
    assert f"{len(small)} runs: {len(small)} finished" in text
    assert "### " in (out / "findings.md").read_text(), name
    assert imread(out / "errors.png").shape[1] > 400
