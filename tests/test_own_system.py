"""Systems of the user: found by their path, with data from their own solver, in all scripts."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfunroll
from tfunroll import datasets, systems
from tfunroll.core import InputError, Solver
from tfunroll.runs import running as runs
from tfunroll.runs import saved_model
from tfunroll.runs.config import RunConfig
from tfunroll.study import costs
from tfunroll.systems import ParamRange
from tfunroll.systems.own import own_system

KS = systems.get("ks")
ROOT = Path(__file__).parent.parent
BURGERS = f"{ROOT / 'examples' / 'burgers_numpy.py'}:SYSTEM"


@pytest.mark.slow
def test_a_run_of_an_own_system_from_its_data_to_its_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "examples")
    data = datasets.generate_own(systems.get(BURGERS), tmp_path, trajectories=1, frames=30)
    config = RunConfig(
        system="burgers_numpy.py:SYSTEM",
        data=str(data),
        modalities=("ONE", "NOG"),
        seeds=(0,),
        width=2,
        depth=1,
        curriculum="1:4,2:4",
        long_horizon=15,
        starts=1,
        jit="off",
        workers=1,
        out=str(tmp_path / "run"),
    )
    text = runs.run(config)
    for row in ("ONE", "NOG", "persistence", "coarse solver"):
        assert f"\n{row}" in text
    assert "equal-cost" not in text
    monkeypatch.chdir(tmp_path)  # the run's folder knows the whole path
    assert json.loads((tmp_path / "run" / "config.json").read_text())["system"] == BURGERS
    runs.evaluate(tmp_path / "run", horizon=5, workers=1)
    table = pd.read_csv(tmp_path / "run" / "results.csv")
    assert set(table.system) == {"burgers"}
    assert set(table.test_set) == {"test_interpolation", "test_extrapolation"}
    step = tfunroll.load(tmp_path / "run" / "NOG" / "0").bind({"viscosity": tf.constant([0.05])})
    assert np.isfinite(step(tf.ones([1, 48, 1]))).all()
    with pytest.raises(InputError, match="solver outside TensorFlow, which a SavedModel cannot"):
        saved_model.export(tmp_path / "run" / "NOG" / "0", tmp_path / "saved")


def test_generated_data_are_steps_of_the_reference(tmp_path):
    system = systems.get(BURGERS)
    path = datasets.generate_own(system, tmp_path, trajectories=2, frames=3)
    described = json.loads(path.read_text())
    states = np.load(tmp_path / described["states"])
    viscosity = np.array(described["params"]["viscosity"])
    assert [len(s) for s in described["splits"].values()] == [8, 8, 4, 4]
    np.testing.assert_array_equal(viscosity[described["splits"]["test_extrapolation"]][:2], 0.03)
    step = system.reference().bind({"viscosity": tf.constant(viscosity)})
    for before, after in ((0, 1), (1, 2)):
        ahead = step(tf.constant(states[:, before], tf.float64))
        np.testing.assert_allclose(ahead, states[:, after], atol=1e-6)
    train, validation = (states[described["splits"][s], 0] for s in ("train", "validation"))
    assert np.abs(train - validation).max() > 0.1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:SYSTEM", "no such file; expected path/to/module.py:SYSTEM"),
        ("broken.py:SYSTEM", "ZeroDivisionError: division by zero"),
        ("refused.py:SYSTEM", "refused.py:SYSTEM': solver"),
        ("good.py:OTHER", "the module has no OTHER"),
        ("good.py:NUMBER", "good.py:NUMBER' is a int; it needs a tfunroll.System"),
        ("good", "system='good' is unknown; allowed: .*path/to/module.py:SYSTEM"),
    ],
)
def test_a_path_that_leads_to_no_system(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("1 / 0")
    Path("refused.py").write_text(
        "import numpy as np\nfrom tfunroll.solvers.external import ExternalSolver\n"
        "ExternalSolver(len, example=(np.ones((2, 3, 1)), {}))"
    )
    Path("good.py").write_text("from tfunroll.systems.ks import SYSTEM\nNUMBER = 3")
    with pytest.raises(InputError, match=message):
        systems.get(name)
    assert systems.get("good.py").name == systems.get("good.py:SYSTEM").name == "ks"


def test_without_a_dataset_and_without_data(tmp_path):
    config = RunConfig(system=BURGERS, modalities=("NOG",), out=str(tmp_path / "run"))
    with pytest.raises(InputError, match="burgers has no dataset of its own: .* --data="):
        runs.run(config)
    with pytest.raises(InputError, match="burgers has no dataset of its own"):
        datasets.builder_class(BURGERS)
    bare = replace(systems.get(BURGERS), reference=None, initial_state=None)
    with pytest.raises(InputError, match="has no reference and no initial_state.*--data="):
        datasets.generate_own(bare, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "name='two words' must be one word"),
        ({"correction": "graded"}, "correction='graded' is unknown"),
        ({"channels": ("u", "v")}, "but the solver has 1"),
        ({"params": {}}, r"params=\[\], but the solver's are \['viscosity'\]"),
        ({"splits": {"test": (1.0,)}}, "splits='test' is unknown"),
        ({"coarse": systems.get("ks").coarse("etd1")}, "coarse, a Kuramoto.*, has no shape"),
        ({"reference": len}, "reference is a builtin.*; needed: a Solver, such as ExternalSolver"),
        ({"params": {"viscosity": (0, 1)}}, "params.viscosity is a tuple; needed: a ParamRange"),
    ],
)
def test_an_own_system_that_does_not_fit_together(changes, message):
    burgers = systems.get(BURGERS)
    given = {"name": "mine", "coarse": burgers.coarse(""), "params": burgers.params}
    assert own_system(**given).domain.shape == (48,)
    with pytest.raises(InputError, match=message):
        own_system(**{**given, **changes})


class Still(Solver):
    """The least that a user's own Solver is."""

    dt = frame_time = 1.0
    channels = 1
    differentiable = False

    def bind(self, params):
        return lambda state: state


