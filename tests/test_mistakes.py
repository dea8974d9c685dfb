"""Wrong flags, wrong files and NaN thrown at every script: one line that names the cause."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
TRAIN = ("train", "--seeds=0", "--width=2", "--depth=1", "--jit=off", "--workers=1")


def own_data(folder, **changes):
    """A description of own data with one thing wrong."""
    states = np.random.default_rng(0).standard_normal((4, 300, 48, 1)).astype(np.float32)
    if changes.pop("nan", False):
        states[1, 5, 7] = np.nan
    np.save(folder / "states.npy", states[..., : changes.pop("points", 48), :])
    if changes.pop("truncated", False):
        whole = (folder / "states.npy").read_bytes()
        (folder / "states.npy").write_bytes(whole[: len(whole) // 2])
    description = {
        "system": "ks",
        "states": "states.npy",
        "params": {"domain_size": [7.2, 8.0, 8.8, 9.6]},
        "splits": {"train": [0, 1], "validation": [2], "test_extrapolation": [3]},
    }
    (folder / "own.json").write_text(json.dumps({**description, **changes}))
    return f"--data={folder / 'own.json'}"


def test_own_data_that_is_right_passes_the_checks(tmp_path):
    # else the cases below could fail for another reason than theirs
    from tfunroll import data, systems

    path = own_data(tmp_path).removeprefix("--data=")
    assert set(data.load(systems.get("ks"), own=path).splits) > {"train"}


WRONG_FLAGS = [
    (*TRAIN, "--system=navier", "system='navier' is unknown; allowed: "),
    (*TRAIN, "--dataset_config=huge", "dataset_config='huge' is unknown; allowed: "),
    (*TRAIN, "--mode=guess", "mode='guess' is unknown"),
    (*TRAIN, "--net=mlp", "net='mlp' is unknown; allowed: "),
    (*TRAIN, "--size=9G", "size='9G' is unknown; allowed: "),
    (*TRAIN, "--modalities=ONE,TWO", "modalities='TWO' is unknown; allowed: NOG, ONE, WIG"),
    (*TRAIN, "--modalities=", "modalities is empty"),
    (*TRAIN, "--seeds=a", "seeds=a must be whole numbers"),
    (*TRAIN, "--curriculum=3", "curriculum stage '3' is not steps:updates"),
    (*TRAIN, "--curriculum=3:10:fast", "curriculum stage '3:10:fast' is not"),
    (*TRAIN, "--learning_rate=nan", "learning_rate=nan must be positive"),
    (*TRAIN, "--batch_size=0", "batch_size=0 must be at least 1"),
    (
        *TRAIN,
        "--coarse=etdrk2:fraction=2",
        "fraction=2.0 must be a number above 0, up to 1; nearest: 1",
    ),
    (
        *TRAIN,
        "--coarse=etd1:steps=2",
        "'steps' is not an option of etd1; allowed: substeps (a whole",
    ),
    (
        *TRAIN,
        "--system=ks:points=65",
        "points=65 must be an even number from 44 to 1024; nearest: 64",
    ),
    (*TRAIN, "--cut_every=5", "cut_every=5"),
    (*TRAIN, "--ladder=pressure:2..40", "ladder='pressure': the solver 'KuramotoSivashinsky'"),
    (*TRAIN, "--curriculum=auto:1..16", "curriculum='auto:1..16' is not auto:first..last:updates"),
    (*TRAIN, "--precision=float16", "precision='float16' is unknown"),
    (*TRAIN, "--long_horizon=5000", "long_horizon=5000"),
    (*TRAIN, "--average=half", "average='half' is unknown; allowed: a decay in [0, 1) such as"),
    (*TRAIN, "--subspace=plane", "subspace='plane' is unknown; allowed: line, modalities, simplex"),
    (*TRAIN, "--stochastic", "stochastic=True, loss=supervised"),
    (*TRAIN, "--ensemble", "ensemble: seeds=0 is one member; it needs two seeds at least"),
    (*TRAIN, "--metrics=crps", "metrics=crps judges an ensemble's members"),
    (*TRAIN, "--metrics=guess", "metrics='guess' is unknown; allowed: "),
    (*TRAIN, "--out=/proc/none", "out='/proc/none' cannot be written"),
    (*TRAIN, "--start_from=nowhere", "start_from='nowhere' holds no ONE network"),
    (*TRAIN, "--data_dir=/dev/null", "data_dir='/dev/null' is a file"),
    (*TRAIN, "--flagfile=nowhere.txt", "nowhere.txt"),
    (*TRAIN, "extra", "argument 'extra' is not a flag"),
    ("evaluate", "--run=nowhere", "run='nowhere' is not a run folder"),
    ("evaluate", "--run=/dev/null", "run='/dev/null' is not a run folder"),
    ("evaluate", "--horizon=x", "flag --horizon=x"),
    ("plot", "--run=nowhere", "run='nowhere' is not a run folder"),
    ("plot", "--colour=red", "Unknown command line flag 'colour'"),
    ("generate_data", "--system=navier", "system='navier' is unknown; allowed: aerofoil, "),
    ("generate_data", "--dataset_config=huge", "dataset_config='huge' is unknown"),
    ("generate_data", "--data_dir=/proc/none", "data_dir='/proc/none' cannot be written"),
    ("study", "study is empty; allowed: alternatives, "),
    ("study", "--study=guess", "study='guess' is unknown; allowed: alternatives, "),
    ("study", "--study=none.toml", "study='none.toml' cannot be read"),
    ("study", "--study=horizon", "--variant=huge", "variant='huge' is unknown; allowed: mini"),
    ("study", "--study=horizon", "--shard=9/4", "shard='9/4' is outside its range; allowed: 1/4"),
    ("study", "--study=horizon", "--run=x", "run='x' is unknown"),
    ("study", "--study=horizon", "--out=/proc/none", "out='/proc/none' cannot be written"),
    ("study", "--gather", "out: --gather needs the study's folder"),
    ("study", "--gather", "--out=nowhere", "out='nowhere' is not a study's folder"),
    ("publish_data", "--system=navier", "system='navier' is unknown; allowed: aerofoil, "),
    ("publish_data", "--dataset_config=huge", "dataset_config='huge' is unknown"),
]
WRONG_DATA = [
    ({"nan": True}, "states holds NaN or infinity in trajectory 1"),
    ({"points": 40}, "states has shape (4, 300, 40, 1)"),
    ({"truncated": True}, "states"),
    ({"states": "none.npy"}, "none.npy"),
    ({"params": {}}, "domain_size"),
    ({"params": {"domain_size": [7.2, 8.0]}}, "domain_size"),
    ({"params": {"domain_size": [7.2, 8.0, -1.0, 9.6]}}, "domain_size=-1 is outside"),
    ({"splits": {"train": [0, 9]}}, "splits"),
    ({"system": "other"}, "system"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG_FLAGS, ids=lambda case: " ".join((case[0], case[-2])))
def test_wrong_flags(case, tmp_path):
    *arguments, message = case
    check(arguments, message, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "message"), WRONG_DATA)
def test_wrong_own_data(changes, message, tmp_path):
    check((*TRAIN, own_data(tmp_path, **changes)), message, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["evaluate", "plot"])
@pytest.mark.parametrize("content", ["", "{", '{"system": 3}', "[]"])
def test_damaged_run_folder(script, content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    check((script, f"--run={tmp_path}"), f"run='{tmp_path}' is not a run folder", tmp_path)


@pytest.mark.slow
def test_damaged_dataset(tiny_data_dir, tmp_path):
    import shutil

    shutil.copytree(tiny_data_dir, tmp_path / "data")
    for path in (tmp_path / "data").glob("kuramoto*/tiny/*/*train*"):
        path.write_bytes(path.read_bytes()[:1000])
    flag = f"--data_dir={tmp_path / 'data'}"
    check((*TRAIN, flag), "is incomplete or broken: delete that folder", tmp_path)


def check(arguments, message, folder):
    """Runs a script in ``folder``: status 2, no traceback, one line that names the cause."""
    script, *flags = arguments
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{script}.py", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert "Traceback" not in text
    errors = [line for line in done.stderr.splitlines() if re.match("error: ", line)]
    assert len(errors) == 1, text
    assert message in errors[0]
