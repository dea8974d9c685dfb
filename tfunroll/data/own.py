"""Own data: a small JSON or TOML file that says where the arrays are and what they mean.

    {"system": "ks",
     "states": "states.h5",                        .npy, .npz, .h5 or .zarr, beside this file
     "key": "u",                                   array in it, if it holds several
     "params": {"domain_size": [7.2, 8.0, 10.4]},  one number per trajectory, a file, or a key
     "frame_time": 1.0,                            optional; has to be the system's
     "splits": {"train": [0], "validation": [1], "test_extrapolation": [2]}}    optional

States are [trajectory, frame, *space, channel]. Without "splits" the first trajectories train and
others validate and test: see ``default_splits``.
"""

import json
import pathlib
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfunroll.core import InputError, check_choice
from tfunroll.systems import System
from tfunroll.systems.base import SPLITS

FIELDS = ("system", "states", "key", "params", "frame_time", "splits")
FORMATS = (".npy", ".npz", ".h5", ".hdf5", ".zarr")
_BROKEN = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Described:
    """What a description file describes.

    Attributes:
      states: [trajectory, frame, *space, channel] float32; not checked against the system.
      params: by name, each [trajectory] float32.
      splits: name -> indices of trajectories.
    """

    states: np.ndarray
    params: dict[str, np.ndarray]
    splits: dict[str, list[int]]


def read_description(path: pathlib.Path, system: System) -> Described:
    """Reads a description file and the arrays it names.

    Raises:
      InputError: naming the file and the field, and what is allowed.
    """
    fields = _read_fields(path)
    for name in fields:
        check_choice(f"{path}: field", name, FIELDS)
    for name in ("system", "states", "params"):
        if name not in fields:
            raise InputError(f"{path}: field {name!r} is missing; needed: system, states, params")
    if fields["system"] != system.name:
        raise InputError(f"{path}: system={fields['system']!r}, but the run is for {system.name!r}")
    frame_time = fields.get("frame_time", system.frame_time)
    if not (_is_number(frame_time) and np.isclose(frame_time, system.frame_time)):
        raise InputError(
            f"{path}: frame_time={frame_time!r}, but {system.name} steps {system.frame_time:g}: "
            "resample the trajectories"
        )
    source = _file(path, "states", fields["states"])
    states = _numeric(f"{path}: states", _read_array(source, fields.get("key"), f"{path}: states"))
    if states.ndim < 3:
        raise InputError(
            f"{path}: states has shape {states.shape}, expected "
            "[trajectory, frame, *space, channel]"
        )
    count = len(states)
    params = _read_params(path, source, fields["params"], count, system)
    if "splits" in fields:
        splits = _check_splits(path, fields["splits"], count)
    else:
        splits = default_splits(count, params, str(path))
    return Described(states, params, splits)


