"""Datasets in memory: the TFDS way and own files, and every mistake as one line."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest

from tfunroll import data, systems
from tfunroll.arrays.description import default_splits
from tfunroll.core import InputError

KS = systems.get("ks")
# most states here are random numbers, which is said of them
pytestmark = pytest.mark.filterwarnings("ignore:.*(validation is only|coarse step)")


# ---------------------------------------------------------------------- TFDS


def test_tiny_in_memory(tiny_data_dir):
    loaded = data.load(KS, "tiny", tiny_data_dir)
    assert (loaded.name, loaded.config, loaded.frame_time) == ("kuramoto_sivashinsky", "tiny", 1.0)
    assert set(loaded.splits) == set(KS.splits)
    train = loaded.splits["train"]
    assert train.states.shape == (36, 1000, 48, 1)
    assert train.states.dtype == np.float32
    assert train.params["domain_size"].shape == train.start_times.shape == (36,)
    assert len(set(train.ids)) == 36
    assert train.diagnostics["energy"].shape == (36, 1000)
    assert train.diagnostics["chaotic"].shape == (36, 10)
    assert train.diagnostics["chaotic"].dtype == bool
    assert train.diagnostics["chaotic"].mean() > 0.7


def test_unknown_config_lists_the_allowed_ones(tiny_data_dir):
    with pytest.raises(
        InputError, match=r"dataset_config='huge'.*fine, hosted, published, study, tiny"
    ):
        data.load(KS, "huge", tiny_data_dir)


def test_missing_dataset_without_build(tmp_path):
    with pytest.raises(InputError, match=r"missing in .*generate_data.py --system=ks"):
        data.load(KS, "tiny", tmp_path, build=False)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["*train.tfrecord*", "dataset_info.json", "features.json"])
@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), _truncate], ids=["missing", "short"])
def test_broken_dataset_names_the_folder(tiny_data_dir, tmp_path, file, spoil):
    shutil.copytree(tiny_data_dir / "kuramoto_sivashinsky", tmp_path / "kuramoto_sivashinsky")
    folder = tmp_path / "kuramoto_sivashinsky" / "tiny" / "2.0.0"
    spoil(next(folder.glob(file)))
    try:
        data.load(KS, "tiny", tmp_path)
    except InputError as error:
        assert str(folder) in str(error)  # noqa: PT017
        assert "delete" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:  # the builder's class knows the features without the file
        assert file == "features.json"


# ---------------------------------------------------------------------- own data


def _states(count=5, frames=8):
    return np.random.default_rng(0).normal(size=(count, frames, 48, 1))


SIZES = [7.2, 8.0, 8.0, 9.6, 10.4]


def _describe(folder, states="states.npy", params=None, **fields):
    path = folder / "own.json"
    params = {"domain_size": SIZES} if params is None else params
    path.write_text(json.dumps({"system": "ks", "states": states, "params": params, **fields}))
    return path


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "states.npy", _states())
    return tmp_path


def test_own_npy_with_default_splits(folder):
    loaded = data.load(KS, own=_describe(folder))
    assert (loaded.name, loaded.config) == ("own", "own")
    assert {s: len(t.states) for s, t in loaded.splits.items()} == {
        "train": 3,
        "validation": 1,
        "test_interpolation": 1,
    }
    order = {"train": [0, 1, 4], "validation": [2], "test_interpolation": [3]}
    for split, chosen in order.items():  # 7.2 and 10.4 are the ends of the range
        states = loaded.splits[split].states
        np.testing.assert_array_equal(states, _states()[chosen].astype(np.float32))
        sizes = loaded.splits[split].params["domain_size"]
        np.testing.assert_allclose(sizes, np.array(SIZES)[chosen], rtol=1e-6)
    test = loaded.splits["test_interpolation"]
    np.testing.assert_allclose(
        test.diagnostics["energy"], (test.states**2 / 2).mean((2, 3)), rtol=1e-5
    )


def test_two_trajectories_have_no_default_splits(tmp_path):
    np.save(tmp_path / "states.npy", _states(2))
    with pytest.raises(InputError, match="2 trajectories; splits need at least 3"):
        data.load(KS, own=_describe(tmp_path, params={"domain_size": SIZES[:2]}))


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([3, 1, 2, 2, 2], ([3], [4])),  # the last ones inside
        ([1, 1, 1], ([1], [2])),
        ([2, 2, 1, 3, 1, 3], ([4], [5])),  # the ends of the range are there twice
        ([1, 2, 3, 4, 5], ([2], [3])),
        ([1, *[2] * 18, 3], ([15, 16], [17, 18])),
    ],
)
def test_default_splits_hold_out_what_lies_inside(values, held):
    params = {"a": np.array(values, float), "b": np.zeros(len(values))}
    splits = default_splits(len(values), params)
    assert (splits["validation"], splits["test_interpolation"]) == held
    assert sorted(i for chosen in splits.values() for i in chosen) == list(range(len(values)))
    train = params["a"][splits["train"]]
    for split in ("validation", "test_interpolation"):
        assert (params["a"][splits[split]] >= train.min()).all()
        assert (params["a"][splits[split]] <= train.max()).all()


def test_default_splits_without_an_inside_ask_for_splits():
    with pytest.raises(InputError, match='only 1 have .*name the trajectories under "splits"'):
        default_splits(3, {"a": np.array([1.0, 2.0, 3.0])})


def test_own_splits_as_given(folder):
    splits = {"train": [4, 0], "validation": [1], "test_extrapolation": [2]}
    loaded = data.load(KS, own=_describe(folder, frame_time=1, splits=splits))
    assert set(loaded.splits) == set(splits)
    np.testing.assert_allclose(loaded.splits["train"].params["domain_size"], [10.4, 7.2], rtol=1e-6)


def test_a_fingerprint_is_of_the_values_not_of_the_place(folder, tmp_path):
    of = lambda where, **fields: data.load(KS, own=_describe(where, **fields)).fingerprint  # noqa: E731
    first = of(folder)
    assert len(first) == 16
    int(first, 16)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == first
    states = _states()
    states[2, 3, 5, 0] += 1e-3
    np.save(tmp_path / "elsewhere" / "states.npy", states)
    found = {
        *(first, of(tmp_path / "elsewhere"), of(folder, params={"domain_size": SIZES[::-1]})),
        of(folder, splits={"train": [1, 0, 2], "validation": [3], "test_interpolation": [4]}),
    }
    assert len(found) == 4


def test_own_toml(folder):
    path = folder / "own.toml"
    path.write_text(
        f'system = "ks"\nstates = "states.npy"\n[params]\ndomain_size = {SIZES}\n'
        "[splits]\ntrain = [0, 1]\nvalidation = [2]\n"
    )
    assert len(data.load(KS, own=path).splits["train"].states) == 2


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
def test_own_arrays_by_key(tmp_path, suffix):
    arrays = {"u": _states(), "size": np.array(SIZES)}
    path = tmp_path / f"file{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.update(arrays)
    else:
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="w")
        for name, values in arrays.items():
            group.create_array(name, data=values)
    own = _describe(tmp_path, path.name, {"domain_size": "size"}, key="u")
    train = data.load(KS, own=own).splits["train"]
    np.testing.assert_array_equal(train.states, _states()[[0, 1, 4]].astype(np.float32))
    np.testing.assert_allclose(train.params["domain_size"], [7.2, 8.0, 10.4], rtol=1e-6)
    with pytest.raises(InputError, match=r"states: key=None.*allowed: .*size"):
        data.load(KS, own=_describe(tmp_path, path.name))


def test_zarr_not_installed(tmp_path, monkeypatch):
    (tmp_path / "states.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r'pip install "tfunroll\[zarr\]"'):
        data.load(KS, own=_describe(tmp_path, "states.zarr"))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_truncated_file(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    if suffix == ".npy":
        np.save(path, _states())
    elif suffix == ".npz":
        np.savez(path, _states())
    else:
        with h5py.File(path, "w") as file:
            file["u"] = _states()
    _truncate(path)
    with pytest.raises(InputError, match=r"states: .*truncated"):
        data.load(KS, own=_describe(tmp_path, path.name))


def _spoiled(index, value):
    states = _states()
    states[index] = value
    return states


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (_states()[..., 0], "states has shape .* without the channel axis"),
        (_states()[:, :, :32], "states has shape .*48, 1"),
        (_states(5, 60).swapaxes(1, 2), "at the end: are time and space swapped"),
        (np.ones((5, 8, 48, 1)), "states of trajectory 0 are constant in time"),
        (np.zeros((5, 48)), "states has shape"),
        (_states(5, 1), "two frames"),
        (_states(2), r"params.domain_size has shape \(5,\), expected 2"),
        (_spoiled((3, 2, 1, 0), np.nan), "states holds NaN or infinity in trajectory 3"),
        (_spoiled((0, 0, 0, 0), np.inf), "states holds NaN or infinity in trajectory 0"),
        (np.full((5, 8, 48, 1), "x"), "states must hold real numbers"),
    ],
)
def test_wrong_states(tmp_path, states, message):
    np.save(tmp_path / "states.npy", states)
    with pytest.raises(InputError, match=message):
        data.load(KS, own=_describe(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"states": "none.npy"}, "states='none.npy' does not exist"),
        ({"states": "states.txt"}, "states='states.txt'.*allowed"),
        ({"states": 3}, "states=3 must be a file name"),
        ({"system": "wake"}, "system='wake'"),
        ({"frame_time": 0.5}, "frame_time=0.5"),
        ({"frame_time": "x"}, "frame_time='x'"),
        ({"colour": 1}, "field='colour' is unknown"),
        ({"params": {}}, "params.domain_size is missing"),
        ({"params": [7.2]}, "params must be an object"),
        ({"params": {"reynolds": SIZES}}, "params='reynolds' is unknown"),
        ({"params": {"domain_size": SIZES[:4]}}, r"params.domain_size has shape \(4,\)"),
        ({"params": {"domain_size": [-8, *SIZES[1:]]}}, "domain_size=-8 is outside the allowed"),
        ({"params": {"domain_size": [float("nan"), *SIZES[1:]]}}, "domain_size holds NaN"),
        ({"params": {"domain_size": "a b c"}}, "params.domain_size='a b c'"),
        ({"params": {"domain_size": "none.npy"}}, "params.domain_size='none.npy' does not exist"),
        ({"splits": [0]}, "splits must name train and validation"),
        ({"splits": {"train": [0]}}, "splits must name train and validation"),
        ({"splits": {"train": [0], "validation": []}}, "splits.validation must be a list"),
        ({"splits": {"train": [0], "validation": [9]}}, "splits.validation holds 9; allowed: 0"),
        ({"splits": {"train": [0], "validation": [1], "rest": [2]}}, "splits='rest' is unknown"),
        (
            {"splits": {"train": [0, 1], "validation": [2], "test_extrapolation": [1]}},
            "splits.test_extrapolation holds trajectory 1, which train",
        ),
    ],
)
def test_wrong_description(folder, fields, message):
    path = folder / "own.json"
    given = {"system": "ks", "states": "states.npy", "params": {"domain_size": SIZES}, **fields}
    path.write_text(json.dumps(given))
    with pytest.raises(InputError, match=message) as raised:
        data.load(KS, own=path)
    assert "\n" not in str(raised.value)
    assert "own.json" in str(raised.value)


def test_wrong_description_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        data.load(KS, own=tmp_path / "none.json")
    path = tmp_path / "own.json"
    for text in ("{", "[1]", "\x00"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"own\.json"):
            data.load(KS, own=path)
    path.write_text('{"system": "ks"}')
    with pytest.raises(InputError, match="field 'states' is missing"):
        data.load(KS, own=path)
