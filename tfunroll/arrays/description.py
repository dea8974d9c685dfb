"""The description of own data: a small JSON or TOML file, read field by field.

    {"states": "states.h5",                        or a list of files: their trajectories in turn
     "key": "fields/u",                            array in it, if it holds several
     "layout": "pdebench",                         or the_well, pdearena, in place of key and axes
     "axes": ["frame", "trajectory", "x"],         as they stand there, if the file does not say
     "channels": ["u"],                            names; {"u": "flow/u", …} where each is an array
     "grid": {"x": 64}, "domain": {"x": 22.0},     points, which are checked, and lengths
     "frame_time": 0.1,
     "boundary": {"x": "periodic"},                or ["zero", "replicate"]: lower, upper side
     "units": {"u": "m/s", "x": "m"},
     "params": {"viscosity": [0.1, 0.2, 0.3]},     one for all, one a trajectory, a file, or a key
     "splits": {"train": [0], "validation": [1], "test_extrapolation": [2]},
     "system": "ks"}                               whose data they are, if they are

Only "states" is needed. What a file or layout says itself need not be said; what is said counts.
"""

import json
import math
import pathlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tfunroll.arrays.formats import FORMATS, METADATA, File, open_file
from tfunroll.arrays.layouts import AXES, LAYOUTS, Contents, Wanted, as_described, spacing
from tfunroll.arrays.states import ORDER, States
from tfunroll.core import BOUNDARIES, SPLITS, InputError, check_choice
from tfunroll.files import short, why

FIELDS = (
    *("system", "states", "key", "layout", "axes", "channels", "grid", "domain", "frame_time"),
    *("boundary", "units", "params", "splits"),
)
SUFFIXES = (".json", ".toml")


@dataclass(frozen=True)
class Description:
    """Own data and what is known of them; states are in their files.

    Attributes:
      path: of the description.
      system: the name in it; empty if there is none.
      states: [trajectory, frame, *space, channel].
      channels: names; empty if nobody says.
      frame_time: None if nobody says.
      boundary: per space axis its lower and upper side; None if nobody says.
      spacing: distance of neighbouring points per space axis; None if nobody says, or it varies.
      params: by name, each [trajectory] float64.
      splits: name -> numbers of trajectories; empty if not given.
      units: name of a channel, parameter or axis -> unit.
      files: that hold the states.
    """

    path: pathlib.Path
    system: str
    states: States
    channels: tuple[str, ...]
    frame_time: float | None
    boundary: tuple[tuple[str, str], ...] | None
    spacing: tuple[float, ...] | None
    params: dict[str, np.ndarray]
    splits: dict[str, list[int]]
    units: dict[str, str] = field(default_factory=dict)
    files: tuple[pathlib.Path, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """Of space: ("x",) or ("y", "x")."""
        return ("y", "x")[-(len(self.states.shape) - 3) :]


def is_description(name: str) -> bool:
    """Whether a name is that of a description file."""
    return pathlib.Path(name).suffix.lower() in SUFFIXES


def named_system(path: str | pathlib.Path) -> str:
    """The system that a description names; empty if it names none."""
    path = pathlib.Path(path).expanduser()
    return _text(path, _fields(path), "system")


def splits_of(description: Description) -> dict[str, list[int]]:
    """The splits that it gives, or ``default_splits``."""
    if description.splits:
        return description.splits
    count, where = len(description.states), str(description.path)
    return default_splits(count, description.params, where)


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


def read(path: str | pathlib.Path) -> Description:
    """Reads a description and the headers of the files it names.

    Raises:
      InputError: naming the file and the field, and what is allowed.
    """
    path = pathlib.Path(path).expanduser()
    fields = _fields(path)
    for name in fields:
        check_choice(f"{path}: field", name, FIELDS)
    if "states" not in fields:
        raise InputError(f"{path}: field 'states' is missing; needed: states")
    system, wanted = _text(path, fields, "system"), _wanted(path, fields)
    layout = _text(path, fields, "layout")
    if layout:
        check_choice(f"{path}: layout", layout, LAYOUTS)
        if wanted.axes:
            raise InputError(f"{path}: axes are those of layout={layout!r}; leave them out")
    files = _files(path, fields["states"])
    found = [LAYOUTS.get(layout, as_described)(file, wanted) for file in files]
    states = _joined(path, found)
    axes = ("y", "x")[-(len(states.shape) - 3) :]
    count = len(states)
    contents = found[0]
    channels = _channels(path, fields.get("channels"), contents.channels, states.shape[-1])
    _check_grid(path, fields.get("grid"), axes, states.shape[2:-1])
    step = _frame_time(path, fields, contents, states.shape[1])
    params = _params(path, fields.get("params"), files, found, count)
    boundary = _boundary(path, fields.get("boundary"), axes, contents.boundary)
    splits = _splits(path, fields["splits"], count) if "splits" in fields else {}
    return Description(
        path=path,
        system=system,
        states=states,
        channels=channels,
        frame_time=step,
        boundary=boundary,
        spacing=_spacing(path, fields.get("domain"), axes, states.shape[2:-1], contents),
        params=params,
        splits=splits,
        units=contents.units | _units(path, fields.get("units", {}), (*channels, *params)),
        files=tuple(file.path for file in files),
    )


def _fields(path: pathlib.Path) -> dict:
    where = f"data={str(path)!r}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{where} is no plain file")
        size = path.stat().st_size
        content = path.read_bytes() if size <= METADATA else b""
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"{where} cannot be read: {why(error)}") from None
    if size > METADATA:
        raise InputError(f"{where} is larger than {METADATA >> 20} MiB: put numbers into a file")
    try:
        text = content.decode("utf-8")
        fields = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:  # of both decoders, and bytes that are not text
        raise InputError(f"{where} is neither JSON nor .toml: {why(error)[:200]}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{where} must hold an object with the fields {list(FIELDS)}")
    return fields


