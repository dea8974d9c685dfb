"""Pictures of two-dimensional states that are no flow on a known grid: each channel in space.

What diverged is grey, so are cells of a body.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tfunroll.plots import animation
from tfunroll.plots.animation import rows_of, title_of
from tfunroll.plots.style import Drawn, in_units
from tfunroll.systems.base import System

SIGNED = colormaps["RdBu_r"].with_extremes(bad="0.7")  # of values about zero
PLAIN = colormaps["viridis"].with_extremes(bad="0.7")
CLIP = 0.5, 99.5  # percentiles of the reference at which the colours end
ABOUT_ZERO = 0.2  # the nearer end over the farther one, from which values are about zero


def field(drawn: Drawn, system: System, channel: str, test_set: str) -> Figure:
    """A channel in one test case: rows are reference and models, columns frames."""
    k = system.channels.index(channel)
    rows = rows_of(drawn, test_set, lambda states: states[..., k])
    return panels(rows, system, channel, title_of(drawn, test_set, system))


def panels(rows: Mapping[str, np.ndarray], system: System, channel: str, title: str) -> Figure:
    """A channel [frame, y, x] by name; the first one says where the colours end."""
    wide, (rows, look) = _aspect(system), _shown(rows, system)
    return animation.in_time(
        rows,
        lambda ax, values: _panel(ax, values, look, system),
        in_units(channel, system),
        title,
        system,
        count=max(round(animation.PANELS / wide), 2),
        size=(1.5 * wide, 1.5),
    )


def animate(drawn: Drawn, system: System, channel: str, test_set: str, path: pathlib.Path) -> None:
    """Writes a channel in one test case as an animated GIF: reference and models side by side."""
    k, wide = system.channels.index(channel), _aspect(system)
    rows, look = _shown(rows_of(drawn, test_set, lambda states: states[..., k]), system)
    animation.animate(
        rows,
        lambda ax, values: _panel(ax, values, look, system),
        in_units(channel, system),
        title_of(drawn, test_set, system),
        system,
        across=len(rows) if wide < 1.5 else 2,
        width=2.0 * wide,
        path=path,
    )


def _shown(rows, system) -> tuple[dict[str, np.ndarray], dict]:
    """The fields without the cells of a body, and their colours."""
    hidden = np.zeros(system.domain.shape, bool)
    if system.domain.mask is not None:
        hidden = ~system.domain.mask
    rows = {name: np.where(hidden, np.nan, values.astype(float)) for name, values in rows.items()}
    low, high = np.nanpercentile(next(iter(rows.values())), CLIP)
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
