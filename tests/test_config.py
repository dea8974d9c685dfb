import json
import random
from dataclasses import fields

import pytest
from absl import flags

from tfunroll.core import InputError
from tfunroll.files import check_writable
from tfunroll.runs import cli
from tfunroll.runs.config import RunConfig, Stage
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.study import description


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "navier"}, "system='navier' is unknown; allowed: .*ks"),
        ({"mode": "guess"}, "mode='guess' is unknown; allowed: correction, prediction"),
        ({"correction": "serial"}, "correction='serial' is unknown; allowed: graded, parallel"),
        ({"coarse": "rk4"}, "coarse='rk4' is unknown; allowed: etd1, etdrk2"),
        ({"modalities": ("ONE", "TWO")}, "modalities='TWO' is unknown; allowed: NOG, ONE, WIG"),
        ({"modalities": ()}, "modalities is empty"),
        ({"modalities": ("ONE", "ONE")}, "names one twice"),
        ({"loss": "l1"}, "loss='l1' is unknown"),
        ({"loss": "physics", "dataset_config": "fine"}, "loss=physics needs data"),
        ({"precision": "float16"}, "precision='float16' is unknown"),
        ({"jit": "maybe"}, "jit='maybe' is unknown"),
        ({"steps": -1}, "steps=-1 must be at least 0"),
        ({"curriculum": "0:10"}, "steps=0 must be at least 1"),
        ({"curriculum": "4:0"}, "updates=0 must be at least 1"),
        ({"curriculum": "4"}, "curriculum stage '4' is not"),
        ({"curriculum": "4:10:x"}, "curriculum stage '4:10:x' is not"),
        ({"curriculum": "4:10:-1"}, "learning_rate=-1.0 must be positive"),
        ({"curriculum": "4:10:1e-3:11"}, "warm-up=11 must lie between"),
        ({"curriculum": "4:10", "steps": 3}, "either --curriculum or"),
        ({"steps": 3, "cut_every": 4}, "cut_every=4 must lie between 1 and steps=3"),
        ({"steps": 3, "pushforward": 3}, "pushforward=3 must lie between 0 and steps-1=2"),
        ({"steps": 1, "pushforward": 1}, "need a horizon of more than one step"),
        ({"updates": 500}, "updates=500 without steps .*=ONE,NOG,WIG are one .* give --steps too"),
        ({"through": "half"}, "through='half' is unknown; allowed: all, identity, network, solver"),
        (
            {"through": "solver", "mode": "prediction"},
            "through='solver' .* mode=prediction has no solver; allowed: all",
        ),
        ({"steps": 1, "through": "solver"}, "through=solver: need a horizon of more than one step"),
        (
            {"level_weights": "half"},
            "level_weights='half' is unknown; allowed: discount, last, uniform",
        ),
        (
            {"level_weights": "discount:factor=0"},
            "level_weights='discount:factor=0': factor=0.0 must be a number above 0, up to 1",
        ),
        (
            {"level_weights": "discount:factor=1e-200", "steps": 4, "pushforward": 3},
            "level_weights='discount:factor=1e-200' sum to zero over steps=4 with pushforward=3",
        ),
        (
            {"level_weights": "last", "loss": "physics", "dataset_config": "tiny"},
            "level_weights='last' are those of loss=supervised; .*loss=physics: uniform",
        ),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be positive"),
        ({"decay_rate": 0.0}, "decay_rate=0.0 must lie in"),
        ({"noise": -0.1}, "noise=-0.1 must be at least 0"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"coarse": "etdrk2:fraction=0.5"}, "coarse='etdrk2:fraction=0.5' needs correction=graded"),
        (
            {"coarse": "etd1:fraction=0.5", "correction": "graded"},
            "coarse='etd1:fraction=0.5': 'fraction' is not an option of etd1; allowed: substeps",
        ),
        (
            {"coarse": "etdrk2:fraction=1.5"},
            "fraction=1.5 must be a number above 0, up to 1; nearest",
        ),
        ({"system": "ks:points=47"}, "points=47 must be an even number from 44 to 1024; nearest"),
    ],
)
def test_impossible_settings_name_the_flag(changes, message):
    with pytest.raises(InputError, match=message):
        RunConfig(**changes).resolved()