def _text(path, fields, name) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise InputError(f"{path}: {name}={short(value)} must be a text")
    return value


def _wanted(path, fields) -> Wanted:
    key, axes, channels = _text(path, fields, "key"), fields.get("axes", []), fields.get("channels")
    if not isinstance(axes, list) or not all(isinstance(axis, str) for axis in axes):
        raise InputError(f"{path}: axes={short(axes)} must be a list of {', '.join(ORDER)}")
    for axis in axes:
        check_choice(f"{path}: axes", axis, tuple(dict.fromkeys((*ORDER, *AXES))))
    keys = {}
    if isinstance(channels, dict):
        keys = channels
        if key:
            raise InputError(f"{path}: key={key!r} and keys of channels: give one of the two")
        if not keys or not all(isinstance(k, str) and k for k in keys.values()):
            raise InputError(f"{path}: channels must name an array in the file for each channel")
    return Wanted(key, keys, tuple(axes))


def _files(path, states) -> list[File]:
    names = states if isinstance(states, list) else [states]
    if not names:
        raise InputError(f"{path}: states is empty; name a file")
    return [_file(path, "states", name) for name in names]


def _file(path: pathlib.Path, name: str, value) -> File:
    """The file a field names, relative to the description."""
    if not isinstance(value, str):
        raise InputError(f"{path}: {name}={short(value)} must be a file name; allowed: {FORMATS}")
    try:
        source = path.parent / pathlib.Path(value).expanduser()
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{path}: {name}={short(value)}: {why(error)}") from None
    if source.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: {name}={short(value)} is of no known kind; allowed: {FORMATS}")
    try:
        there = source.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {name}={short(value)}: {why(error)}") from None
    if not there:
        raise InputError(f"{path}: {name}={short(value)} does not exist ({source})")
    return open_file(source, f"{path}: {name}")


