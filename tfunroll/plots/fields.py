"""States of a case as a picture, whatever the system: over space and time, or in space."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from tfunroll.core import Domain, InputError
from tfunroll.plots import channels, curved, flows
from tfunroll.plots.rollouts import panels as space_time_panels
from tfunroll.plots.style import finish
from tfunroll.systems.base import System


@dataclass(frozen=True)
class Plain:
    """What stands in for a System where nobody knows it."""

    domain: Domain
    channels: tuple[str, ...]
    name: str = "states"
    frame_time: float = 1.0
    time_unit: str = "frames"
    units: Mapping[str, str] = field(default_factory=dict)
    flow: None = None
    pictures: None = None

    @staticmethod
    def of(states: np.ndarray) -> "Plain":
        """Of states [frame, *space, channel]."""
        shape = states.shape[1:-1]
        sides = (("periodic", "periodic"),) * len(shape)
        return Plain(Domain(shape, sides), tuple(f"c{i}" for i in range(states.shape[-1])))


def fields(
    rows: Mapping[str, np.ndarray],
    system: System | None,
    title: str = "",
    limit: float = np.inf,
) -> Figure:
    """The picture of states that a run has of this system, of one case.

    One dimension: the first channel over space and time, with the difference from "reference" below
    where that is the first name. Flows on a staggered grid: vorticity; on a curved grid: its first
    field; other grids of two dimensions: the first channel; at frames from the first to the last.

    Args:
      rows: name -> states [frame, *space, channel] of a model; the first decides on colours. What
        is not finite is grey.
      system: None: the first channel, frame by frame.
      title: of the case.
      limit: frames with values beyond are grey too, as what diverges would hide all else.
    Raises:
      InputError: a system of three dimensions.
    """
    system = system or Plain.of(next(iter(rows.values())))
    rows = {name: _sound(np.asarray(states, np.float64), limit) for name, states in rows.items()}
    if len(system.domain.shape) == 1:
        shown = {name: states[..., 0] for name, states in rows.items()}
        figure = space_time_panels({title: shown}, system, system.channels[0])
    elif system.flow:
        shown = {name: flows.vorticity_of(states, system) for name, states in rows.items()}
        figure = flows.panels(shown, system, title)
    elif system.pictures:
        label, values_of = next(iter(system.pictures.fields.items()))
        shown = {name: values_of(states) for name, states in rows.items()}
        figure = curved.panels(shown, system, label, title)
    elif len(system.domain.shape) == 2:
        shown = {name: states[..., 0] for name, states in rows.items()}
        figure = channels.panels(shown, system, system.channels[0], title)
    else:
        raise InputError(f"system {system.name} has three dimensions, which no picture shows")
    finish(figure)
    return figure


def _sound(states: np.ndarray, limit: float) -> np.ndarray:
    """Frames that are not finite and within the limit everywhere as NaN."""
    good = np.isfinite(states) & (np.abs(states) <= limit)
    return np.where(good.all(axis=tuple(range(1, states.ndim)), keepdims=True), states, np.nan)