def default_splits(
    count: int, params: Mapping[str, np.ndarray], where: str = "own data"
) -> dict[str, list[int]]:
    """Splits of trajectories: a tenth is test_interpolation, a tenth validation, the rest trains.

    Those held out are the last ones with every parameter inside the training range: one that alone
    has the lowest or the highest value of a parameter trains. Extrapolation cannot be guessed: name
    its trajectories under "splits".

    Args: params: by name, each [trajectory].
    Raises: InputError: too few trajectories, or too few inside the range of the others.
    """
    if count < 3:
        raise InputError(f"{where}: states has {count} trajectories; splits need at least 3")
    held, train, out = max(1, count // 10), list(range(count)), []
    for i in reversed(range(count)):
        rest = [k for k in train if k != i]
        outside = (v[i] < v[rest].min() or v[i] > v[rest].max() for v in params.values())
        if not any(outside):
            train, out = rest, [i, *out]
        if len(out) == 2 * held:
            return {"train": train, "validation": out[:held], "test_interpolation": out[held:]}
    raise InputError(
        f"{where}: {2 * held} trajectories would validate and test, but only {len(out)} have "
        'parameters between those of others; name the trajectories under "splits"'
    )


def _read_fields(path: pathlib.Path) -> dict:
    try:
        text = path.read_text(encoding="utf-8")
        fields = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise InputError(f"data={str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:  # both decoders' errors, and bytes that are not text
        raise InputError(f"data={str(path)!r} is neither JSON nor .toml: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"data={str(path)!r} must hold an object with the fields {list(FIELDS)}")
    return fields


def _file(path: pathlib.Path, field: str, value) -> pathlib.Path:
    """The file a field names, relative to the description."""
    if not isinstance(value, str):
        raise InputError(f"{path}: {field}={value!r} must be a file name; allowed: {FORMATS}")
    source = path.parent / pathlib.Path(value).expanduser()
    if source.suffix not in FORMATS:
        raise InputError(f"{path}: {field}={value!r} is of no known kind; allowed: {FORMATS}")
    if not source.exists():
        raise InputError(f"{path}: {field}={value!r} does not exist ({source})")
    return source


def _read_array(source: pathlib.Path, key: str | None, field: str) -> np.ndarray:
    """The array ``key`` of a file, or its only one."""
    try:
        if source.suffix == ".npy":
            return np.load(source)
        if source.suffix == ".npz":
            with np.load(source) as arrays:
                return arrays[_key(key, arrays.files, field)]
        if source.suffix == ".zarr":
            group = _open_zarr(source, field)
            return np.asarray(group[_key(key, group.keys(), field)] if _is_group(group) else group)
        import h5py  # only those who use it wait for it

        with h5py.File(source, "r") as group:
            return group[_key(key, group.keys(), field)][()]
    except InputError:
        raise
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{field}: {source} cannot be read, is it truncated? ({reason})") from None


def _open_zarr(source: pathlib.Path, field: str):
    try:
        import zarr
    except ImportError:
        raise InputError(f'{field}: {source.name} needs: pip install "tfunroll[zarr]"') from None
    return zarr.open(source, mode="r")


def _is_group(opened) -> bool:
    return not hasattr(opened, "shape")


def _key(key: str | None, keys, field: str) -> str:
    keys = list(keys)
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        raise InputError(f"{field}: key={key!r} is not in the file; allowed: {', '.join(keys)}")
    return key


def _read_params(
    path: pathlib.Path, source: pathlib.Path, params, count: int, system: System
) -> dict[str, np.ndarray]:
    """Each parameter from a number, a list, another file, or a key of the states' file."""
    if not isinstance(params, dict):
        raise InputError(f"{path}: params must be an object with {list(system.params)}")
    read = {}
    for name, value in params.items():
        field = f"{path}: params.{name}"
        check_choice(f"{path}: params", name, system.params)
        if isinstance(value, str) and pathlib.Path(value).suffix in FORMATS:
            value = _read_array(_file(path, f"params.{name}", value), None, field)
        elif isinstance(value, str):
            if source.suffix == ".npy":
                raise InputError(f"{field}={value!r} must be a list of numbers or a file")
            value = _read_array(source, value, field)
        values = _numeric(field, value)
        if values.shape != (count,):
            raise InputError(
                f"{field} has shape {values.shape}, expected {count}: one a trajectory"
            )
        read[name] = values
    for name in system.params:
        if name not in read:
            raise InputError(f"{path}: params.{name} is missing; one number per trajectory")
    return read


def _numeric(field: str, values) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ValueError
        return array.astype(np.float32)
    except ValueError:  # lists of lists of different lengths, text, complex numbers
        raise InputError(f"{field} must hold real numbers") from None


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_splits(path: pathlib.Path, splits, count: int) -> dict[str, list[int]]:
    if not isinstance(splits, dict) or not {"train", "validation"} <= set(splits):
        raise InputError(f"{path}: splits must name train and validation; allowed: {SPLITS}")
    owner = {}
    for split, chosen in splits.items():
        check_choice(f"{path}: splits", split, SPLITS)
        field = f"{path}: splits.{split}"
        if not isinstance(chosen, list) or not chosen:
            raise InputError(f"{field} must be a list of trajectory numbers, not empty")
        for i in chosen:
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < count:
                raise InputError(f"{field} holds {i!r}; allowed: 0 to {count - 1}")
            if i in owner:
                raise InputError(f"{field} holds trajectory {i}, which {owner[i]} holds already")
            owner[i] = split
    return {split: list(chosen) for split, chosen in splits.items()}
