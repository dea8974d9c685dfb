"""Where states, coordinates and parameters stand in a file: as described, or in a known layout.

The layouts are those of PDEBench (Takamoto et al. 2022), The Well (Ohana et al. 2024) and PDEArena
(Gupta & Brandstetter 2022), in one and two dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfunroll.arrays.formats import Array, File
from tfunroll.arrays.states import ORDER, Field
from tfunroll.core import InputError

AXES = {  # names of axes in files -> ours
    **dict.fromkeys(
        (
            "trajectory",
            "trajectories",
            "sample",
            "batch",
            "simulation",
            "run",
            "member",
            "ensemble",
        ),
        "trajectory",
    ),
    **dict.fromkeys(("frame", "frames", "time", "t", "step", "snapshot"), "frame"),
    **dict.fromkeys(("x", "lon", "longitude"), "x"),
    **dict.fromkeys(("y", "lat", "latitude"), "y"),
    **dict.fromkeys(("channel", "channels", "variable", "component", "field", "c"), "channel"),
}
UNEVEN = 1e-3  # of the spacing: beyond it coordinates are not uniform (float32's are, to 1e-5)


@dataclass
class Contents:
    """What a file holds.

    Attributes:
      parts: fields which are the state, in the order of the channels; several such lists where
        trajectories are arrays of their own.
      channels: their names; empty where the file does not say.
      coordinates: of "frame", "x" and "y", each [points].
      boundary: axis -> kinds at its lower and upper side.
      params: name -> one number, or one a trajectory.
      units: of channels and coordinates.
    """

    parts: list[list[Field]]
    channels: tuple[str, ...] = ()
    coordinates: dict[str, np.ndarray] = field(default_factory=dict)
    boundary: dict[str, tuple[str, str]] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a description says of its files.

    Attributes:
      key: array, or group, in them; empty if it does not say.
      keys: channel -> array, where channels are arrays of their own.
      axes: of the arrays, as they stand there; empty if it does not say.
    """

    key: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    axes: tuple[str, ...] = ()


def as_described(file: File, wanted: Wanted) -> Contents:
    """One array, or one a channel, whose axes the description names, or the file, or neither.

    Without names they are [trajectory, frame, *space, channel].
    """
    where = file.where
    names = list(wanted.keys.values()) or [wanted.key or _only(file, where)]
    fields = [_field(file.array(name, where), wanted.axes, bool(wanted.keys)) for name in names]
    contents = Contents([fields], tuple(wanted.keys))
    labels = list(wanted.keys) or [""]
    for label, found in zip(labels, fields, strict=True):
        if label and "units" in found.array.attrs:
            contents.units[label] = str(found.array.attrs["units"])
    group = names[0].rpartition("/")[0]
    for name in dict.fromkeys(filter(None, fields[0].array.dims)):
        axis = AXES.get(name.lower())
        for place in (f"{group}/{name}".strip("/"), name):  # beside the array, or at the top
            if axis in ("frame", "x", "y") and place in file.names():
                found = file.array(place, where)
                if len(found.shape) == 1:
                    contents.coordinates[axis] = _values(found)
                    if "units" in found.attrs:
                        contents.units[axis] = str(found.attrs["units"])
                    break
    return contents


def _only(file: File, where: str) -> str:
    """The lone array of a file; coordinates, which are named like their only axis, aside."""
    names = file.names()
    if len(names) > 1:
        names = [name for name in names if not _is_coordinate(file, name)]
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"{where}: key=None is not in the file; allowed: {', '.join(file.names()[:20]) or 'none'}"
    )


def _is_coordinate(file: File, name: str) -> bool:
    try:
        found = file.array(name)
    except InputError:  # text, for example
        return False
    return len(found.shape) <= 1 and name.rpartition("/")[2] in (*found.dims, *AXES)


