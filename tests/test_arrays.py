"""Files of own data: formats, conventions, layouts of collections, and damaged ones."""

import json
import os
import pickle
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from tfunroll import arrays
from tfunroll.core import InputError

N, T, X, Y = 4, 5, 6, 7
DT, DX, DY = 0.25, 0.5, 0.125
RNG = np.random.default_rng(0)
LINE = RNG.normal(size=(N, T, X)).astype(np.float32)
PLANE = RNG.normal(size=(4, N, T, X, Y)).astype(np.float32)  # four fields


def described(folder, file, **fields):
    path = folder / "mine.json"
    path.write_text(json.dumps({"states": file, **fields}))
    return path


def read(folder, file, **fields):
    return arrays.read(described(folder, file, **fields))


def states(made):
    return np.asarray(arrays.Pieces(made.states, range(len(made.states)), "float64"))


def as_ours(*fields):
    """[n, t, x, y] fields -> [n, t, y, x, channel]."""
    return np.stack(fields, -1).swapaxes(2, 3)


def hdf5(path, values, attributes=()):
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            file[name] = array
        for place, name, value in attributes:
            (file.require_group(place) if place else file).attrs[name] = value
    return path.name


# ---------------------------------------------------------------------- layouts


def times(more=0):
    return DT * np.arange(T + more), 1.0 + DX * np.arange(X), DY * np.arange(Y)


def test_pdebench_in_one_dimension(tmp_path):
    t, x, _ = times(more=1)  # as there, one time more than frames
    name = hdf5(tmp_path / "a.h5", {"tensor": LINE, "t-coordinate": t, "x-coordinate": x})
    made = read(tmp_path, name, layout="pdebench", channels=["u"])
    np.testing.assert_array_equal(states(made), LINE[..., None])
    assert (made.frame_time, made.spacing) == (pytest.approx(DT), pytest.approx((DX,)))
    assert (made.channels, made.boundary, made.params) == (("u",), None, {})


def test_pdebench_of_fields(tmp_path):
    t, x, y = times()
    names = ("density", "Vx", "Vy", "pressure")
    values = dict(zip(names, PLANE, strict=True))
    values |= {"t-coordinate": t, "x-coordinate": x, "y-coordinate": y}
    name = hdf5(tmp_path / "a.hdf5", values)
    made = read(tmp_path, name, layout="pdebench", boundary="periodic")
    np.testing.assert_array_equal(states(made), as_ours(*PLANE))
    assert made.channels == names
    assert made.spacing == pytest.approx((DY, DX))
    assert made.boundary == (("periodic", "periodic"),) * 2
    made = read(tmp_path, name, layout="pdebench", channels={"v": "Vy", "u": "Vx"})
    np.testing.assert_array_equal(states(made), as_ours(PLANE[2], PLANE[1]))
    assert made.channels == ("v", "u")


def test_pdebench_of_groups(tmp_path):
    t, x, y = times()
    both = np.stack(PLANE[:2], -1)  # [n, t, x, y, 2]
    values = {f"{i:04d}/data": both[i] for i in range(N)}
    for i in range(N):
        values |= {f"{i:04d}/grid/{a}": v for a, v in (("t", t), ("x", x), ("y", y))}
    made = read(tmp_path, hdf5(tmp_path / "a.h5", values), layout="pdebench")
    np.testing.assert_array_equal(states(made), as_ours(*PLANE[:2]))
    assert (made.frame_time, made.spacing) == (DT, pytest.approx((DY, DX)))


def the_well(path, conditions, scalars=(), vectors=True):
    t, x, y = times()
    values = {"t0_fields/c": PLANE[0], "t0_fields/depth": PLANE[0, 0, 0]}
    values |= {"dimensions/time": t, "dimensions/x": x, "dimensions/y": y}
    if vectors:
        values["t1_fields/velocity"] = np.stack(PLANE[1:3], -1)
    values |= {f"scalars/{k}": v for k, v in dict(scalars).items()}
    attributes = [("dimensions", "spatial_dims", ["x", "y"])]
    for name, (kind, axes, mask) in conditions.items():
        place = f"boundary_conditions/{name}"
        values[f"{place}/mask"] = np.array(mask)
        attributes += [(place, "bc_type", kind), (place, "associated_dims", list(axes))]
    return hdf5(path, values, attributes)


