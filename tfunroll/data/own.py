"""Own data for a System: whether they fit it, and their trajectories, in memory or in pieces.

``tfunroll.arrays`` reads the description and the files.
"""

import numpy as np

from tfunroll.arrays import Description, Pieces
from tfunroll.core import InputError, check_choice
from tfunroll.systems import System

NEAR = 1e-3  # relative: float32's coordinates, and lengths written with few digits


def check_fit(described: Description, system: System) -> None:
    """InputError, naming the field, unless own data are those of a System.

    Compared is what the description or its files say: channels, frame time, boundary, distance of
    grid points, parameters. Trajectories.check compares shapes, which are always known.
    """
    path, params = described.path, described.params
    if described.system and described.system != system.name:
        raise InputError(f"{path}: system={described.system!r}, but the run is for {system.name!r}")
    step = described.frame_time
    if step is not None and not np.isclose(step, system.frame_time, rtol=NEAR):
        raise InputError(
            f"{path}: frame_time={step:g}, but {system.name} steps {system.frame_time:g}: "
            "resample the trajectories"
        )
    for name in params:
        check_choice(f"{path}: params", name, system.params)
    for name in system.params:
        if name not in params:
            raise InputError(f"{path}: params.{name} is missing; one number per trajectory")
    same_grid = described.states.shape[2:-1] == system.domain.shape
    if described.channels and same_grid and described.channels != tuple(system.channels):
        raise InputError(
            f"{path}: channels={', '.join(described.channels)}, but those of {system.name} are "
            f"{', '.join(system.channels)}"
        )
    if described.boundary is not None and same_grid:
        for axis, ours, theirs in zip(
            described.axes, described.boundary, system.domain.boundary, strict=True
        ):
            if ours != theirs:
                raise InputError(
                    f"{path}: boundary.{axis}={', '.join(ours)}, but that of {system.name} is "
                    f"{', '.join(theirs)}"
                )
    if described.spacing is not None and same_grid and system.domain.spacing is not None:
        for axis, ours, theirs in zip(
            described.axes, described.spacing, system.domain.spacing, strict=True
        ):
            if not np.isclose(ours, theirs, rtol=NEAR):
                raise InputError(
                    f"{path}: points are {ours:g} apart along {axis}, but those of {system.name} "
                    f"{theirs:g}"
                )


def states_of(described: Description, dtype: str, memory: float) -> np.ndarray | Pieces:
    """All states, in memory, or in their files if they are too large.

    Args: dtype: to read them as. memory: bytes that they may take.
    """
    pieces = Pieces(described.states, range(len(described.states)), dtype)
    if pieces.nbytes > memory:
        return pieces
    states = np.empty(pieces.shape, dtype)
    for i, trajectory in enumerate(pieces):
        states[i] = trajectory
    return states