def _joined(path, found: list[Contents]) -> States:
    """The trajectories of all files, which have to be of one grid and the same channels."""
    parts = [part for contents in found for part in contents.parts]
    first = parts[0][0]
    for part in parts:
        if len(part) != len(parts[0]):
            raise InputError(f"{path}: states: files have {len(parts[0])} and {len(part)} channels")
        for one in part:
            for axis in ("frame", "y", "x"):
                if one.size(axis) != first.size(axis) or (axis in one.axes) != (axis in first.axes):
                    raise InputError(
                        f"{path}: states: {one.array.path.name} has {one.size(axis)} along {axis}, "
                        f"{first.array.path.name} {first.size(axis)}"
                    )
            if one.size("trajectory") != part[0].size("trajectory"):
                raise InputError(f"{path}: states: channels have different numbers of trajectories")
            if one.size("channel") != parts[0][part.index(one)].size("channel"):
                raise InputError(f"{path}: states: files have different numbers of channels")
    states = States(parts)
    if 0 in states.shape or states.shape[1] < 2:
        raise InputError(
            f"{path}: states needs a trajectory of at least two frames: {states.shape}"
        )
    return states


def _channels(path, given, found: tuple[str, ...], count: int) -> tuple[str, ...]:
    if given is None:
        return found if len(found) == count else ()
    names = list(given) if isinstance(given, list | dict) else None
    if names is None or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{path}: channels={short(given)} must be a list of names")
    if len(names) != count or len(set(names)) < len(names):
        raise InputError(f"{path}: channels={short(names)}: states have {count}, each one name")
    return tuple(names)


def _by_axis(path, name: str, given, axes, kind: str) -> dict[str, object]:
    """A field that is one value for all axes, or an object by axis."""
    if not isinstance(given, dict):
        return dict.fromkeys(axes, given)
    for axis in given:
        check_choice(f"{path}: {name}", axis, axes)
    missing = [axis for axis in axes if axis not in given]
    if missing:
        raise InputError(f"{path}: {name}.{missing[0]} is missing; needed: {kind} for each axis")
    return given


def _check_grid(path, given, axes, shape) -> None:
    if given is None:
        return
    for axis, points in _by_axis(path, "grid", given, axes, "a whole number").items():
        there = shape[axes.index(axis)]
        if points != there or isinstance(points, bool):
            raise InputError(f"{path}: grid.{axis}={short(points)}, but states have {there} points")


def _positive(path, name, value) -> float:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        fine = fine and 0 < float(value) < math.inf
    except OverflowError:
        fine = False
    if not fine:
        raise InputError(f"{path}: {name}={short(value)} must be a positive number")
    return float(value)


def _frame_time(path, fields, contents: Contents, frames: int) -> float | None:
    if "frame_time" in fields:
        return _positive(path, "frame_time", fields["frame_time"])
    if "frame" not in contents.coordinates:
        return None
    step = spacing(contents.coordinates["frame"], frames)
    if step is None:
        raise InputError(
            f"{path}: the times in the file are not evenly spaced, or not {frames}: resample the "
            "frames, or give frame_time"
        )
    return step


def _spacing(path, domain, axes, shape, contents: Contents) -> tuple[float, ...] | None:
    if domain is not None:
        lengths = _by_axis(path, "domain", domain, axes, "a length")
        each = (_positive(path, f"domain.{axis}", lengths[axis]) for axis in axes)
        return tuple(length / points for length, points in zip(each, shape, strict=True))
    found = [
        spacing(contents.coordinates[axis], points) if axis in contents.coordinates else None
        for axis, points in zip(axes, shape, strict=True)
    ]
    return None if None in found else tuple(found)


def _boundary(path, given, axes, found) -> tuple[tuple[str, str], ...] | None:
    if given is None:
        return tuple(found[axis] for axis in axes) if set(axes) <= set(found) else None
    sides = []
    kinds = _by_axis(path, "boundary", given, axes, "a kind, or one a side,")
    for axis in axes:
        pair = kinds[axis] if isinstance(kinds[axis], list) else [kinds[axis]] * 2
        if len(pair) != 2:
            raise InputError(f"{path}: boundary.{axis} must be one kind, or two: lower and upper")
        for kind in pair:
            if not isinstance(kind, str):
                raise InputError(
                    f"{path}: boundary.{axis}={short(kind)} is unknown; allowed: "
                    f"{', '.join(BOUNDARIES)}"
                )
            check_choice(f"{path}: boundary.{axis}", kind, BOUNDARIES)
        if ("periodic" in pair) and pair[0] != pair[1]:
            raise InputError(f"{path}: boundary.{axis}={pair}: one side alone cannot be periodic")
        sides.append(tuple(pair))
    return tuple(sides)