def test_the_well(tmp_path):
    first, last = np.eye(Y, dtype=bool)[[0, -1]]
    conditions = {
        "x": ("PERIODIC", "x", [True] + [False] * (X - 2) + [True]),
        "y_wall": ("WALL", "y", first),
        "y_open": ("OPEN", "y", last),
    }
    scalars = {"Rayleigh": np.array(1e6), "drive": np.arange(float(N)), "force": np.arange(9.0)}
    name = the_well(tmp_path / "a.hdf5", conditions, scalars)
    made = read(tmp_path, name, layout="the_well")
    np.testing.assert_array_equal(states(made), as_ours(*PLANE[:3]))
    assert made.channels == ("c", "velocity_x", "velocity_y")
    assert made.boundary == (("zero", "replicate"), ("periodic", "periodic"))
    assert (made.frame_time, made.spacing) == (pytest.approx(DT), pytest.approx((DY, DX)))
    assert set(made.params) == {"Rayleigh", "drive"}  # "force" varies in time
    np.testing.assert_array_equal(made.params["Rayleigh"], [1e6] * N)
    np.testing.assert_array_equal(made.params["drive"], range(N))


def test_the_well_in_two_files(tmp_path):
    names = []
    for k, rayleigh in enumerate((1e5, 1e6)):
        scalars = {"Rayleigh": np.array([rayleigh])}
        names.append(the_well(tmp_path / f"{k}.hdf5", {}, scalars, vectors=False))
    made = read(tmp_path, names, layout="the_well")
    assert made.states.shape == (2 * N, T, Y, X, 1)
    np.testing.assert_array_equal(made.params["Rayleigh"], [1e5] * N + [1e6] * N)
    assert made.boundary is None


def test_pdearena_in_one_dimension(tmp_path):
    values = {"train/u": LINE, "train/dt": np.full(N, DT), "train/dx": np.full(N, DX)}
    made = read(tmp_path, hdf5(tmp_path / "a.h5", values), layout="pdearena")
    np.testing.assert_array_equal(states(made), LINE[..., None])
    assert (made.frame_time, made.spacing) == (pytest.approx(DT), pytest.approx((DX,)))
    assert made.channels == ("u",)


def test_pdearena_in_two_dimensions(tmp_path):
    values = dict(zip(("valid/u", "valid/vx", "valid/vy"), PLANE, strict=False))
    values |= {"valid/dt": DT, "valid/dx": DX, "valid/dy": DY, "valid/buo_y": np.arange(float(N))}
    name = hdf5(tmp_path / "a.h5", values)
    made = read(tmp_path, name, layout="pdearena")
    np.testing.assert_array_equal(states(made), as_ours(*PLANE[:3]))
    assert made.channels == ("u", "vx", "vy")
    assert (made.frame_time, made.spacing) == (pytest.approx(DT), pytest.approx((DY, DX)))
    np.testing.assert_array_equal(made.params["buo_y"], range(N))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("pdebench", "layout 'pdebench' needs tensor, density, .*; the file holds some/where"),
        ("the_well", "layout 'the_well' needs dimensions/x"),
        ("pdearena", "layout 'pdearena' needs u, .*it holds some/where"),
    ],
)
def test_a_file_of_another_layout(tmp_path, layout, message):
    name = hdf5(tmp_path / "a.h5", {"some/where": LINE})
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, layout=layout)


def test_uneven_times_need_a_frame_time(tmp_path):
    values = {"tensor": LINE, "t-coordinate": np.arange(T) ** 2.0}
    name = hdf5(tmp_path / "a.h5", values)
    with pytest.raises(InputError, match="times in the file are not evenly spaced"):
        read(tmp_path, name, layout="pdebench")
    assert read(tmp_path, name, layout="pdebench", frame_time=2).frame_time == 2


# ---------------------------------------------------------------------- formats


def netcdf(path, group=None, **options):
    xarray = pytest.importorskip("xarray")
    t, x, y = times()
    data = xarray.Dataset(
        {"h": (("x", "time", "ensemble", "y"), PLANE[0].transpose(2, 1, 0, 3), {"units": "m"})},
        coords={"time": ("time", t, {"units": "s"}), "x": x, "y": y},
    )
    data.to_netcdf(path, group=group, **options)
    return path.name


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_64BIT", "nested"])
def test_netcdf(tmp_path, kind):
    if kind == "nested":
        options = {"group": "run/out", "engine": "h5netcdf"}
    else:
        options = {"engine": "h5netcdf" if kind == "NETCDF4" else "scipy"}
        options |= {"format": kind}
    name = netcdf(tmp_path / "a.nc", **options)
    made = read(tmp_path, name, channels={"h": "run/out/h" if kind == "nested" else "h"})
    np.testing.assert_array_equal(states(made), as_ours(PLANE[0]))
    assert (made.frame_time, made.spacing) == (pytest.approx(DT), pytest.approx((DY, DX)))
    assert made.units == {"h": "m", "frame": "s"}