def _field(array: Array, axes: Sequence[str], alone: bool = False) -> Field:
    """An array with the meaning of its axes.

    Args: axes: that the description names. alone: whether it is one channel of several.
    """
    where, shape = array.where, array.shape
    if axes:
        if len(axes) != len(shape):
            raise InputError(
                f"{where} has shape {shape}, but axes names {len(axes)}: {', '.join(axes)}"
            )
        meant = axes
    elif any(array.dims):
        meant = array.dims
    else:
        meant = {4: (*ORDER[:2], "x", "channel"), 5: ORDER}.get(len(shape))
        if alone:
            meant = {3: (*ORDER[:2], "x"), 4: ORDER[:4]}.get(len(shape))
        elif len(shape) == 3:
            raise InputError(
                f"{where} has shape {shape} without the channel axis; expected [trajectory, frame, "
                '*space, channel]: add [..., None], or "axes": ["trajectory", "frame", "x"]'
            )
        if meant is None:
            raise InputError(
                f"{where} has shape {shape}, expected [trajectory, frame, *space, channel] in one "
                "or two dimensions"
            )
    known = tuple(AXES.get(str(name).lower(), "") for name in meant)
    if "" in known:
        raise InputError(
            f"{where}: axis {meant[known.index('')]!r} of {', '.join(map(repr, meant))} is "
            f'unknown; name them by "axes", of {", ".join(ORDER)}'
        )
    if len(set(known)) < len(known):
        raise InputError(f"{where}: axes {', '.join(map(repr, meant))} name one twice")
    for axis in ("frame", "x"):
        if axis not in known:
            raise InputError(f"{where}: axes {', '.join(map(repr, meant))} lack {axis!r}")
    return Field(array, known)


def _values(array: Array) -> np.ndarray:
    return np.asarray(array[(slice(None),) * len(array.shape)], np.float64)


def spacing(coordinates: np.ndarray, points: int) -> float | None:
    """Distance of neighbouring coordinates; None where it varies.

    PDEBench's have one more at the end than there are frames, which does not matter.
    """
    if coordinates.ndim != 1 or len(coordinates) < points or points < 2:
        return None
    steps = np.diff(coordinates[:points])
    step = steps.mean()
    if not np.isfinite(step) or step <= 0 or np.abs(steps - step).max() > UNEVEN * step:
        return None
    return float(step)


def pdebench(file: File, wanted: Wanted) -> Contents:
    """`tensor` [n, t, x] or [n, t, x, y]; or a field an array, `Vx`, `density`, …; or `0000/data`.

    Coordinates are `x-coordinate`, `y-coordinate` and `t-coordinate`; groups of one trajectory
    each, [t, x, y, channel], have them in `0000/grid/x` and so on.
    """
    names = set(file.names())
    groups = sorted(n.rpartition("/")[0] for n in names if n.endswith("/data"))
    if groups and not wanted.key:
        return _pdebench_groups(file, groups)
    coordinates = {axis: f"{letter}-coordinate" for axis, letter in _LETTERS.items()}
    taken = {axis: _values(file.array(n)) for axis, n in coordinates.items() if n in names}
    keys = [wanted.key] if wanted.key else ["tensor"] if "tensor" in names else []
    keys = keys or list(wanted.keys.values())
    keys = keys or [n for n in _PDEBENCH_FIELDS if n in names]
    if not keys:
        raise InputError(
            f"{file.where}: layout 'pdebench' needs tensor, {', '.join(_PDEBENCH_FIELDS)} or "
            f"groups such as 0000/data; the file holds {_listed(file)}"
        )
    orders = {3: ("trajectory", "frame", "x"), 4: ("trajectory", "frame", "x", "y")}
    fields = [_field(_of_rank(file, key, orders), orders[_rank(file, key)]) for key in keys]
    named = tuple(wanted.keys) or (tuple(keys) if keys != ["tensor"] else ())
    return Contents([fields], named, taken)


