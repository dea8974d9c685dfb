"""Damaged and hostile files: every reader gives what it says or InputError, whatever a file holds.

Files are those that tfunroll writes, then bytes of them are changed, or values of their JSON.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfunroll import files
from tfunroll.core import InputError
from tfunroll.data import Dataset, Trajectories
from tfunroll.evaluation import results
from tfunroll.runs import folder, models, provenance
from tfunroll.runs.config import RunConfig
from tfunroll.study import description, publishing
from tfunroll.study import folder as study_folder
from tfunroll.training import records
from tfunroll.training.checkpoints import Checkpoints

CONFIG = RunConfig(width=2, depth=1, steps=2, updates=4, metrics=("relative_error",))
OUTCOME = {
    **{"training_loss": 0.5, "validation_error": float("nan"), "updates": 4, "skipped": 0},
    **{"reasons": ["x"], "seconds": 1.5, "processor_seconds": 2.0},
}
FOUND = {
    **{"title": "t", "paper": "p", "short": "s", "verdict": "v", "provisional": False},
    **{"ours": "o", "seeds": 3},
}
STUDY = """title = "Tiny"
question = "Does it run?"
[presets.m4]
curriculum = "1:2,4:2"
[mini]
seeds = [0, 1]
modalities = ["ONE", "WIG"]
width = 2
[[mini.cells]]
mode = ["correction", "prediction"]
preset = "m4"
noise = [0.0, 0.1]
"""


def dataset():
    states = np.zeros((2, 12, 48, 1), np.float32)
    split = Trajectories(
        states, {"domain_size": np.ones(2, np.float32)}, ("a", "b"), np.zeros(2), {}
    )
    return Dataset("ks", "tiny", {"train": split, "validation": split}, 1.0, "1.0.0")


def read_checkpoint(run):
    return Checkpoints(run / "WIG/0/checkpoints").weights({"flat": np.zeros(7, np.float32)})


def read_study(run):
    found = study_folder.read(run)
    return [found.config(run_id).resolved() for run_id in found.runs]


# name -> (file in the folder, what reads it)
READERS = {
    "config": ("config.json", lambda run: folder.read_config(run).resolved()),
    "model": ("WIG/0/model.json", lambda run: models.describe(run / "WIG/0")),
    "outcome": ("WIG/0/training.json", folder.training_outcomes),
    "evaluation": ("evaluation.json", provenance.read),
    "environment": ("environment.json", lambda run: folder.check_data(run, dataset())),
    "results": ("WIG/0/results.csv", lambda run: results.read_csv(run / "WIG/0/results.csv")),
    "samples": ("WIG/0/samples.npz", folder.samples),
    "history": ("WIG/0/history.csv", folder.histories),
    "checkpoint": ("WIG/0/checkpoints/ckpt-4.npz", read_checkpoint),
    "study": ("study.json", read_study),
    "failures": ("runs/x/failed.json", lambda run: study_folder.failures(run, "x")),
    "description": ("mine.toml", lambda run: description.load(str(run / "mine.toml"), "mini")),
    "findings": ("study/a/findings.json", lambda run: publishing._overview(run / "study", ["a"])),
    "estimates": ("estimates.json", publishing._estimates),
}
AS_JSON = [name for name, (file, _) in READERS.items() if file.endswith(".json")]
SLOWER = {"config": 60, "model": 60, "study": 60, "description": 60}  # build the System each time


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with one good file for each reader."""
    out = tmp_path_factory.mktemp("run")
    network = out / "WIG/0"
    config = CONFIG.resolved()
    files.write_json(out / "config.json", json.loads(config.to_json()))
    from tfunroll.runs.plan import Plan

    plan = Plan(config)
    models.save_description(network, config, plan.features, plan.net(0))
    files.write_json(network / "training.json", OUTCOME)
    files.write_json(out / "evaluation.json", provenance.record(config, dataset()))
    files.write_json(out / "environment.json", {"device": "CPU", "data": dataset().record()})
    numbers = {"frame": 3, "value": 0.5, "seed": 0, "chaotic": True, "start_frame": 0}
    numbers |= dict.fromkeys(("num_weights", "steps", "refinement", "substeps"), 1)
    row = dict.fromkeys(results.COLUMNS, "a") | numbers
    results.write_checked_csv(results.pd.DataFrame([row]), network / "results.csv")
    folder.save_samples(network, {name: np.zeros((2, 3)) for name in folder.SAMPLES})
    history = records.HistoryFile(network)
    history.start(0)
    history.scalars(2, {"training/loss": 0.5, "training/rate": 1e-3})
    parts = {"net": {"flat": np.zeros(7, np.float32)}, "counters": {"update": np.int64(4)}}
    Checkpoints(network / "checkpoints").save(4, parts)
    (out / "mine.toml").write_text(STUDY, encoding="utf-8")
    study = description.load(str(out / "mine.toml"), "mini")
    files.write_json(out / "study.json", study_folder._content(study))
    files.write_json(out / "runs/x/failed.json", {"WIG 0": "diverged"})
    files.write_json(out / "study/a/findings.json", [FOUND])
    files.write_json(out / "estimates.json", {"a-mini": {"hours": 1.0, "unknown": 0, "how": "x"}})
    return out