def test_a_lone_netcdf_variable_beside_its_coordinates_needs_no_key(tmp_path):
    name = netcdf(tmp_path / "a.nc", engine="h5netcdf")
    np.testing.assert_array_equal(states(read(tmp_path, name)), as_ours(PLANE[0]))


def packed():
    """Whole numbers n for 10 + 0.5 n, and what they stand for."""
    raw = RNG.integers(-99, 99, size=LINE.shape).astype(np.int16)
    return raw, 10 + 0.5 * raw


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".nc"])
@pytest.mark.parametrize("hole", [False, True])
def test_scaled_numbers_and_holes(tmp_path, suffix, hole):
    raw, meant = packed()
    if hole:
        raw[1, 2, 3] = -999
    scaling = {"scale_factor": 0.5, "add_offset": 10.0, "_FillValue": np.int16(-999)}
    path, axes = tmp_path / f"a{suffix}", ["trajectory", "frame", "x"]
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["u"] = raw
            file["u"].attrs.update(scaling)
    elif suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        array = zarr.open_group(path, mode="w").create_array("u", data=raw)
        array.attrs.update(scaling | {"_FillValue": -999})
    else:
        xarray = pytest.importorskip("xarray")
        given = xarray.Variable(("sample", "time", "x"), meant if not hole else np.where(
            raw == -999, np.nan, meant))  # fmt: skip
        encoding = {"u": scaling | {"dtype": "int16"}}
        xarray.Dataset({"u": given}).to_netcdf(path, engine="h5netcdf", encoding=encoding)
        axes = None
    fields = {"axes": axes} if axes else {}
    found = states(read(tmp_path, path.name, key="u", **fields))[..., 0]
    if hole:
        assert np.isnan(found[1, 2, 3])
        found[1, 2, 3] = meant[1, 2, 3] = 0
    np.testing.assert_allclose(found, meant, rtol=1e-7)


def test_names_of_axes_in_hdf5_and_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    turned = LINE.transpose(2, 0, 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["flow/u"] = turned
        for dim, label in zip(file["flow/u"].dims, ("x", "sample", "time"), strict=True):
            dim.label = label
    group = zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=3)
    names = ("x", "sample", "time")
    group.create_array("flow/u", data=turned, dimension_names=names, chunks=(2, 2, 2))
    group = zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=2)
    group.create_array("flow/u", data=turned).attrs["_ARRAY_DIMENSIONS"] = list(names)
    array = zarr.create_array(
        tmp_path / "d.zarr", data=turned, chunks=(2, 2, 1), shards=(2, 4, 5), dimension_names=names
    )
    assert array.shape == turned.shape
    for file in ("a.h5", "b.zarr", "c.zarr", "d.zarr"):
        np.testing.assert_array_equal(states(read(tmp_path, file)), LINE[..., None])


def test_an_axis_of_another_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = LINE
        for dim, label in zip(file["u"].dims, ("sample", "time", "radius"), strict=True):
            dim.label = label
    with pytest.raises(InputError, match="axis 'radius' of 'sample', 'time', 'radius' is unknown"):
        read(tmp_path, "a.h5")
    made = read(tmp_path, "a.h5", axes=["trajectory", "frame", "x"])
    np.testing.assert_array_equal(states(made), LINE[..., None])


def test_one_trajectory_and_three_dimensions(tmp_path):
    np.save(tmp_path / "a.npy", LINE[0])
    made = read(tmp_path, "a.npy", axes=["frame", "x"])
    np.testing.assert_array_equal(states(made), LINE[:1, ..., None])
    np.save(tmp_path / "b.npy", np.zeros((2, 3, 4, 4, 4, 1)))
    with pytest.raises(InputError, match="in one or two dimensions"):
        read(tmp_path, "b.npy")


# ---------------------------------------------------------------------- pieces


