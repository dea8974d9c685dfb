"""Own data larger than memory: read in pieces, with the numbers of data in memory; and float64."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest
import tensorflow as tf

import tfunroll as tu
from tfunroll import data
from tfunroll.arrays import Pieces
from tfunroll.core import InputError
from tfunroll.data import windows
from tfunroll.runs.config import RunConfig
from tfunroll.runs.jobs import load_data
from tfunroll.stepping.unrolling import ONE, WIG

N, FRAMES, POINTS = 6, 24, 12
pytestmark = pytest.mark.filterwarnings("ignore:.*validation is only")


def waves(count=N, frames=FRAMES, points=POINTS):
    """[n, t, x, 1] float64 of travelling waves, none like another."""
    x, t = 2 * np.pi * np.arange(points) / points, 0.1 * np.arange(frames)
    c = np.linspace(1, 2, count)[:, None, None]
    return np.sin(x - c * t[:, None] + 1.2345 * np.arange(count)[:, None, None])[..., None]


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "states.h5", "w") as file:
        file.create_dataset("u", data=waves(), chunks=(2, 5, POINTS, 1), compression="gzip")
    fields = {"states": "states.h5", "boundary": "periodic", "channels": ["u"]}
    fields["params"] = {"speed": np.linspace(1, 2, N).tolist()}
    (tmp_path / "mine.json").write_text(json.dumps(fields))
    return tmp_path / "mine.json"


THIRD = waves().astype(np.float32).nbytes / 3


def load_both(path, dtype="float32"):
    whole = data.load(own=path, report=False, dtype=dtype)
    pieces = data.load(own=path, report=False, dtype=dtype, memory=THIRD)
    assert isinstance(whole.train.states, np.ndarray)
    assert isinstance(pieces.train.states, Pieces)
    return whole, pieces


def test_the_same_data(path):
    whole, pieces = load_both(path)
    assert pieces.fingerprint == whole.fingerprint
    for name, split in whole.splits.items():
        np.testing.assert_array_equal(np.asarray(pieces.splits[name].states), split.states)
    assert pieces.record() == whole.record()


def test_the_same_windows(path):
    whole, pieces = (windows.windows_of(made.train) for made in load_both(path))
    assert (whole.streamed, pieces.streamed) == (False, True)
    drawn = whole.draw(7, tf.constant(30, tf.int64), 40, 3)
    wanted, params = whole.read(*whole.fetch(*drawn, 3), 3)
    found, others = pieces.read(*pieces.fetch(*drawn, 3), 3)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(others["speed"], params["speed"])
    np.testing.assert_allclose(pieces.rms(), whole.rms(), rtol=1e-12)
    some = pieces.fetch(*drawn, 3, needed=9)[1].numpy()
    np.testing.assert_array_equal(some[:9], wanted[:9])
    assert not some[9:].any()


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_training_to_the_last_bit(path, monkeypatch, jit):
    monkeypatch.setattr(windows, "HELD", 8 * 4 * POINTS * 4 * 3)  # three updates of two steps
    schedule = [tu.Stage(ONE, 5, batch_size=8), tu.Stage(WIG(2), 12, batch_size=8)]
    weights = []
    for made in load_both(path):
        system = made.system
        net = tu.nets.ResNet(width=4, depth=1).build_for(system, mode="prediction")
        stepper = system.stepper(net, net.features, "prediction", "")
        trainer = tu.Trainer(stepper, made.train, schedule, noise=0.01, jit=jit, callbacks=[])
        weights.append(trainer.fit(3).weights)
    assert trainer.updates_per_call(2, 8) == 4
    np.testing.assert_array_equal(*weights)
    assert np.abs(weights[0]).max() > 0


def test_seeds_side_by_side_in_pieces(path, monkeypatch):
    monkeypatch.setattr(windows, "HELD", 2 * 8 * 3 * POINTS * 4 * 3)
    made = load_both(path)[1]
    system = made.system
    net = tu.nets.ResNet(width=4, depth=1).build_for(system, mode="prediction")
    stepper = system.stepper(net, net.features, "prediction", "")
    stage = tu.Stage(WIG(2), 7, batch_size=8)
    trainer = tu.Trainer(stepper, made.train, stage, jit=False, callbacks=[])
    together = trainer.fit_together([0, 1])
    for seed, one in enumerate(together):
        np.testing.assert_allclose(trainer.fit(seed).weights, one.weights, atol=1e-6)


def test_memory_stays_small(tmp_path):
    states = waves(64, 100, 1024).astype(np.float32)
    np.save(tmp_path / "states.npy", states)
    path = tmp_path / "mine.json"
    fields = {"states": "states.npy", "boundary": "periodic"}
    path.write_text(json.dumps(fields))
    whole = states.nbytes
    del states
    data.load(own=path, memory=whole / 3)  # what is imported on the way counts for nothing
    tracemalloc.start()
    made = data.load(own=path, memory=whole / 3)
    read = windows.windows_of(made.train)
    drawn = read.draw(0, tf.constant(0, tf.int64), 64, 4)
    read.fetch(*drawn, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 3, f"{peak / whole:.2f} of the data"


def test_what_was_read_says_that_it_is_in_pieces(path, capsys):
    data.load(own=path, memory=THIRD)
    assert "12 points, float32, read in pieces" in capsys.readouterr().out


def test_a_chunk_that_cannot_be_read_is_one_line(path):
    with h5py.File(path.parent / "states.h5") as file:
        chunk = file["u"].id.get_chunk_info(3)
    with (path.parent / "states.h5").open("r+b") as file:
        file.seek(chunk.byte_offset + 4)
        file.write(bytes(40))
    for memory in (None, THIRD):
        with pytest.raises(InputError, match=r"states.h5 cannot be read, is it truncated or dam"):
            data.load(own=path, memory=memory)


# ---------------------------------------------------------------------- float64


def test_float64_stays_where_it_is_asked_for(path):
    made = data.load(own=path, report=False, dtype="float64")
    chosen = [0, 1, 2, 5]
    assert made.train.states.dtype == made.train.params["speed"].dtype == np.float64
    np.testing.assert_array_equal(made.train.states, waves()[chosen])
    usual = data.load(own=path, report=False)
    np.testing.assert_array_equal(usual.train.states, waves()[chosen].astype(np.float32))
    with pytest.raises(InputError, match="dtype='float16' is unknown; allowed: float32, float64"):
        data.load(own=path, dtype="float16")


@pytest.mark.parametrize(("precision", "dtype"), [("float64", "f8"), ("mixed_bfloat16", "f4")])
def test_precision_decides(path, precision, dtype):
    config = RunConfig(data=str(path), mode="prediction", precision=precision, data_memory=1e-6)
    states = load_data(config.resolved()).train.states
    assert isinstance(states, Pieces)
    assert states.dtype == dtype


def test_windows_and_arrays_in_float64(path):
    read = windows.windows_of(data.load(own=path, report=False, dtype="float64").train, "float64")
    batch, _ = read.read(*read.draw(0, tf.constant(0, tf.int64), 4, 1), 1)
    assert np.isin(batch.numpy(), waves()).all()
    system = data.load(own=path, report=False).system
    arrays = {"train": (waves(), {"speed": np.linspace(1, 2, N)})}
    assert data.of(system, arrays, dtype="float64").train.states.dtype == np.float64
    assert data.of(system, arrays).train.states.dtype == np.float32


def test_the_limit_must_be_a_number_of_gigabytes():
    with pytest.raises(InputError, match="data_memory=-1 must be at least 0"):
        RunConfig(data_memory=-1).resolved()