def test_a_horizon_of_one_step_is_allowed_where_it_is_asked_for():
    for asked in ({"updates": 5, "steps": 1}, {"curriculum": "1:5"}):
        RunConfig(**asked).resolved()
    RunConfig(updates=5, modalities=("ONE",)).resolved()


def test_defaults_come_from_the_system():
    config = RunConfig(level_weights="discount:factor=0.9").resolved()
    assert (config.correction, config.coarse) == ("parallel", "etd1")
    assert config.level_weights == "discount"  # defaults of options are not written
    assert (config.horizon, config.long_horizon) == (12, 200)
    assert "relative_error" in config.metrics


def test_curriculum():
    config = RunConfig(curriculum="1:100,4:50:1e-4,8:20:1e-5:10", learning_rate=1e-3)
    assert config.stages() == [
        Stage(1, 100, 1e-3),
        Stage(4, 50, 1e-4),
        Stage(8, 20, 1e-5, 10),
    ]
    assert config.shared_stages() == 1
    assert RunConfig(steps=3, updates=7).stages() == [Stage(3, 7, 5e-4)]
    assert RunConfig(steps=3).shared_stages() == 0
    assert RunConfig(modalities=("WIG",)).shared_stages() == 0


def test_modalities_see_the_same_number_of_states():
    config = RunConfig(curriculum="4:10", batch_size=16)
    stage = config.stages()[0]
    states = {m: config.batch(m, stage) * config.unrolling(m, stage).steps for m in ("ONE", "WIG")}
    assert states == {"ONE": 64, "WIG": 64}
    assert config.unrolling("ONE", stage) == ONE
    assert config.unrolling("NOG", stage) == NOG(4)
    assert config.unrolling("WIG", stage) == WIG(4)
    routed = RunConfig(curriculum="4:10", through="solver")
    assert routed.unrolling("NOG", stage) == NOG(4)
    assert routed.unrolling("WIG", stage) == WIG(4, through="solver")


@pytest.fixture
def parsed(tmp_path):
    """The text of a flag file -> the RunConfig that a script makes of it."""
    cli.define_config_flags()

    def parse(text):
        path = tmp_path / "flagfile.txt"
        path.write_text(text, encoding="utf-8")
        for f in fields(RunConfig):
            flags.FLAGS[f.name].unparse()
        flags.FLAGS(["script", f"--flagfile={path}"])
        return cli.config_from_flags()

    yield parse
    for f in fields(RunConfig):
        delattr(flags.FLAGS, f.name)
    cli._GROUPS.clear()


NASTY = "aZ09 ~$%=:;,.-_/\\'\"#{}[]()*?!&|<>@éΔ中"


def some_value(default, rng):
    """A value of the default's type that is not the default."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return rng.choice([-1, 7, 2**62])
    if isinstance(default, float):
        return rng.choice([1e-300, -0.1, 1 / 3, 12345678.9, 1e22])
    if isinstance(default, tuple):
        numbers = not default or isinstance(default[0], int)
        items = [rng.randrange(-9, 999) for _ in range(3)] if numbers else ["NOG", "a@b c", "x=1"]
        return tuple(items[: rng.randrange(1, 4)])
    text = "".join(rng.choices(NASTY, k=rng.randrange(1, 30)))
    return rng.choice([text, f"--{text}", f"#{text}", f"//{text}"]).strip() or "x"


@pytest.mark.parametrize("field", fields(RunConfig), ids=lambda field: field.name)
def test_every_setting_survives_flag_file_and_json(field, parsed):
    """Settings → flag file → flags → settings, and → JSON → settings; but for --resume."""
    rng = random.Random(field.name)
    for _ in range(5):
        value = some_value(field.default, rng)
        if field.name == "metrics":
            value = ("relative_error", "mse@near body", "observed@shock position")
        config = RunConfig(**{field.name: value})
        assert RunConfig.from_json(json.loads(config.to_json()), "x") == config
        if field.name == "resume":
            assert parsed(config.flagfile()) == RunConfig()
            assert parsed("--resume") == config
        else:
            assert parsed(config.flagfile()) == config


def allowed_values(field):
    """Values that a run may have: a study's cells are checked when it is read."""
    if field.metadata["choices"] is not None:
        return [field.metadata["choices"]()]
    named = {
        **{"system": ["kolmogorov"], "dataset_config": ["study"], "coarse": ["etdrk2:substeps=3"]},
        **{"correction": ["sequential"], "net": ["unet"], "size": ["32k"], "widths": [(8, 9)]},
        **{"curriculum": ["1:5,2:3:1e-4:2"], "metrics": [("mse", "nrmse")], "refined": [(2, 4)]},
        **{"decay_rate": [0.5], "seeds": [(3, 7)], "modalities": [("WIG",)], "data": ["own.json"]},
        **{"cut_every": [1], "level_weights": ["last"], "start_from": ["runs/é x"]},
        **{"long_horizon": [300], "average": ["0.9", "swa:part=0.5"]},
        **{"subspace": ["line:repulsion=0.5"], "ladder": ["substeps:1..2"]},
    }
    default = field.default
    return named.get(field.name) or [not default if isinstance(default, bool) else default + 2]