def test_pieces_index_as_arrays_do(tmp_path):
    whole = as_ours(*PLANE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = whole
    made = read(tmp_path, "a.h5")
    chosen = [3, 0, 2]
    pieces, wanted = arrays.Pieces(made.states, chosen, "float32"), whole[chosen]
    assert pieces.shape == wanted.shape
    assert (pieces.ndim, pieces.nbytes, len(pieces)) == (wanted.ndim, wanted.nbytes, 3)
    for index in (
        0, -1, slice(1, 3), [2, 0], (slice(None), 2), (slice(None), slice(1, 4)), (1, -1),
        (slice(None), slice(-2, None), 0), (1, slice(0, 4, 2)), (slice(None), 0, ..., slice(0, 1)),
        (slice(None), slice(1, 3), ..., 1), (np.int64(2), np.int64(1)),
    ):  # fmt: skip
        np.testing.assert_array_equal(pieces[index], wanted[index], err_msg=str(index))
    np.testing.assert_array_equal(np.array(list(pieces)), wanted)
    np.testing.assert_array_equal(pieces.of([2, 1])[:], wanted[[2, 1]])


# ---------------------------------------------------------------------- damage


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a.npy is no plain file"):
        read(tmp_path, "a.npy")
    (tmp_path / "b.h5").mkdir()
    with pytest.raises(InputError, match=r"b.h5 is no plain file"):
        read(tmp_path, "b.h5")
    (tmp_path / "c.zarr").touch()
    with pytest.raises(InputError, match=r"c.zarr is no folder"):
        read(tmp_path, "c.zarr")
    os.mkfifo(tmp_path / "d.json")
    with pytest.raises(InputError, match=r"d.json' is no plain file"):
        arrays.read(tmp_path / "d.json")


def test_descriptions_that_no_decoder_takes(tmp_path):
    path = tmp_path / "mine.json"
    for text in ("[" * 100_000, '{"states": ' * 100_000, "\ud800".encode("utf-8", "surrogatepass")):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match="neither JSON nor .toml"):
            arrays.read(path)
    path.write_text('{"states": "' + "x" * 2**24 + '"}')
    with pytest.raises(InputError, match="larger than 16 MiB"):
        arrays.read(path)


def npy_header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (118 - len(text) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HUGE = (10**4, 10**4, 10**4, 1)  # eight terabytes


def test_headers_that_claim_terabytes(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy_header(HUGE) + bytes(80))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as members:
        members.writestr("u.npy", npy_header(HUGE) + bytes(80))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("u", HUGE, "f8", chunks=(1, 10, 10, 1))
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("u", HUGE, "f8")
    for name in ("a.npy", "b.npz", "d.h5"):
        with pytest.raises(InputError, match=f"{name} cannot be read, is it truncated or damaged"):
            read(tmp_path, name)
    with pytest.raises(InputError, match=r"c.h5: 10+ of 10+ chunks are missing"):
        read(tmp_path, "c.h5")


def test_a_missing_chunk_of_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    for version in (2, 3):
        path = tmp_path / f"{version}.zarr"
        whole = LINE[..., None]
        zarr.create_array(path, data=whole, chunks=(2, T, X, 1), zarr_format=version)
        np.testing.assert_array_equal(states(read(tmp_path, path.name)), whole)
        (path / ("0.0.0.0" if version == 2 else "c/0/0/0/0")).unlink()
        with pytest.raises(InputError, match="1 of 2 chunks are missing"):
            read(tmp_path, path.name)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("place", ["compressor", "filters", "codecs"])
def test_codecs_that_run_code(tmp_path, place):
    pytest.importorskip("zarr")
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    pickled, shape = {"id": "pickle", "protocol": 5}, [2, 3, 4, 1]
    if place == "codecs":
        codec = {"name": "numcodecs.pickle", "configuration": {}}
        settings = {
            **{"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "float64"},
            **{"fill_value": 0, "codecs": [codec], "attributes": {}},
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        }
        (folder / "zarr.json").write_text(json.dumps(settings))
    else:
        codecs = {"compressor": None, "filters": None}
        codecs[place] = [pickled] if place == "filters" else pickled
        settings = {"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<f8", "order": "C"}
        settings |= {"fill_value": 0.0, **codecs}
        (folder / ".zarray").write_text(json.dumps(settings))
    (folder / "0.0.0.0").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="codec '.*pickle' is not allowed; allowed: adler32"):
        read(tmp_path, "a.zarr")


def test_an_object_array_is_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[Bomb()]], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", u=np.array([[Bomb()]], object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(InputError, match=f"{name} cannot be read|must hold real numbers"):
            read(tmp_path, name)


def test_hdf5_that_lies_elsewhere(tmp_path):
    hdf5(tmp_path / "other.h5", {"u": LINE})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout(LINE.shape, "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "u", LINE.shape)
        file.create_virtual_dataset("u", layout)
    with pytest.raises(InputError, match="u lies in other files; copy it into one"):
        read(tmp_path, "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["u"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "u")
    with pytest.raises(InputError, match="key=None is not in the file; allowed: none"):
        read(tmp_path, "b.h5")


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.nc").write_bytes(b"CDF")
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(InputError, match=r'a.nc needs: pip install "tfunroll\[data\]"'):
        read(tmp_path, "a.nc")


def test_files_that_are_another_format(tmp_path):
    np.savez(tmp_path / "a.npz", u=LINE)
    for suffix in (".npy", ".h5", ".nc"):
        shutil.copy(tmp_path / "a.npz", tmp_path / f"b{suffix}")
        with pytest.raises(InputError, match=f"b{suffix} cannot be read"):
            read(tmp_path, f"b{suffix}")
