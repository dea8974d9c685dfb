"""Rollouts of one-dimensional systems over space and time, and spectra along a line."""

import numpy as np
from matplotlib.figure import Figure

from tfunroll.evaluation.results import EQUAL_COST, PERSISTENCE, REFINED, SETS
from tfunroll.plots.style import TITLES, Drawn, short, styles_of
from tfunroll.systems.base import System

STATE_MAP, DIFFERENCE_MAP = "cividis", "magma_r"
NOT_DRAWN = (PERSISTENCE, EQUAL_COST, REFINED)  # these names begin so
LYAPUNOV_TIMES = 8  # shown in the rollouts: long after that no two of them agree


def rollouts(drawn: Drawn, system: System) -> Figure:
    """Space-time panels: per test set the reference and each model, below |model − reference|.

    What diverged is grey. Of the baselines the coarse solver alone is drawn.
    """
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if not name.startswith(NOT_DRAWN)}
    sets = list(first["test_set"])
    cases = [sets.index(name) for name in SETS if name in sets]
    frames = first["reference"].shape[1]
    if system.lyapunov_time:
        frames = min(frames, round(LYAPUNOV_TIMES * system.lyapunov_time))
    columns = ["reference", *drawn]
    size = (2.3 * len(columns) + 1.2, 3.1 * len(cases) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2 * len(cases), len(columns), squeeze=False, sharex=True, sharey=True)
    for case, (top, bottom) in zip(cases, zip(grid[::2], grid[1::2], strict=True), strict=True):
        reference = first["reference"][case, :frames, :, 0].T
        limit = np.max(np.abs(reference))
        _panel(top[0], reference, -limit, limit, STATE_MAP, system.channels[0])
        bottom[0].axis("off")
        label = f"{TITLES[sets[case]]}\n{first['physics'][case]}"
        bottom[0].text(0.02, 0.5, label, transform=bottom[0].transAxes, va="center", fontsize=10)
        for column, sample in enumerate(drawn.values(), start=1):
            u = sample["prediction"][case, :frames, :, 0].T.astype(np.float64)
            u = np.where(sample["diverged"][case, :frames], np.nan, u)
            last = column == len(drawn)
            named = (system.channels[0], "|difference|") if last else ("", "")
            _panel(top[column], u, -limit, limit, STATE_MAP, named[0])
            _panel(bottom[column], np.abs(u - reference), 0, limit, DIFFERENCE_MAP, named[1])
        top[0].set_ylabel("x / L")
    for ax, name in zip(grid[0], columns, strict=True):
        ax.set_title(name, fontsize=10)
    for ax in grid[-1][1:]:
        ax.set_xlabel("frame")
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


def spectra(drawn: Drawn) -> Figure:
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
        ax.plot(modes, reference, color="black", linewidth=2.2, label="reference")
        for i, (name, sample) in enumerate(drawn.items()):
            modes, energy = line_spectrum(sample["prediction"][chosen], sample["diverged"][chosen])
            # Markers of lines that lie on each other stand at different modes.
            ax.plot(modes, energy, markevery=(i % 4, 4), **styles[name].line(short(name)))
        ax.set(xscale="log", yscale="log")
        ax.set_title(f"{TITLES.get(test_set, test_set)}\n{physics}", fontsize=9)
        ax.grid(alpha=0.25)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("mode number n")
    for ax in axes[:, 0]:
        ax.set_ylabel("energy E(n)")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(drawn) + 1, 4))
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
