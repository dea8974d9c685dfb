"""A user's own network by flag: checked, trained, evaluated, exported and loaded again."""

import json
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from trainings import trained_folder

import tfunroll
from tfunroll import nets, study, systems
from tfunroll.core import InputError
from tfunroll.nets import own
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig

KS = systems.get("ks")
GOOD = """
from __future__ import annotations
import dataclasses
import keras

@dataclasses.dataclass(frozen=True)
class Net:
    width: int = 3

    def __call__(self, domain, in_channels, out_channels, seed):
        inputs = keras.Input((*domain.shape, in_channels))
        x = keras.layers.Conv1D(self.width, 3, padding="same", activation="gelu")(inputs)
        return keras.Model(inputs, keras.layers.Conv1D(out_channels, 3, padding="same")(x))

NET = Net()
"""


def function(body, before=""):
    """A module whose NET has this body, after `inputs`, `x` and `last` are made."""
    start = """
    inputs = keras.Input((*domain.shape, in_channels))
    x = keras.layers.Conv1D(3, 3, padding="same", name="first")(inputs)
    last = keras.layers.Conv1D(out_channels, 3, padding="same")
    """
    head = f"import keras, random\nimport numpy as np\nimport tensorflow as tf\n{before}\n"
    return f"{head}\ndef NET(domain, in_channels, out_channels, seed):\n" + textwrap.indent(
        textwrap.dedent(start) + textwrap.dedent(body), "    "
    )


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def small(data_dir, out, **changes):
    config = RunConfig(
        data_dir=str(data_dir),
        modalities=("ONE", "WIG"),
        seeds=(0,),
        jit="off",
        curriculum="1:4,2:4",
        long_horizon=20,
        starts=1,
        workers=1,
        out=str(out),
    )
    return replace(config, **changes)


def test_a_run_of_an_own_network(tiny_data_dir, tmp_path, module, monkeypatch):
    out = tmp_path / "run"
    text = runs.run(small(tiny_data_dir, out, net=str(module)))
    assert "\nWIG" in text
    named = json.loads((out / "config.json").read_text())["net"]
    assert named == nets.full_name(str(module))
    assert json.loads((out / "WIG/0/model.json").read_text())["config"]["net"] == named
    assert set(pd.read_csv(out / "results.csv").net) == {"mine.py:NET"}
    assert f"--net={named}\n" in (out / "flagfile.txt").read_text()

    u = np.random.default_rng(0).normal(size=(2, 48, 1)).astype(np.float32)
    params = {"domain_size": np.array([7.44, 8.0], np.float32)}
    stepper = tfunroll.load(out / "WIG/0")
    assert isinstance(stepper.net, keras.Model)
    ahead = stepper.bind(params)(u)
    tfunroll.export(out / "WIG/0", tmp_path / "saved")
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(
        saved.step(tf.constant(u), {n: tf.constant(v) for n, v in params.items()}), ahead, atol=1e-6
    )
    runs.evaluate(out, horizon=5, workers=1)

    module.write_text(GOOD.replace("width: int = 3", "width: int = 4"))
    changed = "the file has changed .sha256 was"
    monkeypatch.setattr("tfunroll.user_modules._running", {})  # as in another process
    with pytest.raises(InputError, match=changed):
        runs.evaluate(out, horizon=6, workers=1)
    with pytest.raises(InputError, match="resume: the run in .* other flags: net was .* is "):
        runs.run(small(tiny_data_dir, out, net=str(module), resume=True))
    module.unlink()
    with pytest.raises(InputError, match="no such file; expected path/to/module.py:NET"):
        runs.run(small(tiny_data_dir, tmp_path / "other", net=str(module)))


def test_load_says_that_the_file_has_gone_or_changed(tmp_path, module, monkeypatch):
    trained_folder(tmp_path / "net", net=str(module), width=0, depth=0)
    monkeypatch.setattr("tfunroll.user_modules._running", {})  # as in another process
    assert tfunroll.load(tmp_path / "net").net.count_params() > 0
    monkeypatch.setattr("tfunroll.user_modules._running", {})
    module.write_text(GOOD + "# more\n")
    with pytest.raises(InputError, match="has changed .* leave #sha256=.* out to take it as it is"):
        tfunroll.load(tmp_path / "net")
    module.unlink()
    with pytest.raises(InputError, match="no such file"):
        tfunroll.load(tmp_path / "net")


def test_the_smallest_function_follows_seed_and_precision(tmp_path, module):
    name = str(module)
    policy = keras.config.floatx(), keras.config.dtype_policy().name
    make = lambda seed, dtype: nets.build(name, KS.domain, 2, 1, seed=seed, dtype=dtype)  # noqa: E731
    for dtype in nets.DTYPES:
        own.check(nets.full_name(name), KS.domain, 2, 1, dtype)
        a, b, other = (make(seed, dtype).get_weights()[0] for seed in (3, 3, 4))
        np.testing.assert_array_equal(a, b)
        assert (a != other).any()
    double = make(0, "float64")
    assert double(tf.ones((1, 48, 2), tf.float64)).dtype == tf.float64
    assert make(0, "mixed_bfloat16")(tf.ones((1, 48, 2))).dtype == tf.bfloat16
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == policy