def _units(path, given, names) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(unit, str) for unit in given.values()):
        raise InputError(f"{path}: units={short(given)} must be an object of texts")
    for name in given:
        check_choice(f"{path}: units", name, (*names, "x", "y", "time"))
    return dict(given)


def _params(path, given, files, found: list[Contents], count) -> dict[str, np.ndarray]:
    """Each parameter from a number, a list, another file, or a key of the states' file."""
    if given is None:
        return _params_of_files(path, found, count)
    if not isinstance(given, dict):
        raise InputError(f"{path}: params must be an object of names, not {short(given)}")
    read = {}
    for name, value in given.items():
        where = f"{path}: params.{name}"
        if not re.fullmatch(r"\w{1,60}", name):
            raise InputError(f"{path}: params: {short(name)} must be one word")
        if isinstance(value, str) and pathlib.Path(value).suffix.lower() in FORMATS:
            file = _file(path, f"params.{name}", value)
            names = file.names()
            if len(names) != 1:
                raise InputError(f"{where}: {value} must hold one array, not {len(names)}")
            value = _whole(file.array(names[0], where), count)
        elif isinstance(value, str):
            if files[0].path.suffix == ".npy":
                raise InputError(f"{where}={short(value)} must be a list of numbers or a file")
            arrays = [_whole(file.array(value, where), count) for file in files]
            value = arrays[0] if len(arrays) == 1 else np.concatenate([a.ravel() for a in arrays])
        values = _numeric(where, value)
        if values.ndim == 0:
            values = np.full(count, values)
        if values.shape != (count,):
            raise InputError(
                f"{where} has shape {values.shape}, expected {count}: one a trajectory"
            )
        read[name] = values
    return read


def _whole(array, count: int) -> np.ndarray:
    if array.shape not in ((), (1,), (count,)) and math.prod(array.shape) > count:
        raise InputError(
            f"{array.where} has shape {array.shape}, expected {count}: one a trajectory"
        )
    return array[(slice(None),) * len(array.shape)]


def _params_of_files(path, found, count) -> dict[str, np.ndarray]:
    """Those that a layout finds in every file: one number a file, or one a trajectory."""
    names = [name for name in found[0].params if all(name in c.params for c in found)]
    read = {}
    for name in names:
        each = []
        for contents in found:
            trajectories = sum(part[0].size("trajectory") for part in contents.parts)
            if contents.params[name].size not in (1, trajectories):
                raise InputError(
                    f"{path}: params.{name} has {contents.params[name].size} values in the file, "
                    f"expected {trajectories}: one a trajectory"
                )
            each.append(np.broadcast_to(contents.params[name], trajectories))
        read[name] = np.concatenate(each)
        if not np.isfinite(read[name]).all():
            raise InputError(f"{path}: params.{name} holds NaN or infinity")
    return read


def _numeric(where: str, values) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ValueError
        return array.astype(np.float64)
    except (ValueError, OverflowError):  # lists of different lengths, text, complex numbers
        raise InputError(f"{where} must hold real numbers") from None


def _splits(path: pathlib.Path, splits, count: int) -> dict[str, list[int]]:
    if not isinstance(splits, dict) or not {"train", "validation"} <= set(splits):
        raise InputError(f"{path}: splits must name train and validation; allowed: {SPLITS}")
    owner = {}
    for split, chosen in splits.items():
        check_choice(f"{path}: splits", split, SPLITS)
        where = f"{path}: splits.{split}"
        if not isinstance(chosen, list) or not chosen:
            raise InputError(f"{where} must be a list of trajectory numbers, not empty")
        for i in chosen:
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < count:
                raise InputError(f"{where} holds {short(i)}; allowed: 0 to {count - 1}")
            if i in owner:
                raise InputError(f"{where} holds trajectory {i}, which {owner[i]} holds already")
            owner[i] = split
    return {split: list(chosen) for split, chosen in splits.items()}