def test_an_own_system_of_a_solver_in_tensorflow():
    class Decay(Still):
        shape, params = (6,), ("rate",)
        differentiable = True

        def bind(self, params):
            return lambda state: state * tf.exp(-params["rate"])[:, None, None]

    system = own_system("decay", Decay(), {"rate": ParamRange(0.1, 2.0, 1.0)})
    assert (system.name, system.domain.shape, system.channels) == ("decay", (6,), ("c0",))
    step = system.coarse().bind({"rate": tf.constant([1.0, 2.0])})
    np.testing.assert_allclose(step(tf.ones([2, 6, 1]))[:, 0, 0], np.exp([-1.0, -2.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda u, p: u[:, :3], r"Wrong, maps states .2, 6, 1. of float32 to .2, 3, 1. of float32"),
        (lambda u, p: tf.cast(u, tf.float64), "to .2, 6, 1. of float64; shape and dtype must stay"),
        (lambda u, p: u * p["nu"], "cannot step states .* params .'rate'.* KeyError: 'nu'"),
        (
            lambda u, p: u * tf.ones([2, 5, 1]),
            "cannot step .*: ValueError: Dimensions must be equal",
        ),
    ],
)
def test_a_solver_in_tensorflow_that_breaks_its_word(step, message):
    class Wrong(Still):
        shape, params = (6,), ("rate",)

        def bind(self, params):
            return lambda state: step(state, params)

    with pytest.raises(InputError, match=message) as told:
        own_system("wrong", Wrong(), {"rate": ParamRange(0.1, 2.0, 1.0)})
    assert "\n" not in str(told.value)


def system_of(solver, **changes):
    """KS with another coarse solver."""
    return replace(KS, **{"coarse_kinds": {"own": solver}, **changes})


def test_a_solver_without_gradients_refuses_wig(monkeypatch):
    monkeypatch.setattr(systems, "get", lambda name: system_of(Still()))
    with pytest.raises(InputError, match="WIG passes gradients .*'Still', .*allowed: ONE, NOG"):
        RunConfig().resolved()
    RunConfig(modalities=("ONE", "NOG")).resolved()


class NoFrameTime(Still):
    def __init__(self):
        self.dt = 0.5

    frame_time = property()  # as if it were never set


class TwoChannels(Still):
    channels = 2


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (NoFrameTime(), "a solver of system ks, a NoFrameTime, has no frame_time"),
        (TwoChannels(), "a solver of system ks has channels=2, needed: 1"),
        (len, "a solver of system ks is a builtin.*; needed: a tfunroll.core.Solver"),
    ],
)
def test_a_solver_that_lacks_what_one_promises(solver, message, monkeypatch):
    monkeypatch.setattr(systems, "get", lambda name: system_of(solver))
    with pytest.raises(InputError, match=message):
        RunConfig(modalities=("ONE",)).resolved()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coarse_kinds": {}}, "coarse_kinds of system ks is empty"),
        ({"corrections": {}}, "corrections of system ks is empty"),
        ({"reference": None}, "refined of system ks needs a reference"),
        ({"reference": None, "refined": None}, "on_reference_grid of system ks needs a reference"),
    ],
)
def test_a_system_that_does_not_fit_together(changes, message):
    with pytest.raises(InputError, match=message):
        system_of(Still(), **changes)


def test_a_study_counts_the_operations_of_a_system_without_splits(monkeypatch):
    own = replace(systems.get(BURGERS), splits={})
    monkeypatch.setattr(systems, "get", lambda name: own)
    config = RunConfig(system=BURGERS, modalities=("ONE",), width=2, depth=1).resolved()
    assert costs.operations(config) > 0
    monkeypatch.setattr(systems, "get", lambda name: replace(own, initial_state=None))
    with pytest.raises(InputError, match="burgers has no initial_state, which an estimate needs"):
        costs.operations(config)


@pytest.mark.slow
def test_every_script_takes_the_path(tmp_path):
    def script(name, *arguments):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / f"{name}.py", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        assert "Traceback" not in done.stderr
        return done

    system = "--system=examples/burgers_numpy.py:SYSTEM"
    small = ("--trajectories=1", "--frames=30", f"--data_dir={tmp_path}")
    made = script("generate_data", system, *small)
    assert f"--data={tmp_path / 'burgers.json'}" in made.stdout
    run = ("--width=2", "--depth=1", "--curriculum=1:4,2:4", "--seeds=0,1", f"--out={tmp_path}/run")
    more = ("--long_horizon=15", "--starts=1", "--jit=off", "--workers=2", "--modalities=ONE,NOG")
    done = script("train", system, f"--data={tmp_path}/burgers.json", *run, *more)
    assert "\nNOG" in done.stdout, done.stderr
    for name in ("evaluate", "plot"):
        assert "\nNOG" in script(name, f"--run={tmp_path}/run").stdout
    flagfile = f"--flagfile={tmp_path}/run/flagfile.txt"
    assert "\nNOG" in script("train", flagfile, "--resume").stdout
    refused = script("train", system, f"--data={tmp_path}/burgers.json")
    assert refused.returncode == 2
    assert "error: modalities=WIG passes gradients through the solver 'coarse'" in refused.stderr
    assert script("publish_data", system).returncode == 2
    data = f"--data={tmp_path}/burgers.json"
    assert "| correlation_time | 22 " in " ".join(script("impostors", system, data).stdout.split())
    assert "horizon=-1 must be" in script("impostors", system, data, "--horizon=-1").stderr
