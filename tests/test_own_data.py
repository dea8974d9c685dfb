"""Own data without a System: what their description says, and prediction from it alone."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from trainings import trainer_of

import tfunroll
from tfunroll import arrays, data, systems
from tfunroll.core import InputError
from tfunroll.runs import running, saved_model
from tfunroll.runs.config import RunConfig
from tfunroll.systems import described

KS = systems.get("ks")
SPEEDS = [1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
FRAMES, POINTS, DT = 40, 16, 0.1
pytestmark = pytest.mark.filterwarnings("ignore:.*validation is only")


def waves():
    """u = 300 + 20 sin(x − ct), travelling; [6, 40, 16, 1]."""
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    t, c = DT * np.arange(FRAMES), np.array(SPEEDS)
    start = 1.2345 * np.arange(6)[:, None, None]
    return (300 + 20 * np.sin(x - c[:, None, None] * t[:, None] + start))[..., None]


def plane():
    """Fields h and p of quite different size on 8 × 6 points: [6, 40, y, x, 2]."""
    x, y = (2 * np.pi * np.arange(n) / n for n in (6, 8))
    t, c = DT * np.arange(FRAMES), np.array(SPEEDS)
    phase = (c[:, None] * t)[..., None, None]
    h = np.sin(x - phase + c[:, None, None, None]) * np.cos(y[:, None])
    return np.stack([h, 1e5 + 1e3 * np.cos(x - phase) * np.sin(y[:, None])], -1)


LINE = {
    "states": "states.npy",
    "channels": ["T"],
    "grid": {"x": POINTS},
    "domain": {"x": 6.4},
    "frame_time": DT,
    "boundary": "periodic",
    "units": {"T": "K", "time": "s"},
    "params": {"speed": SPEEDS},
}
PLANE = {
    "states": "states.npy",
    "channels": ["h", "p"],
    "frame_time": DT,
    "boundary": {"x": "periodic", "y": ["zero", "replicate"]},
    "splits": {"train": [0, 1, 2, 5], "validation": [3], "test_interpolation": [4]},
}


@pytest.fixture
def described_as(tmp_path):
    """(states, fields) -> the path of a description of them."""

    def write(values, /, **fields):
        np.save(tmp_path / "states.npy", values)
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(fields))
        return path

    return write


def test_the_system_of_data_alone(described_as):
    system = systems.get(str(described_as(waves(), **LINE)))
    assert (system.name, system.channels, system.frame_time) == ("mine", ("T",), DT)
    assert system.domain.shape == (POINTS,)
    assert system.domain.boundary == (("periodic", "periodic"),)
    assert system.domain.spacing == pytest.approx((0.4,))
    assert system.params["speed"].scale == pytest.approx(1 / 2.0)
    train = waves()[[0, 1, 2, 5]]  # 1.6 and 1.8 are held out
    assert system.mean == pytest.approx((train.mean(),))
    assert system.std == pytest.approx((train.std(),))
    change = np.sqrt(np.mean(np.diff(train, axis=1) ** 2)) / train.std()
    assert system.prediction_scale == pytest.approx(change, rel=1e-6)
    assert (system.horizon, system.long_horizon) == (12, 38)
    assert system.units == {"T": "K", "time": "s"}


def test_two_dimensions_and_sides(described_as):
    system = systems.get(str(described_as(plane(), **PLANE)))
    assert system.domain.shape == (8, 6)
    assert system.domain.boundary == (("zero", "replicate"), ("periodic", "periodic"))
    assert system.domain.spacing is None
    train = plane()[[0, 1, 2, 5]]
    assert system.std == pytest.approx(train.std((0, 1, 2, 3)), rel=1e-9)
    assert not system.params


def test_toml_says_the_same(described_as, tmp_path):
    described_as(waves(), **LINE)
    path = tmp_path / "mine.toml"
    path.write_text(
        'states = "states.npy"\nchannels = ["T"]\ngrid = 16\nframe_time = 0.1\n'
        f'boundary = "periodic"\n[domain]\nx = 6.4\n[params]\nspeed = {SPEEDS}\n'
    )
    made, other = systems.get(str(path)), systems.get(str(tmp_path / "mine.json"))
    for name in ("domain", "channels", "frame_time", "mean", "std", "prediction_scale", "params"):
        assert getattr(made, name) == getattr(other, name)


def test_a_changed_file_makes_another_system(described_as):
    path = str(described_as(waves(), **LINE))
    before = systems.get(path)
    assert systems.get(path) is before
    described_as(2 * waves(), **LINE)
    assert systems.get(path).std == pytest.approx((2 * before.std[0],))


def test_large_offsets_keep_their_digits(described_as):
    states = 1e7 + np.random.default_rng(0).normal(size=(4, 9, 16, 1))
    path = described_as(states, **LINE | {"params": {"speed": 1.0}})
    assert systems.get(str(path)).std == pytest.approx((states[:2].std(),), rel=1e-9)


@pytest.mark.parametrize(
    ("states", "fields", "size"), [(waves, LINE, 4), (plane, PLANE, 4)], ids=["1-D", "2-D"]
)
def test_any_network_trains_without_a_solver(described_as, states, fields, size):
    path = str(described_as(states(), **fields))
    config = RunConfig(
        data=path,
        mode="prediction",
        modalities=("WIG",),
        seeds=(0,),
        width=size,
        depth=1,
        curriculum="2:60:3e-3",
        jit="off",
    ).resolved()
    assert config.system == path
    loaded = data.load(own=path, report=False)
    trainer = trainer_of(config, loaded)
    fitted = trainer.fit(0)
    norms = fitted.history.query("quantity == 'training/loss'")["value"]
    assert norms.iloc[-1] < 0.9 * float(_persistence(loaded))
    compared = tfunroll.evaluate(trainer.objective.stepper, loaded, horizon=4, jit=False)
    assert set(compared.results["modality"]) >= {"persistence"}
    assert set(compared.results["system"]) == {"mine"}


def _persistence(loaded):
    """Loss over two levels of a state that does not move, in units of std."""
    u, std = loaded.train.states.astype(float), np.array(loaded.system.std)
    return np.mean([np.mean(((u[:, k:] - u[:, : -k or None]) / std) ** 2) for k in (1, 2)])


def test_losses_count_channels_in_units_of_their_spread(described_as):
    system = systems.get(str(described_as(plane(), **PLANE)))
    net = tfunroll.nets.ResNet(width=4, depth=1).build_for(system, mode="prediction")
    stepper = system.stepper(net, system.features("prediction"), "prediction", "")
    loss = tfunroll.losses.Supervised().fitted(stepper).bind({})
    target = tf.constant(plane()[:2, 0], tf.float32)
    for k, std in enumerate(system.std):
        off = np.zeros((1, 1, 1, 2), np.float32)
        off[..., k] = 0.01 * std
        np.testing.assert_allclose(loss(0, None, target + off, target), 0.5e-4, rtol=0.02)


def test_what_was_read_is_said_once(described_as, capsys):
    data.load(own=described_as(waves(), **LINE))
    printed = capsys.readouterr().out
    assert "mine: trajectories 4 train, 1 validation, 1 test_interpolation; 40 frames" in printed
    assert "16 points, float32; frame time 0.1 s\n" in printed
    change = np.sqrt(np.mean(np.diff(waves(), axis=1) ** 2))
    assert f"  T: 280 to 320 K, change per frame {change:.2g} (rms)\n" in printed
    assert "coarse step" not in printed


def test_correction_needs_a_solver(described_as):
    path = str(described_as(waves(), **LINE))
    with pytest.raises(InputError, match="mine is data alone; allowed: prediction"):
        RunConfig(data=path).resolved()
    with pytest.raises(InputError, match="coarse='etd1' is unknown"):
        RunConfig(data=path, mode="prediction", coarse="etd1").resolved()


def test_a_description_names_its_system(tmp_path):
    states = np.random.default_rng(0).normal(size=(5, 8, 48, 1))
    np.save(tmp_path / "states.npy", states)
    fields = {"system": "ks", "states": "states.npy", "params": {"domain_size": [8.0] * 5}}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(fields))
    assert RunConfig(data=str(path)).resolved().system == "ks"
    with pytest.raises(InputError, match="system='ks', but the run is for 'kolmogorov'"):
        data.load(systems.get("kolmogorov"), own=path)


AS_KS = {
    "states": "states.npy",
    "channels": ["u"],
    "frame_time": 1.0,
    "boundary": "periodic",
    "params": {"domain_size": [8.0] * 5},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ["w"]}, "channels=w, but those of ks are u"),
        ({"frame_time": 0.5}, "frame_time=0.5, but ks steps 1"),
        ({"boundary": "zero"}, "boundary.x=zero, zero, but that of ks is periodic, periodic"),
        ({"params": {"speed": 1.0}}, "params='speed' is unknown; allowed: domain_size"),
        ({"params": {}}, "params.domain_size is missing"),
    ],
)
def test_own_data_that_do_not_fit_a_system(described_as, changes, message):
    states = np.random.default_rng(0).normal(size=(5, 8, 48, 1))
    data.load(KS, own=described_as(states, **AS_KS), report=False)
    path = described_as(states, **AS_KS | changes)
    with pytest.raises(InputError, match=message):
        data.load(KS, own=path)
    path = described_as(states[:, :, :40], **AS_KS)
    with pytest.raises(InputError, match=r"states has shape \(5, 8, 40, 1\), expected .*48, 1"):
        data.load(KS, own=path)


def test_points_too_far_apart_for_the_system(tmp_path):
    wake = systems.get("wake")
    ny, nx = wake.domain.shape
    np.save(tmp_path / "states.npy", np.random.default_rng(0).normal(size=(3, 2, ny, nx, 3)))
    (dy, dx), path = wake.domain.spacing, tmp_path / "mine.json"
    fields = {"states": "states.npy", "params": {"reynolds": 100.0}}
    for width, fits in ((dx * nx, True), (2 * dx * nx, False)):
        fields["domain"] = {"x": width, "y": dy * ny}
        path.write_text(json.dumps(fields))
        if fits:
            data.load(wake, own=path, report=False)
        else:
            with pytest.raises(InputError, match="apart along x, but those of wake"):
                data.load(wake, own=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boundary": None}, 'boundary is missing, which networks need: {"x": …}'),
        ({"boundary": "open"}, "boundary.x='open' is unknown; allowed: periodic, replicate, zero"),
        ({"boundary": {"y": "zero"}}, "boundary='y' is unknown; allowed: x"),
        ({"boundary": {"x": ["periodic", "zero"]}}, "one side alone cannot be periodic"),
        ({"boundary": {"x": ["zero"]}}, "boundary.x must be one kind, or two"),
        ({"boundary": [3]}, "boundary.x must be one kind, or two"),
        ({"grid": 17}, "grid.x=17, but states have 16"),
        ({"grid": {"x": 16, "y": 2}}, "grid='y' is unknown; allowed: x"),
        ({"domain": {"x": -1}}, "domain.x=-1 must be a positive number"),
        ({"domain": "long"}, "domain.x='long' must be a positive number"),
        ({"frame_time": 0}, "frame_time=0 must be a positive number"),
        ({"frame_time": math.inf}, "frame_time=inf must be a positive number"),
        ({"frame_time": 10**400}, "frame_time=10+.* must be a positive number"),
        ({"channels": ["T", "u"]}, r"channels=\['T', 'u'\]: states have 1, each one name"),
        ({"channels": "T"}, "channels='T' must be a list of names"),
        ({"units": {"q": "m"}}, "units='q' is unknown; allowed: T, speed, time, x, y"),
        ({"units": ["m"]}, "units=.* must be an object of texts"),
        ({"params": {"a b": 1.0}}, "params: 'a b' must be one word"),
        ({"params": {"speed": "fast"}}, "params.speed='fast' must be a list of numbers or a file"),
        ({"params": [1]}, "params must be an object"),
        ({"states": []}, "states is empty; name a file"),
        ({"states": ["states.npy", 3]}, "states=3 must be a file name"),
        ({"states": "~nobody_here/x.npy"}, "states='~nobody_here/x.npy'"),
        ({"states": "x" * 300 + ".npy"}, "states='xxx.*does not exist|File name too long"),
        ({"states": "a\0b.npy"}, "states="),
        ({"axes": ["trajectory", "frame", "z", "channel"]}, "axes='z' is unknown"),
        ({"axes": ["trajectory", "frame", "x"]}, r"states has shape .*, but axes names 3"),
        ({"axes": ["trajectory", "t", "frame", "x"]}, "name one twice"),
        ({"axes": ["trajectory", "y", "x", "channel"]}, "lack 'frame'"),
        ({"axes": "x"}, "axes='x' must be a list"),
        ({"layout": "mine"}, "layout='mine' is unknown; allowed: pdearena, pdebench, the_well"),
        ({"layout": "pdebench", "axes": ["x"]}, "axes are those of layout='pdebench'"),
        ({"key": 3}, "key=3 must be a text"),
        ({"system": ["ks"]}, "system=.* must be a text"),
    ],
)
def test_a_wrong_description_of_data_alone(described_as, changes, message):
    path = described_as(waves(), **{k: v for k, v in (LINE | changes).items() if v is not None})
    with pytest.raises(InputError, match=message) as raised:
        data.load(own=path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_no_system_and_no_data():
    with pytest.raises(InputError, match="system: needed is a System"):
        data.load()


def test_axes_in_another_order(described_as):
    usual = data.load(own=described_as(waves(), **LINE), report=False)
    other = waves()[..., 0].transpose(1, 0, 2)
    path = described_as(other, **LINE | {"axes": ["time", "trajectory", "x"]})
    assert data.load(own=path, report=False).fingerprint == usual.fingerprint


def test_files_in_turn(described_as, tmp_path):
    usual = data.load(own=described_as(waves(), **LINE), report=False)
    for k in range(3):
        np.save(tmp_path / f"part{k}.npy", waves()[2 * k : 2 * k + 2])
    fields = LINE | {"states": [f"part{k}.npy" for k in range(3)]}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(fields))
    assert data.load(own=path, report=False).fingerprint == usual.fingerprint
    np.save(tmp_path / "part1.npy", waves()[2:4, :, :8])
    with pytest.raises(InputError, match=r"part1.npy has 8 along x, part0.npy 16"):
        data.load(own=path)


def test_a_short_description_says_what_is_in_the_array(described_as):
    made = arrays.read(described_as(waves(), states="states.npy"))
    assert made.states.shape == (6, FRAMES, POINTS, 1)
    assert (made.channels, made.frame_time, made.boundary, made.spacing) == ((), None, None, None)
    assert described.METRICS


@pytest.mark.slow
def test_a_run_from_data_to_tables(described_as, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    described_as(waves(), **LINE)
    config = RunConfig(
        data="mine.json",
        mode="prediction",
        modalities=("ONE", "WIG"),
        seeds=(0,),
        width=4,
        depth=1,
        curriculum="1:20,2:20",
        horizon=4,
        long_horizon=20,
        jit="off",
        workers=1,
        out=str(tmp_path / "run"),
    )
    text = running.run(config)
    for row in ("ONE", "WIG", "persistence"):
        assert f"\n{row}" in text
    assert "coarse solver" not in text
    monkeypatch.chdir("/")
    folder = tmp_path / "run"
    assert "\nWIG" in running.evaluate(folder, horizon=5, workers=1)
    assert "\nWIG" in running.gather(folder)
    params = {"speed": tf.constant([1.5])}
    step = tfunroll.load(folder / "WIG" / "0").bind(params)
    state = tf.constant(waves()[:1, 0], tf.float32)
    np.testing.assert_allclose(step(state), state, rtol=0.2)
    saved_model.export(folder / "WIG" / "0", tmp_path / "saved")
    again = tf.saved_model.load(str(tmp_path / "saved")).step(state, params)
    np.testing.assert_allclose(again, step(state), rtol=1e-6)
