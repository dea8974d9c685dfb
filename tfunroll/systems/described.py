"""A System made of own data alone: what their description and their training split say."""

import functools
import pathlib
import re

import numpy as np

from tfunroll import arrays
from tfunroll.arrays import Description
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
    mean, std, change = _statistics(described, train)
    frames, count = described.states.shape[1], described.states.shape[-1]
    horizon = min(HORIZON, frames - 1)
    return System(
        name=re.sub(r"\W+", "_", path.stem) or "own",
        title=path.stem,
        dataset="",
        domain=Domain(described.states.shape[2:-1], described.boundary, spacing=described.spacing),
        channels=described.channels or tuple(f"c{i}" for i in range(count)),
        params={
            name: ParamRange(-np.inf, np.inf, _scale(values[train]))
            for name, values in described.params.items()
        },
        splits={},
        frame_time=described.frame_time or 1.0,
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
        units=described.units,
        time_unit=described.units.get("time", "time units"),
    )


def _scale(values: np.ndarray) -> float:
    """The factor that makes a parameter of order one."""
    largest = float(np.max(np.abs(values)))
    return 1 / largest if np.isfinite(largest) and largest > 0 else 1.0


def _statistics(described: Description, train) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard deviation of each channel, and the change per frame in units of the latter.

    One trajectory at a time, in float64; sums are of what is left without a first guess of the
    mean, as those of squares of large numbers would lose their digits.
    """
    count, channels = 0, described.states.shape[-1]
    sums = squares = changes = np.zeros(channels)
    guess = None
    for i in train:
        u = described.states.read(i).astype(np.float64)
        if not np.isfinite(u).all():
            raise InputError(f"{described.path}: states holds NaN or infinity in trajectory {i}")
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
            raise InputError(f"{described.path}: states are too large to be averaged")
        std = np.where(std > 0, std, 1.0)
        change = np.sqrt(np.mean(changes / count / np.square(std)))
    return guess + off, std, float(change) if change > 0 else 1.0