_LETTERS = {"frame": "t", "x": "x", "y": "y"}
_PDEBENCH_FIELDS = ("density", "Vx", "Vy", "pressure")


def _pdebench_groups(file: File, groups: list[str]) -> Contents:
    orders = {3: ("frame", "x", "channel"), 4: ("frame", "x", "y", "channel")}
    fields = [
        _field(_of_rank(file, f"{g}/data", orders), orders[_rank(file, f"{g}/data")])
        for g in groups
    ]
    names, first = file.names(), groups[0]
    places = {axis: f"{first}/grid/{letter}" for axis, letter in _LETTERS.items()}
    taken = {axis: _values(file.array(p)) for axis, p in places.items() if p in names}
    return Contents([[field] for field in fields], (), taken)


def _rank(file: File, key: str) -> int:
    return len(file.array(key).shape)


def _of_rank(file: File, key: str, orders: Mapping[int, object]) -> Array:
    array = file.array(key)
    if len(array.shape) not in orders:
        raise InputError(
            f"{file.where}: {key} has shape {array.shape}, expected "
            f"{' or '.join(str(list(order)) for order in orders.values())}"
        )
    return array


def _listed(file: File) -> str:
    return ", ".join(file.names()[:20]) or "no array"


def the_well(file: File, wanted: Wanted) -> Contents:
    """`t0_fields` [n, t, x(, y)] are scalars, `t1_fields` [n, t, x(, y), d] vectors; what varies.

    Coordinates are in `dimensions`, sides in `boundary_conditions`, parameters in `scalars`. Of a
    vector u the channels are u_x and u_y. Fields that do not vary in time are left out.
    """
    names = file.names()
    found = [n for n in names if n.startswith(("t0_fields/", "t1_fields/"))]
    chosen = list(wanted.keys.values()) or ([wanted.key] if wanted.key else found)
    space = ()
    if _has(names, "dimensions"):
        space = _words(file.attributes("dimensions").get("spatial_dims"))
    space = space or tuple(a for a in ("x", "y") if f"dimensions/{a}" in names)
    if not space or not set(space) <= {"x", "y"}:
        raise InputError(
            f"{file.where}: layout 'the_well' needs dimensions/x, and dimensions/y in two "
            f"dimensions; the file has {', '.join(space) or 'none'}"
        )
    fields, channels = [], []
    for name in chosen:
        array, order = file.array(name), ("trajectory", "frame", *space)
        short = name.rpartition("/")[2]
        if name.startswith("t1_fields/"):
            order = (*order, "channel")
        if len(array.shape) != len(order):
            if chosen is found:
                continue  # constant in time or along an axis
            raise InputError(
                f"{file.where}: {name} has shape {array.shape}, expected {list(order)}"
            )
        fields.append(_field(array, order))
        vector = order[-1] == "channel"
        parts = [f"{short}_{a}" for a in (*space, "z")[: array.shape[-1]]] if vector else [short]
        channels += parts
    if not fields:
        raise InputError(
            f"{file.where}: layout 'the_well' needs arrays in t0_fields or t1_fields; the file "
            f"holds {_listed(file)}"
        )
    places = {"frame": "dimensions/time", **{a: f"dimensions/{a}" for a in space}}
    coordinates = {axis: _values(file.array(p)) for axis, p in places.items() if p in names}
    coordinates = {axis: v.reshape(-1, v.shape[-1])[0] for axis, v in coordinates.items() if v.ndim}
    count = fields[0].size("trajectory")
    params = {}
    for name in names:
        if name.startswith("scalars/"):
            array = file.array(name)
            if array.shape in ((), (1,), (count,)):  # others vary in time
                params[name.rpartition("/")[2]] = _values(array).ravel()
    return Contents(
        [fields], tuple(channels), coordinates, _well_boundary(file, names, space), params
    )


_WELL_SIDES = {"periodic": "periodic", "wall": "zero", "open": "replicate"}


