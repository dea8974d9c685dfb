"""Pictures of two-dimensional states that are no flow on a known grid: each channel in space.

Made from the samples of one seed of each model. What diverged is grey, so are cells of a body.
"""

import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER
from tfunroll.plots import animation
from tfunroll.plots.animation import case_title, first_case
from tfunroll.plots.style import Drawn, in_units
from tfunroll.systems.base import System

SIGNED = colormaps["RdBu_r"].with_extremes(bad="0.7")  # of values about zero
PLAIN = colormaps["viridis"].with_extremes(bad="0.7")
CLIP = 0.5, 99.5  # percentiles of the reference at which the colours end
ABOUT_ZERO = 0.2  # the nearer end over the farther one, from which values are about zero


def field(drawn: Drawn, system: System, channel: str, test_set: str) -> Figure:
    """A channel in one test case: rows are reference and models, columns frames."""
    rows, look = _rows(drawn, system, channel, test_set)
    return animation.panels(
        rows,
        lambda ax, values: _panel(ax, values, look, system),
        in_units(channel, system),
        case_title(drawn, test_set),
        system,
        wide=_aspect(system),
    )


def animate(drawn: Drawn, system: System, channel: str, test_set: str, path: pathlib.Path) -> None:
    """Writes a channel in one test case as an animated GIF: reference and models side by side."""
    rows, look = _rows(drawn, system, channel, test_set)
    wide = _aspect(system)
    animation.animate(
        rows,
        lambda ax, values: _panel(ax, values, look, system),
        in_units(channel, system),
        case_title(drawn, test_set),
        system.frame_time,
        across=len(rows) if wide < 1.5 else 2,
        width=2.0 * wide,
        path=path,
    )


def _rows(drawn, system, channel, test_set) -> tuple[dict[str, np.ndarray], dict]:
    """Name -> [frame, y, x] of the reference, the coarse solver and the networks; the colours."""
    case, k = first_case(drawn, test_set), system.channels.index(channel)
    hidden = np.zeros(system.domain.shape, bool)
    if system.domain.mask is not None:
        hidden = ~system.domain.mask

    def shown(states, lost):
        values = states[case][..., k].astype(float)
        return np.where(hidden | lost[:, None, None], np.nan, values)

    first = next(iter(drawn.values()))
    rows = {"reference": shown(first["reference"], np.zeros(len(first["reference"][case]), bool))}
    for name in ("coarse solver", *ORDER):
        if name in drawn:
            rows[name] = shown(drawn[name]["prediction"], drawn[name]["diverged"][case])
    low, high = np.nanpercentile(rows["reference"], CLIP)
    if min(-low, high) > ABOUT_ZERO * max(-low, high):
        low, high = -max(-low, high), max(-low, high)
        return rows, {"cmap": SIGNED, "vmin": low, "vmax": high}
    return rows, {"cmap": PLAIN, "vmin": low, "vmax": high}


def _heights(system) -> float:
    """Height of a cell over its width."""
    dy, dx = system.domain.spacing or (1.0, 1.0)
    return dy / dx


def _aspect(system) -> float:
    ny, nx = system.domain.shape
    return float(np.clip(nx / (ny * _heights(system)), 0.2, 5.0))


def _panel(ax, values, look, system):
    """A field [y, x] as an image, y upwards, and the label of one that diverged."""
    image = ax.imshow(values, origin="lower", aspect=_heights(system), **look)
    ax.set(xticks=[], yticks=[])
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": 8}
    return image, ax.text(0.5, 0.5, "diverged", visible=np.isnan(values).all(), **place)
