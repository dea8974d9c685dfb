"""Arrays in NumPy, HDF5, Zarr and NetCDF files, read piece by piece.

Headers are checked against what the file holds before anything is read: sizes that cannot be,
chunks that are missing, and codecs that would run code are refused.
"""

import contextlib
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfunroll import machine
from tfunroll.core import InputError
from tfunroll.files import why

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")
HDF5 = (".h5", ".hdf5", ".hdf")
FORMATS = (".npy", ".npz", *HDF5, ".zarr", *NETCDF)
CODECS = {  # of Zarr, that only move and pack bytes; numcodecs has others, such as pickle
    *("bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32"),
    *("jenkins_lookup3", "blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "shuffle"),
    *("delta", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype"),
}
METADATA = 2**24  # bytes of a file of settings, at most


@contextlib.contextmanager
def reading(where: str, path: pathlib.Path) -> Iterator[None]:
    """Whatever a library raises of a file becomes one InputError.

    Args: where: description and field, for the message.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{where}: {path} asks for more memory than there is") from None
    except Exception as error:  # h5py, zarr and xarray have no common one
        reason = why(error)[:200]
        raise InputError(
            f"{where}: {path} cannot be read, is it truncated or damaged? ({reason})"
        ) from None


@dataclass(frozen=True)
class Array:
    """An array in a file.

    Attributes:
      where, path: for messages.
      shape, stored: of real numbers, or flags.
      dims: names of its axes, "" where one has none.
      attrs: such as "units"; the conventions of NetCDF, "_FillValue", "scale_factor" and
        "add_offset", are applied when it is read.
    """

    where: str
    path: pathlib.Path
    shape: tuple[int, ...]
    stored: np.dtype
    dims: tuple[str, ...]
    _read: Callable[[tuple], np.ndarray]
    attrs: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self):
        if self.stored.kind not in "fiub":
            raise InputError(f"{self.where} must hold real numbers, not {self.stored}")

    @property
    def dtype(self) -> np.dtype:
        """Of what is read: float64 where whole numbers are scaled or have holes."""
        if self._scaled and self.stored.kind != "f":
            return np.dtype(np.float64)
        return self.stored

    @property
    def _scaled(self) -> bool:
        return any(name in self.attrs for name in ("_FillValue", "scale_factor", "add_offset"))

    def __getitem__(self, index: tuple) -> np.ndarray:
        """Values at whole numbers and slices; holes ("_FillValue") are NaN."""
        with reading(self.where, self.path):
            raw = np.asarray(self._read(index))
            if not self._scaled:
                return raw
            values = raw.astype(self.dtype)
            if "_FillValue" in self.attrs:
                hole = np.asarray(self.attrs["_FillValue"]).ravel()[0]
                values = np.where(raw == hole, np.asarray(np.nan, self.dtype), values)
            for name, apply in (("scale_factor", np.multiply), ("add_offset", np.add)):
                if name in self.attrs:
                    number = float(np.asarray(self.attrs[name]).ravel()[0])
                    values = apply(values, np.asarray(number, self.dtype))
            return values


class File:
    """The arrays of one file, by their path in it, such as "fields/u".

    Args:
      path: of a known format. where: field of the description, for messages.
    Raises:
      InputError: it is no file of its format, or a package is missing.
    """

    def __init__(self, path: pathlib.Path, where: str):
        self.path, self.where = path, where
        with reading(where, path):
            self._open()

    def names(self) -> list[str]:
        """Of all arrays."""
        raise NotImplementedError

    def attributes(self, name: str = "") -> Mapping[str, object]:
        """Of a group or an array."""
        return {}

    def array(self, name: str, where: str = "") -> Array:
        """One array. Raises: InputError: there is none, or its header cannot be true."""
        if name not in self.names():
            listed = ", ".join(self.names()[:20]) or "none: it holds no array"
            raise InputError(f"{where or self.where}: key={name!r} is not in the file; allowed: "
                             f"{listed}")  # fmt: skip
        with reading(where or self.where, self.path):
            return self._array(name, where or self.where)

    def _refuse_holes(self, where: str, there: int, needed: int) -> None:
        if there < needed:
            raise InputError(
                f"{where}: {self.path}: {needed - there} of {needed} chunks are missing, which "
                "would read as a constant: copy the file again, or save zeros too "
                "(write_empty_chunks)"
            )


class Npy(File):
    """One array, mapped into memory."""

    def _open(self):
        self._values = np.lib.format.open_memmap(self.path, mode="r")

    def names(self):
        return ["states"]

    def _array(self, name, where):
        values = self._values
        none = ("",) * values.ndim
        return Array(where, self.path, values.shape, values.dtype, none, values.__getitem__)


class Npz(File):
    """Arrays that are unpacked whole."""

    def _open(self):
        self._held: dict[str, np.ndarray] = {}
        with zipfile.ZipFile(self.path) as members:
            sizes = {m.filename: m.file_size for m in members.infolist()}
        self._sizes = {k.removesuffix(".npy"): n for k, n in sizes.items() if k.endswith(".npy")}

    def names(self):
        return list(self._sizes)

    def _array(self, name, where):
        if self._sizes[name] > machine.memory() / 2:
            raise InputError(
                f"{where}: {self.path} unpacks to {self._sizes[name] / 1e9:.1f} GB, more than half "
                "of the memory: save it as .npy, which is read in pieces"
            )
        with zipfile.ZipFile(self.path) as members, members.open(f"{name}.npy") as member:
            shape, dtype = _npy_header(member)
        if math.prod(shape) * dtype.itemsize > self._sizes[name]:
            raise ValueError(f"its header says {shape}, more than it holds")

        def read(index):
            if name not in self._held:
                with np.load(self.path, allow_pickle=False) as arrays:
                    self._held[name] = arrays[name]
            return self._held[name][index]

        return Array(where, self.path, shape, dtype, ("",) * len(shape), read)


def _npy_header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    of_version = {1: "read_array_header_1_0", 2: "read_array_header_2_0"}
    header = getattr(np.lib.format, of_version.get(version[0], "read_array_header_2_0"))
    shape, _, dtype = header(file)
    return shape, dtype


class Hdf5(File):
    """Datasets of all groups; links that leave the file are not followed."""

    def _open(self):
        import h5py  # only those who use it wait for it

        self._file = h5py.File(self.path, "r")
        self._names: list[str] = []

        def visit(name, found):
            if isinstance(found, h5py.Dataset):
                self._names.append(name)

        self._file.visititems(visit)

    def names(self):
        return self._names

    def attributes(self, name=""):
        with reading(self.where, self.path):
            found = self._file[name] if name else self._file
            return dict(found.attrs)

    def _array(self, name, where):
        data = self._file[name]
        if data.shape is None:
            raise ValueError(f"{name} is empty")
        if data.is_virtual or data.external:
            raise InputError(f"{where}: {name} lies in other files; copy it into one")
        if data.chunks and data.size:
            needed = math.prod(-(-n // c) for n, c in zip(data.shape, data.chunks, strict=True))
            self._refuse_holes(where, data.id.get_num_chunks(), needed)
        elif data.id.get_storage_size() < data.nbytes:
            raise ValueError(f"its header says {data.shape}, more than it holds")
        dims = tuple(self._dim(dim) for dim in data.dims)
        attrs = {k: data.attrs[k] for k in data.attrs if k in ATTRIBUTES}
        return Array(where, self.path, data.shape, data.dtype, dims, data.__getitem__, attrs)

    @staticmethod
    def _dim(dim) -> str:
        if dim.label or not len(dim):
            return dim.label
        return dim[0].name.rpartition("/")[2]  # its coordinate's, as in NetCDF


ATTRIBUTES = ("_FillValue", "scale_factor", "add_offset", "units")


class Zarr(File):
    """Arrays of all groups of a folder; a group is known by its files, none is opened."""

    def _open(self):
        try:
            import zarr
        except ImportError:
            raise InputError(
                f'{self.where}: {self.path.name} needs: pip install "tfunroll[zarr]"'
            ) from None
        self._zarr, self._nodes = zarr, {}
        for folder, inside, files in os.walk(self.path):
            settings = next((f for f in ("zarr.json", ".zarray") if f in files), None)
            if settings is None:
                continue
            described = _json(pathlib.Path(folder) / settings)
            if settings == ".zarray" or described.get("node_type") == "array":
                inside.clear()  # chunks
                self._nodes[os.path.relpath(folder, self.path)] = described

    def names(self):
        return [name if name != "." else "states" for name in self._nodes]

    def attributes(self, name=""):
        with reading(self.where, self.path):
            folder = self.path / name
            if (folder / "zarr.json").exists():
                return dict(_json(folder / "zarr.json").get("attributes", {}))
            return _json(folder / ".zattrs") if (folder / ".zattrs").exists() else {}

    def _array(self, name, where):
        node = "." if "." in self._nodes and name == "states" else name
        settings = self._nodes[node]
        for codec in _codecs(settings):
            if codec.removeprefix("numcodecs.") not in CODECS:
                raise InputError(f"{where}: {self.path}: codec {codec!r} is not allowed; allowed: "
                                 f"{', '.join(sorted(CODECS))}")  # fmt: skip
        array = self._zarr.open_array(store=str(self.path / node), mode="r")
        if array.size:
            self._refuse_holes(where, array.nchunks_initialized, array.nchunks)
        attrs = dict(array.attrs)
        dims = getattr(array.metadata, "dimension_names", None) or attrs.get("_ARRAY_DIMENSIONS")
        dims = tuple(str(d or "") for d in dims or ("",) * array.ndim)
        kept = {k: v for k, v in attrs.items() if k in ATTRIBUTES}
        return Array(where, self.path, array.shape, array.dtype, dims, array.__getitem__, kept)


def _json(path: pathlib.Path) -> dict:
    """A settings file of a Zarr store."""
    if path.stat().st_size > METADATA or not path.is_file():
        raise ValueError(f"{path.name} is no file of settings")
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds no object")
    return values


def _codecs(settings: object) -> Iterator[str]:
    """Names of all codecs in an array's settings, of version 2 and 3, nested ones too."""
    found = [settings.get("compressor"), *(settings.get("filters") or [])]
    found += settings.get("codecs") or []
    for codec in filter(None, found):
        yield str(codec.get("id") or codec.get("name"))
        inner = codec.get("configuration")
        if isinstance(inner, dict):
            yield from _codecs({"codecs": inner.get("codecs")})
            yield from _codecs({"codecs": inner.get("index_codecs")})


class NetCdf(File):
    """Variables of all groups, by xarray, which applies the conventions of NetCDF."""

    def _open(self):
        try:
            import xarray
        except ImportError:
            raise InputError(
                f'{self.where}: {self.path.name} needs: pip install "tfunroll[data]"'
            ) from None
        with self.path.open("rb") as file:
            classic = file.read(3) == b"CDF"
        options = {"decode_times": False, "cache": False}
        if classic:  # version 3: no groups, chunks or compression
            self._groups = {"": xarray.open_dataset(self.path, engine="scipy", **options)}
            self._stored = None
        else:
            groups = xarray.open_groups(self.path, engine="h5netcdf", **options)
            self._groups = {name.strip("/"): group for name, group in groups.items()}
            self._stored = Hdf5(self.path, self.where)

    def names(self):
        return [
            f"{group}/{name}".strip("/")
            for group, found in self._groups.items()
            for name in found.variables
        ]

    def attributes(self, name=""):
        if name in self._groups:
            return dict(self._groups[name].attrs)
        return dict(self._variable(name).attrs)

    def _variable(self, name):
        group, _, short = name.rpartition("/")
        return self._groups[group].variables[short]

    def _array(self, name, where):
        if self._stored is not None and name in self._stored.names():
            self._stored.array(name, where)  # its checks of size and chunks
        found = self._variable(name)
        dims = tuple(map(str, found.dims))
        attrs = {k: v for k, v in found.attrs.items() if k == "units"}
        return Array(
            where,
            self.path,
            found.shape,
            np.dtype(found.dtype),
            dims,
            lambda index: found[index].values,
            attrs,
        )


KINDS = {".npy": Npy, ".npz": Npz, ".zarr": Zarr}
KINDS |= dict.fromkeys(HDF5, Hdf5) | dict.fromkeys(NETCDF, NetCdf)


def open_file(path: pathlib.Path, where: str) -> File:
    """A file by its suffix, of FORMATS.

    Raises: InputError: no file of that name, a pipe or a device, or it cannot be read.
    """
    kind = KINDS[path.suffix.lower()]
    try:
        there, fits = path.exists(), path.is_dir() if kind is Zarr else path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"{where}: {why(error)}") from None
    if not there:
        raise InputError(f"{where} does not exist ({path})")
    if not fits:
        raise InputError(f"{where}: {path} is no {'folder' if kind is Zarr else 'plain file'}")
    return kind(path, where)
