"""Thousands of damaged descriptions and files: each is read, or one InputError says why not.

``TFUNROLL_FUZZ=20`` makes twenty times as many.
"""

import contextlib
import copy
import functools
import json
import os
import pathlib
import tempfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfunroll import arrays, data, systems
from tfunroll.core import InputError

TIMES = int(os.environ.get("TFUNROLL_FUZZ", "1"))
quick = functools.partial(
    settings,
    deadline=None,
    database=None,
    derandomize=TIMES == 1,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
N, T, X = 4, 3, 6
STATES = np.random.default_rng(0).normal(size=(N, T, X, 1))
pytestmark = pytest.mark.filterwarnings("ignore")


@contextlib.contextmanager
def one_line():
    """Passes, or raises one InputError of one line."""
    try:
        yield
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 1000  # noqa: PT017


def read_all(path):
    """Everything that loading own data reads."""
    made = arrays.read(path)
    for i in range(len(made.states)):
        assert made.states.read(i).shape == made.states.shape[1:]
    with one_line():
        systems.get(str(path))
    with one_line():
        data.load(own=path, report=False)


# ---------------------------------------------------------------------- descriptions

WHOLE = {
    **{"states": "states.npy", "channels": ["u"], "grid": {"x": X}, "domain": {"x": 2.5}},
    **{"frame_time": 0.5, "boundary": {"x": ["zero", "replicate"]}, "units": {"u": "m"}},
    **{"params": {"a": [1.0, 2.0, 2.0, 3.0], "b": 4}, "axes": ["n", "t", "x", "c"]},
    "splits": {"train": [0, 1], "validation": [2], "test_extrapolation": [3]},
}
WHOLE["axes"] = ["trajectory", "frame", "x", "channel"]
NAMES = [*WHOLE, "system", "key", "layout", "u", "x", "y", "a", "train", "test", "periodic"]
NAMES += ["states.npy", "states.h5", "states.npz", "u.zarr", "mine.json", ".", "", "~", "~nobody"]
NAMES += ["pdebench", "the_well", "pdearena", "ks", "\0", "/dev/zero", "/dev/null.npy", "*", "é"]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10)
    | st.integers()
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """All places in nested objects and lists."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
        value, list) else ()  # fmt: skip
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def descriptions(draw):
    """WHOLE with up to three things exchanged, left out, or new."""
    made = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        spots = list(places(made))
        path = draw(st.sampled_from(spots))
        if not path:
            made[draw(st.sampled_from(NAMES))] = draw(values)
            continue
        holder = functools.reduce(lambda v, key: v[key], path[:-1], made)
        if draw(st.integers(0, 4)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(values)
    return made


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        np.save(path / "states.npy", STATES)
        np.savez(path / "states.npz", u=STATES, a=np.arange(N))
        with h5py.File(path / "states.h5", "w") as file:
            file["u"], file["a"] = STATES, np.arange(N)
        yield path


@quick(max_examples=300 * TIMES)
@given(made=descriptions())
def test_descriptions_with_things_exchanged(folder, made):
    path = folder / "mine.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    with one_line():
        read_all(path)


@quick(max_examples=300 * TIMES)
@given(text=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), toml=st.booleans())
def test_descriptions_of_any_bytes(folder, text, toml):
    path = folder / f"any.{'toml' if toml else 'json'}"
    path.write_bytes(text)
    with one_line():
        read_all(path)


# ---------------------------------------------------------------------- files


def npy(path):
    np.save(path, STATES)


def npz(path):
    np.savez_compressed(path, u=STATES)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("g/u", data=STATES, chunks=(2, T, X, 1), compression="gzip")
        file["g/u"].attrs.update({"scale_factor": 1.0, "_FillValue": -9.0, "units": "m"})


def netcdf(path):
    xarray = pytest.importorskip("xarray")
    names = ("sample", "time", "x")
    made = xarray.Dataset({"u": (names, STATES[..., 0])}, coords={"time": np.arange(T)})
    made.to_netcdf(path, engine="h5netcdf")


def netcdf3(path):
    xarray = pytest.importorskip("xarray")
    names = ("sample", "time", "x")
    made = xarray.Dataset({"u": (names, STATES[..., 0])}, coords={"time": np.arange(T)})
    made.to_netcdf(path, engine="scipy")


def zarr(path, version):
    made = pytest.importorskip("zarr").open_group(path, mode="w", zarr_format=version)
    made.create_array("u", data=STATES, chunks=(2, T, X, 1))


KINDS = {
    **{"states.npy": npy, "states.npz": npz, "states.h5": hdf5, "states.nc": netcdf},
    "three.nc": netcdf3,
    "two.zarr": functools.partial(zarr, version=2),
    "three.zarr": functools.partial(zarr, version=3),
}


@st.composite
def damage(draw):
    """(content) -> content: bytes exchanged, cut out or put in, or the end missing."""
    cuts = draw(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("xid"), st.binary(
        min_size=1, max_size=9)), min_size=1, max_size=4))  # fmt: skip
    end = draw(st.none() | st.floats(0, 1))

    def apply(content):
        for place, how, new in cuts:
            at = int(place * max(len(content) - 1, 0))
            skipped = {"x": len(new), "i": 0, "d": len(new)}[how]
            content = content[:at] + (new if how != "d" else b"") + content[at + skipped :]
        return content if end is None else content[: int(end * len(content))]

    return apply


# Not HDF5 and NetCDF: on some damaged heaps the C library loops for ever, where nothing in this
# process can end it; test_arrays.py damages such files in known ways.
@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"states.h5", "states.nc"}))
def test_damaged_files(name, tmp_path):
    KINDS[name](tmp_path / name)
    described = {"states": name, "boundary": "periodic", "params": {}}
    (tmp_path / "mine.json").write_text(json.dumps(described))
    read_all(tmp_path / "mine.json")
    whole = tmp_path / name
    files = sorted(p for p in whole.rglob("*") if p.is_file()) if whole.is_dir() else [whole]
    contents = {path: path.read_bytes() for path in files}

    @quick(max_examples=(300 if name in ("states.npy", "states.npz") else 100) * TIMES)
    @given(number=st.integers(0, len(files) - 1), spoil=damage())
    def spoiled(number, spoil):
        path = files[number]
        path.write_bytes(spoil(contents[path]))
        try:
            with one_line():
                read_all(tmp_path / "mine.json")
        finally:
            path.write_bytes(contents[path])

    spoiled()
