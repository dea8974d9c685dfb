"""A System made of own data alone: what their description and their training split say."""

import functools
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfunroll import arrays
from tfunroll.arrays import States
from tfunroll.arrays.description import splits_of
from tfunroll.core import Domain, InputError
from tfunroll.systems.base import ParamRange, System

METRICS = ("relative_error", "mse", "nrmse", "correlation_time", "divergence_time")
HORIZON, LONG_HORIZON, STARTS = 12, 100, 2  # of evaluation, where the trajectories allow it


def of_file(path: str | pathlib.Path) -> System:
    """The System of a description's data; it is made anew where one of its files has changed.

    Networks see u as (u − mean) / std, channel by channel over the training split, and predict
    u + s · std · net, where s is the root mean square of the change per frame in units of std:
    then what comes out of a network is of order one, whatever the units of the data.

    Raises:
      InputError: as arrays.read, and where the boundary is not known.
    """
    path = pathlib.Path(path).expanduser().resolve()
    found = arrays.read(path)
    return _made(path, tuple(_stamp(file) for file in (path, *found.files)))


def _stamp(path: pathlib.Path) -> tuple[str, int, int]:
    state = path.stat()
    return str(path), state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=8)
def _made(path: pathlib.Path, stamps) -> System:
    """``stamps``: of the files, by which an older System is told from today's."""
    described = arrays.read(path)
    if described.boundary is None:
        axes = ", ".join(f'"{axis}": …' for axis in described.axes)
        raise InputError(
            f"{path}: boundary is missing, which networks need: {{{axes}}} with periodic, zero or "
            "replicate, or a pair of them for lower and upper side"
        )
    train = splits_of(described)["train"]
    return _system(
        re.sub(r"\W+", "_", path.stem) or "own",
        _Training(described.states, train),
        {name: values[train] for name, values in described.params.items()},
        described.boundary,
        described.channels,
        described.frame_time or 1.0,
        described.spacing,
        described.units,
        str(path),
    )


@dataclass(frozen=True)
class _Training:
    """The training trajectories of States, one at a time."""

    states: States
    numbers: Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.numbers), *self.states.shape[1:])

    def __iter__(self):
        return map(self.states.read, self.numbers)


def of_arrays(
    name: str,
    states: np.ndarray,
    params: Mapping[str, np.ndarray] | None = None,
    *,
    boundary: tuple[tuple[str, str], ...] | str,
    channels: tuple[str, ...] = (),
    frame_time: float = 1.0,
    spacing: tuple[float, ...] | None = None,
    units: Mapping[str, str] | None = None,
) -> System:
    """The System of training data in memory alone, as ``of_file`` makes it of files.

        system = tu.systems.described.of_arrays("mine", states, params, boundary="periodic")
        data = tu.data.of(system, {"train": (states, params), "validation": …})

    Args:
      states: of the training split, [trajectory, frame, *space, channel].
      params: by name, each [trajectory].
      boundary: of all sides, or per space axis of its lower and upper side, of core.BOUNDARIES.
      channels: names; c0, c1, … if empty.
      frame_time: time between frames. spacing: distance of points per space axis.
      units: as System.units.
    Raises:
      InputError: impossible shapes, boundaries or numbers.
    """
    if not name.isidentifier():
        raise InputError(f"name={name!r} must be one word of letters, digits and underscores")
    states = np.asarray(states)
    if states.ndim not in (4, 5) or states.shape[1] < 2 or not states.size:
        raise InputError(
            f"states has shape {states.shape}, expected [trajectory, frame, *space, channel] of at "
            "least two frames, in one or two dimensions"
        )
    sides = ((boundary, boundary),) * (states.ndim - 3) if isinstance(boundary, str) else boundary
    values = {key: np.asarray(value, np.float64) for key, value in (params or {}).items()}
    if channels and len(channels) != states.shape[-1]:
        raise InputError(f"channels={channels}, but states have {states.shape[-1]}")
    return _system(name, states, values, sides, channels, frame_time, spacing, units or {}, name)


def _system(name, states, params, boundary, channels, frame_time, spacing, units, where) -> System:
    """Args: states: training trajectories, by iteration, and their shape. params: theirs."""
    mean, std, change = _statistics(states, where)
    frames, count = states.shape[1], states.shape[-1]
    horizon = min(HORIZON, frames - 1)
    return System(
        name=name,
        title=name,
        dataset="",
        domain=Domain(states.shape[2:-1], boundary, spacing=spacing),
        channels=channels or tuple(f"c{i}" for i in range(count)),
        params={key: ParamRange(-np.inf, np.inf, _scale(value)) for key, value in params.items()},
        splits={},
        frame_time=frame_time,
        reference=None,
        coarse_kinds={},
        refined=None,
        initial_state=None,
        spin_up_frames=0,
        corrections={},
        correction_channels=count,
        prediction_channels=count,
        metrics=METRICS,
        horizon=horizon,
        long_horizon=max(horizon, min(LONG_HORIZON, frames - STARTS)),
        prediction_scale=change,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        units=units,
        time_unit=units.get("time", "time units"),
    )


def _scale(values: np.ndarray) -> float:
    """The factor that makes a parameter of order one."""
    largest = float(np.max(np.abs(values)))
    return 1 / largest if np.isfinite(largest) and largest > 0 else 1.0


def _statistics(states, where: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard deviation of each channel, and the change per frame in units of the latter.

    One trajectory at a time, in float64; sums are of what is left without a first guess of the
    mean, as those of squares of large numbers would lose their digits.
    """
    count, channels = 0, states.shape[-1]
    sums = squares = changes = np.zeros(channels)
    guess = None
    for i, trajectory in enumerate(states):
        u = trajectory.astype(np.float64)
        if not np.isfinite(u).all():
            number = states.numbers[i] if isinstance(states, _Training) else i
            raise InputError(f"{where}: states holds NaN or infinity in trajectory {number}")
        axes = tuple(range(u.ndim - 1))
        guess = u.mean(axes) if guess is None else guess
        u -= guess
        count += u[..., 0].size
        sums = sums + u.sum(axes)
        squares = squares + np.square(u).sum(axes)
        changes = changes + np.square(np.diff(u, axis=0)).sum(axes) * len(u) / (len(u) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        off = sums / count
        std = np.sqrt(np.maximum(squares / count - np.square(off), 0))
        if not np.isfinite(std).all():
            raise InputError(f"{where}: states are too large to be averaged")
        std = np.where(std > 0, std, 1.0)
        change = np.sqrt(np.mean(changes / count / np.square(std)))
    return guess + off, std, float(change) if change > 0 else 1.0