MISTAKES = {
    "NET = 3": "is a int; needed: a function of",
    "def NET(domain): pass": "TypeError: .*takes 1 positional argument but 4 were given",
    "def NET(*a): return len": "returned a builtin_function_or_method; needed: a keras.Model",
    function("return keras.Model(inputs, x)"): r"returned shape \(3, 48, 3\) for a batch of 3; n",
    function("return keras.Model(inputs, keras.layers.AveragePooling1D(2)(last(x)))"): (
        r"returned shape \(3, 24, 1\)"
    ),
    function("return keras.Model(inputs, [last(x), last(x)])"): "returned a list for a batch of 3",
    function('return keras.Model(inputs, keras.ops.cast(last(x), "float64"))'): (
        "returned float64; precision=float32 needs float32"
    ),
    function(
        'last = keras.layers.Conv1D(1, 3, padding="same", dtype="float64")\n'
        'first = keras.layers.Conv1D(1, 3, padding="same", dtype="float64")(inputs)\n'
        "return keras.Model(inputs, last(first))"
    ): "has weights in float64, precision=float32 needs float32: name no dtype",
    function("return keras.Model(inputs, last(x) / 0.0)"): "returned NaN or infinity",
    function("return keras.Model(inputs, last(keras.ops.stop_gradient(x)))"): (
        "no gradient reaches its weight first/kernel"
    ),
    function("return keras.Model(inputs, keras.ops.stop_gradient(last(x)))"): "no gradient reaches",
    function("x = keras.layers.Dropout(0.5)(x)\nreturn keras.Model(inputs, last(x))"): (
        "layer 'dropout.*' .Dropout. changes a state"
    ),
    function(
        "class Noise(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x + tf.random.normal(tf.shape(x))\n"
        "return keras.Model(inputs, Noise()(last(x)))"
    ): "is not deterministic: the same input twice gave answers",
    function(
        "y = last(x)\nreturn keras.Model(inputs, y - keras.ops.mean(y, axis=0, keepdims=True))"
    ): "mixes the samples of a batch",
    function(
        "last = keras.layers.Conv1D(1, 3, padding='same', "
        "kernel_initializer=lambda s, dtype: tf.constant(next(RNG).normal(size=s), dtype))\n"
        "return keras.Model(inputs, last(x))",
        before="RNG = iter(np.random.default_rng(k) for k in range(9))",
    ): "the same seed gave other weights the second time",
    function("random.seed(0)\nreturn NET2(inputs, last)", before="")
    + (
        "\n\ndef NET2(inputs, last):\n    one = keras.initializers.GlorotUniform(seed=1)\n"
        "    f = keras.layers.Conv1D(1, 3, padding='same', kernel_initializer=one)\n"
        "    return keras.Model(inputs, f(inputs))\n"
    ): "seeds 1 and 2 gave the same weights; draw them from",
    function(
        "class Eager(keras.Model):\n"
        "    def __init__(self):\n        super().__init__()\n        self.last = last\n"
        "    def call(self, x):\n        return self.last(x) * float(np.abs(x.numpy()).max() + 1)\n"
        "return Eager()"
    ): "AttributeError: .*has no attribute 'numpy'",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_what_is_wrong_with_a_network_is_one_line_before_work_starts(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        own.check(nets.full_name(str(path)), KS.domain, 2, 1)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"net='{path}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 4}, "width=4 is for tfunroll's networks; net=mine.py:NET has its own size"),
        ({"size": "1k"}, "size='1k' is for tfunroll's networks"),
        ({"initial": "zero"}, "initial='zero' is for tfunroll's networks; .*allowed: own"),
        ({"net": "resnet", "initial": "own"}, "initial='own' is unknown; allowed: fan_in, glorot"),
        ({"net": "resnett"}, "net='resnett' is unknown; allowed: .*path/to/module.py:NET"),
    ],
)
def test_flags_that_do_not_fit(changes, message, module, tmp_path):
    with pytest.raises(InputError, match=message):
        RunConfig(**{"net": str(module), **changes}).resolved()


STUDY = """
[mini]
system = "ks"
seeds = [0, 1, 2]
[[mini.cells]]
net = ["resnet", "nets/mine.py:NET"]
steps = [2]
updates = [3]
"""


def test_a_study_finds_networks_beside_it_or_in_the_working_directory(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder / "nets").mkdir(parents=True)
    (tmp_path / "a/nets/mine.py").write_text(GOOD)
    (tmp_path / "a/mine.toml").write_text(STUDY)
    (tmp_path / "b/mine.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path / "a")
    found = [study.load(str(tmp_path / folder / "mine.toml"), "mini") for folder in ("a", "b")]
    assert list(found[0].runs) == list(found[1].runs)  # ids are of what is written down
    run_id = list(found[0].runs)[1]
    assert run_id.startswith("ks-correction-mine_py_NET-own-m2-")
    monkeypatch.chdir(tmp_path)
    for one in found:
        assert one.config(run_id).net == f"{tmp_path}/a/nets/mine.py:NET"
        assert one.config(run_id).resolved().net.partition("#sha256=")[2]
    with pytest.raises(InputError, match="net='.*mine.py:NET': no such file"):
        study.load(str(tmp_path / "b/mine.toml"), "mini")