@pytest.mark.parametrize("name", RunConfig.names(identity=True))
def test_every_setting_survives_a_study_file(name, tmp_path):
    """A cell of a study file → the settings of its run."""
    field = next(f for f in fields(RunConfig) if f.name == name)
    for value in allowed_values(field):
        values = value if field.metadata["choices"] is not None else (value,)
        for chosen in values:
            chosen = (chosen,) if name == "modalities" and isinstance(chosen, str) else chosen
            more = {"steps": 3} if name in ("updates", "pushforward", "cut_every") else {}
            more |= {"loss": "crps"} if name == "stochastic" else {}
            more |= {"stochastic": True} if chosen == "crps" else {}
            text = "".join(f"{k} = {json.dumps(v)}\n" for k, v in ({name: chosen} | more).items())
            path = tmp_path / "study.toml"
            path.write_text(f'title = "t"\nquestion = "q"\n[mini]\n{text}[[mini.cells]]\n')
            found = description.load(str(path), "mini")
            (run_id,) = found.runs
            assert found.config(run_id) == RunConfig(**{name: chosen} | more)


def test_all_settings_at_once_survive_the_flag_file(parsed):
    rng = random.Random(0)
    for _ in range(20):
        values = {f.name: some_value(f.default, rng) for f in fields(RunConfig)}
        config = RunConfig(**values | {"resume": False, "metrics": ("mse@near body", "nrmse")})
        assert parsed(config.flagfile()) == config


def test_unwritable_output_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="out=.* cannot be written"):
        check_writable(str(tmp_path / "file" / "run"))


def test_the_curriculum_in_words_states_the_rate_of_each_stage():
    lines = RunConfig(curriculum="1:2000,4:800:1e-4:50", plateau=3).describe_stages().splitlines()
    decay = " × 0.9 every 2000 updates"
    assert lines == [
        f"stage 1: horizon 1, 2000 updates, learning rate 0.0005{decay}, halved at plateaus",
        f"stage 2: horizon 4, 800 updates, learning rate 0.0001{decay}, warm-up 50 updates, halved "
        "at plateaus",
    ]
    assert "×" not in RunConfig(decay_every=0).describe_stages()


def test_settings_from_before_initial_weights_had_names():
    assert RunConfig.from_json({"width": 4}, "x").initial == "glorot"
    assert RunConfig.from_json({"initial": "fan_in"}, "x").initial == "fan_in"


def test_an_architecture_starts_from_what_was_best_on_validation():
    assert RunConfig().resolved().initial == "zero"
    assert RunConfig(net="graph").resolved().initial == "glorot_zero"
    assert RunConfig(initial="glorot_zero").resolved().initial == "glorot_zero"


def test_settings_of_earlier_versions_are_translated():
    now = RunConfig(correction="graded", coarse="etdrk2:fraction=0.25").resolved()
    values = json.loads(now.to_json()) | {"coarse": "etdrk2", "solver_fraction": 0.25}
    assert RunConfig.from_json(values, "x") == now
    plain = json.loads(RunConfig(coarse="etdrk2").to_json())
    assert RunConfig.from_json(plain | {"solver_fraction": 1.0}, "x").coarse == "etdrk2"


def test_options_that_are_defaults_are_not_written():
    config = RunConfig(system="ks:points=48", coarse="etd1:substeps=2").resolved()
    assert (config.system, config.coarse) == ("ks", "etd1")
    config = RunConfig(system="ks:points=64", coarse="etd1:substeps=4").resolved()
    assert (config.system, config.coarse) == ("ks:points=64", "etd1:substeps=4")