@st.composite
def damage(draw, length):
    """Edits of a file: (where, how many bytes go, what comes)."""
    place = st.integers(0, length)
    edit = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))
    cut = st.tuples(place, st.just(length), st.just(b""))
    return draw(st.lists(st.one_of(edit, edit, cut), min_size=1, max_size=4))


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([2**31, 2**63, 10**40, -1, 0]),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["\0", "~nobody/x", "../x", "ks:points=x", "x.py:S", "a" * 300, "é\n"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value, path=()):
    """Paths to all values in nested lists and objects."""
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from places(inner, (*path, key))


def replaced(value, path, new):
    """A copy with the value at ``path`` replaced; dropped where ``new`` is Ellipsis."""
    if not path:
        return None if new is ... else new
    copy = value.copy()
    if new is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def read(name, run, content):
    """Reads a changed file; fails the test for any other error than InputError's one line."""
    file, reader = READERS[name]
    before, said = (run / file).read_bytes(), "one line"
    (run / file).write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(run)
    except InputError as error:
        said = str(error)
    finally:
        (run / file).write_bytes(before)
    assert len(said.splitlines()) == 1, said


def fuzzed(name):
    return settings(
        max_examples=SLOWER.get(name, 300),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name, run):
    READERS[name][1](run)


@pytest.mark.parametrize("name", READERS)
def test_changed_bytes(name, run):
    original = (run / READERS[name][0]).read_bytes()

    @fuzzed(name)
    @given(damage(len(original)))
    def changed(edits):
        content = original
        for start, count, new in edits:
            content = content[:start] + new + content[start + count :]
        read(name, run, content)

    changed()


@pytest.mark.parametrize("name", AS_JSON)
def test_changed_values(name, run):
    original = json.loads((run / READERS[name][0]).read_text())

    @fuzzed(name)
    @given(st.sampled_from(list(places(original))), st.one_of(JSON_VALUES, st.just(...)))
    def changed(path, new):
        read(name, run, json.dumps(replaced(original, path, new)).encode())

    changed()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b"\xff\xfe", b"null"], ids=["empty", "deep", "bytes", "null"]
)
def test_other_contents(name, content, run):
    read(name, run, content)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InputError, match="is not a regular file"):
        folder.read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("results", "0.5", "0.4", "is not what was written"),
        ("study", "0.1", "0.2", "its name is a hash of them"),
    ],
)
def test_a_changed_digit_is_found(name, old, new, message, run):
    file, reader = READERS[name]
    good = (run / file).read_text()
    assert old in good
    (run / file).write_text(good.replace(old, new))
    with pytest.raises(InputError, match=message):
        reader(run)
    (run / file).write_text(good)
    reader(run)


def test_home_folders_and_line_breaks(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert files.expand("out", "~/runs") == "/home/me/runs"
    assert files.expand("out", "runs/~") == "runs/~"
    assert RunConfig(out="~/runs/a b").resolved().out == "/home/me/runs/a b"
    assert Path(files.expand("out", "-dash [x] ü")) == Path("-dash [x] ü")
    for wrong in ("~nobody-of-that-name/x", "a\nb", "a\0b"):
        with pytest.raises(InputError, match="^out="):
            RunConfig(out=wrong).resolved()
