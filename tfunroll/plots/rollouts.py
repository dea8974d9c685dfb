"""Rollouts of one-dimensional systems over space and time, and spectra along a line."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfunroll.evaluation.results import ORDER, sets_of
from tfunroll.plots.style import (
    REFERENCE,
    TITLES,
    Drawn,
    in_units,
    legend,
    parameters,
    short,
    styles_of,
)
from tfunroll.systems.base import System

STATE_MAP, DIFFERENCE_MAP = "cividis", "magma_r"
LYAPUNOV_TIMES = 8  # shown in the rollouts: long after that no two of them agree


def rollouts(drawn: Drawn, system: System, channel: int = 0) -> Figure:
    """Space-time panels: per test set the reference and each model, below |model − reference|.

    Colours are symmetric about zero, or, for a channel of one sign, span its range. What diverged
    is grey. Of the baselines the coarse solver alone is drawn.
    """
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if name in (*ORDER, "coarse solver")}
    sets = list(first["test_set"])
    frames = first["reference"].shape[1]
    if system.lyapunov_time:
        frames = min(frames, round(LYAPUNOV_TIMES * system.lyapunov_time))
    cases = {}
    for case in (sets.index(name) for name in sets_of(sets)):
        rows = {"reference": first["reference"][case, :frames, :, channel]}
        for name, sample in drawn.items():
            lost = sample["diverged"][case, :frames, None]
            rows[name] = np.where(lost, np.nan, sample["prediction"][case, :frames, :, channel])
        set_name = TITLES.get(sets[case], sets[case])
        cases[f"{set_name}\n{parameters(first['physics'][case], system)}"] = rows
    return panels(cases, system, system.channels[channel])


def panels(cases: Mapping[str, Mapping[str, np.ndarray]], system: System, channel: str) -> Figure:
    """Space-time panels of a channel, a row for each case and a column for each model.

    Args:
      cases: title -> {name: values [frame, x]}, of equal names. Where the first is "reference",
        |model − reference| stands below; NaN is grey.
    """
    columns = list(next(iter(cases.values())))
    per_case = 2 if columns[0] == "reference" and len(columns) > 1 else 1
    size = (2.3 * len(columns) + 1.6, 1.55 * per_case * len(cases) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    count = per_case * len(cases)
    grid = figure.subplots(count, len(columns), squeeze=False, sharex=True, sharey=True)
    for number, (title, rows) in enumerate(cases.items()):
        top, *below = grid[per_case * number : per_case * (number + 1)]
        first = rows[columns[0]].T
        low, high = -float(np.nanmax(np.abs(first))) or -1.0, float(np.nanmax(np.abs(first))) or 1.0
        if np.nanmin(first) > 0 or np.nanmax(first) < 0:
            low, high = np.nanmin(first), np.nanmax(first)
        for ax, (name, states) in zip(top, rows.items(), strict=True):
            u = states.T.astype(np.float64)
            _panel(ax, u, low, high, STATE_MAP, in_units(channel, system))
            if below and name != columns[0]:
                under, most = below[0][columns.index(name)], (high - low) / 2
                _panel(under, np.abs(u - first), 0, most, DIFFERENCE_MAP, "|difference|")
        top[0].set_ylabel("x / L")
        if below:
            below[0][0].axis("off")
            place = {"transform": below[0][0].transAxes, "va": "center", "fontsize": 10}
            below[0][0].text(0.02, 0.5, title, **place)
    if per_case == 1:
        figure.suptitle(", ".join(cases), fontsize=10)
    for ax, name in zip(grid[0], columns, strict=True):
        ax.set_title(name, fontsize=10)
    steps = "frame" if system.frame_time == 1 else f"frame, each {system.frame_time:g}"
    for ax in grid[-1]:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if ax.axison:
            ax.set_xlabel(f"{steps} {system.time_unit}" if system.frame_time != 1 else steps)
    return figure


def _panel(ax, field, low, high, cmap, label) -> None:
    """A field [x, frame]; NaN is grey; a colour bar if it has a label and stands rightmost."""
    extent = (0.5, field.shape[1] + 0.5, 0, 1)
    image = ax.imshow(
        field, cmap=cmap, vmin=low, vmax=high, extent=extent, origin="lower", aspect="auto"
    )
    ax.set_facecolor("0.8")
    bad = np.flatnonzero(np.isnan(field).all(axis=0))
    if len(bad) > field.shape[1] / 5:
        ax.text(bad.mean() + 1, 0.5, "diverged", ha="center", va="center", fontsize=8)
    if label and ax.get_subplotspec().is_last_col():
        ax.figure.colorbar(image, ax=ax, label=label, pad=0.03)


def spectra(drawn: Drawn, system: System) -> Figure:
    """Energy by mode number, one panel per parameter value.

        E(n) = mean over frames, cases and lines of Σ_channels |û_n|² / N²

    along the last space axis of N points, without the constant and the Nyquist mode. Frames that
    diverged are left out, and models that did so in all frames.
    """
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if name != "persistence"}  # a single frame
    panels = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    width = min(len(panels), 4)
    height = -(-len(panels) // width)
    figure = Figure(figsize=(3.1 * width + 0.4, 3.0 * height + 0.9), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False, sharex=True, sharey=True)
    styles = styles_of(drawn)
    for ax, (test_set, physics) in zip(axes.flat, panels, strict=False):
        chosen = (first["test_set"] == test_set) & (first["physics"] == physics)
        modes, reference = line_spectrum(first["reference"][chosen])
        ax.plot(modes, reference, **REFERENCE)
        for i, (name, sample) in enumerate(drawn.items()):
            modes, energy = line_spectrum(sample["prediction"][chosen], sample["diverged"][chosen])
            # Markers of lines that lie on each other stand at different modes.
            ax.plot(modes, energy, markevery=(i % 4, 4), **styles[name].line(short(name)))
        ax.set(xscale="log", yscale="log")
        words = f"{TITLES.get(test_set, test_set)}\n{parameters(physics, system)}"
        ax.set_title(words, fontsize=9)
        ax.grid(alpha=0.25)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("mode number n")
    for ax in axes[:, 0]:
        ax.set_ylabel("energy E(n)")
    legend(figure, axes.flat[0].get_legend_handles_labels())
    return figure


def line_spectrum(u: np.ndarray, lost: np.ndarray | None = None):
    """Mode numbers and mean energies of the frames [case, frame, *space, channel] not ``lost``."""
    frames = u[~lost] if lost is not None else u.reshape(-1, *u.shape[2:])
    modes = np.arange(1, frames.shape[-2] // 2)
    if not len(frames):
        return modes, np.full(len(modes), np.nan)
    u_hat = np.fft.rfft(frames.astype(np.float64), axis=-2) / frames.shape[-2]
    energy = np.sum(np.abs(u_hat) ** 2, axis=-1)
    energy = energy.mean(axis=tuple(range(energy.ndim - 1)))[modes]
    return modes, energy