def _well_boundary(file, names, space) -> dict[str, tuple[str, str]]:
    """Kinds of both sides by axis: of a condition whose mask is True at one end, that side's."""
    sides: dict[str, list[str | None]] = {axis: [None, None] for axis in space}
    groups = {n.split("/")[1] for n in names if n.startswith("boundary_conditions/")}
    for group in sorted(groups):
        attributes = file.attributes(f"boundary_conditions/{group}")
        (kind,) = _words(attributes.get("bc_type")) or ("",)
        if kind.lower() not in _WELL_SIDES:
            continue  # such as a body inside
        mask = f"boundary_conditions/{group}/mask"
        for axis in _words(attributes.get("associated_dims")):
            if axis not in sides:
                continue
            ends = [True, True]
            if mask in names and len(file.array(mask).shape) == 1:
                at = _values(file.array(mask))
                ends = [bool(at[:1].any()), bool(at[-1:].any())]
            for side in (0, 1):
                if ends[side]:
                    sides[axis][side] = _WELL_SIDES[kind.lower()]
    return {axis: tuple(found) for axis, found in sides.items() if None not in found}


def _has(names, group: str) -> bool:
    return any(n.startswith(f"{group}/") for n in names)


def _words(value) -> tuple[str, ...]:
    """Texts of an attribute: one, a list of them, or bytes."""
    if value is None:
        return ()
    values = np.asarray(value).ravel().tolist()
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values)


def pdearena(file: File, wanted: Wanted) -> Contents:
    """`train/u` [n, t, x], or `u`, `vx` and `vy` [n, t, x, y], in a group train, valid or test.

    `dt`, `dx` and `dy` are numbers or one a trajectory; `t`, `x` and `y` coordinates.
    """
    names = file.names()
    groups = [g for g in ("train", "valid", "test") if _has(names, g)] or [""]
    group = wanted.key.strip("/") if wanted.key else groups[0]
    if len(groups) > 1 and not wanted.key:
        raise InputError(f"{file.where}: key=None is not in the file; allowed: {', '.join(groups)}")

    def place(name):
        return f"{group}/{name}".strip("/")

    keys = list(wanted.keys.values()) or [place(n) for n in ("u", "vx", "vy") if place(n) in names]
    if not keys and group:  # of the one-dimensional sets, named after their resolution
        keys = [n for n in names if n.startswith(f"{group}/pde_")]
    if not keys:
        raise InputError(
            f"{file.where}: layout 'pdearena' needs u, or u, vx and vy, in {group or 'the file'}; "
            f"it holds {_listed(file)}"
        )
    orders = {3: ("trajectory", "frame", "x"), 4: ("trajectory", "frame", "x", "y")}
    fields = [_field(_of_rank(file, key, orders), orders[_rank(file, key)]) for key in keys]
    coordinates = {}
    for axis, letter in _LETTERS.items():
        points = fields[0].size(axis)
        if place(letter) in names:
            values = _values(file.array(place(letter)))
            coordinates[axis] = values.reshape(-1, values.shape[-1])[0] if values.ndim else values
        elif place(f"d{letter}") in names and (axis in fields[0].axes):
            steps = _values(file.array(place(f"d{letter}"))).ravel()
            if steps.size and np.ptp(steps) <= UNEVEN * np.abs(steps).max():
                coordinates[axis] = steps[0] * np.arange(points)
    params, count = {}, fields[0].size("trajectory")
    for name in ("buo_y",):
        if place(name) in names and file.array(place(name)).shape in ((), (1,), (count,)):
            params[name] = _values(file.array(place(name))).ravel()
    named = tuple(wanted.keys) or tuple(key.rpartition("/")[2] for key in keys)
    return Contents([fields], named if len(named) > 1 else ("u",), coordinates, params=params)


LAYOUTS: dict[str, Callable[[File, Wanted], Contents]] = {
    "pdebench": pdebench,
    "the_well": the_well,
    "pdearena": pdearena,
}
