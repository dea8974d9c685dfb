"""Pictures of a run, from its saved results alone.

Every line, bar and panel is told apart by more than its colour: markers, dashes, hatches and a
palette for colour-blind readers (Okabe & Ito). Fields use maps of monotone lightness, so that grey
prints keep their order.
"""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfunroll.metrics import DIVERGED_ERROR
from tfunroll.results import ORDER, SETS, model_order
from tfunroll.systems.base import System


class Style(NamedTuple):
    """How a model is drawn."""

    color: str  # of the palette of Okabe & Ito
    dashes: object
    marker: str
    hatch: str = ""

    def line(self, label: str) -> dict:
        """Keywords of Axes.plot."""
        look = {"color": self.color, "linestyle": self.dashes, "marker": self.marker}
        return {**look, "markersize": 5, "linewidth": 1.6, "label": label}


STYLES = {
    "ONE": Style("#D55E00", "-", "o"),
    "NOG": Style("#0072B2", (0, (5, 2)), "s", "//"),
    "WIG": Style("#009E73", (0, (6, 2, 1, 2)), "^", ".."),
}
BASELINE_STYLES = (
    Style("#555555", (0, (1, 1.5)), "x"),
    Style("#E69F00", (0, (3, 1, 1, 1)), "v"),
    Style("#CC79A7", (0, (8, 3)), "D"),
)
STATE_MAP, DIFFERENCE_MAP = "cividis", "magma_r"
TITLES = {"test_interpolation": "interpolation", "test_extrapolation": "extrapolation"}
LYAPUNOV_TIMES = 8  # shown in the rollouts: long after that no two of them agree
BELOW = 0.03  # of the best model: baselines under that leave the picture of the bars

Samples = Mapping[tuple[str, int], Mapping[str, np.ndarray]]


def plot_run(
    out_dir, results: pd.DataFrame, samples: Samples, system: System
) -> list[pathlib.Path]:
    """Writes curves, rollouts and spectra as PNG and PDF; returns the paths.

    Args:
      out_dir: an existing folder.
      results: table with results.COLUMNS; modalities that are missing are left out.
      samples: (modality, seed) -> Evaluation.samples; of each modality the lowest seed is drawn.
      system: gives the Lyapunov time and the rank of space. Rollouts are drawn in one dimension.
    """
    figures = {"curves": curves(results, system)}
    drawn = {m: samples[min(key for key in samples if key[0] == m)] for m in _order(samples)}
    if drawn:
        figures["spectra"] = spectra(drawn)
        if len(system.domain.shape) == 1:
            figures["rollouts"] = rollouts(drawn, system)
    paths = []
    for name, figure in figures.items():
        FigureCanvasAgg(figure)
        for ax in figure.axes:
            ax.minorticks_off()  # on log axes they take half of the drawing time
        for suffix, dpi in ((".png", 130), (".pdf", 200)):
            paths.append(pathlib.Path(out_dir) / f"{name}{suffix}")
            figure.savefig(paths[-1], dpi=dpi)
            figure.set_layout_engine("none")  # laid out once; the second file keeps the places
    return paths


def curves(results: pd.DataFrame, system: System) -> Figure:
    """Error over time above, bars of the relative error below, one column per test set."""
    sets = [name for name in SETS if name in set(results["test_set"])]
    figure = Figure(figsize=(4.6 * len(sets) + 0.8, 7.4), layout="constrained")
    axes = figure.subplots(2, len(sets), squeeze=False, sharey="row")
    for column, name in enumerate(sets):
        part = results[results["test_set"] == name]
        error_over_time(axes[0, column], part, system.lyapunov_time)
        bars(axes[1, column], part)
        axes[0, column].set_title(TITLES[name])
    axes[0, 0].set_ylabel("normalised RMSE")
    axes[1, 0].set_ylabel("relative error")
    handles = {}
    for ax in axes[::-1].flat:  # the lines of the upper row, with markers, replace those below
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ordered = [name for name in handles if name in ORDER] + [n for n in handles if n not in ORDER]
    figure.legend([handles[name] for name in ordered], ordered, loc="outside lower center", ncols=3)
    return figure


def error_over_time(ax, results: pd.DataFrame, lyapunov_time: float | None = None) -> None:
    """Normalised RMSE per frame: the median over test cases, its geometric mean over seeds as a
    line and its range over seeds as a band. A line ends where the median rollout diverged."""
    part = results[results["metric"] == "nrmse"]
    lowest = []
    for i, (name, style) in enumerate(_styles(part["modality"]).items()):
        model = part[part["modality"] == name]
        medians = model.groupby(["seed", "frame"])["value"].median().unstack("frame")
        values = medians.to_numpy(float)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        frames = medians.columns.to_numpy(int)
        drawn = np.isfinite(values).any(axis=0)
        if not drawn.any():
            continue
        frames, values = frames[drawn], values[:, drawn]
        line = np.exp(np.nanmean(np.log(values), axis=0))
        # Markers evenly in time though the frames are not, and each model's at frames of its own.
        places = (np.arange(8) + i / 8) * frames[-1] / 8
        every = np.unique(np.searchsorted(frames, places)).tolist()
        ax.plot(frames, line, markevery=every, **style.line(name))
        lowest += [line.min()] if name in ORDER else []
        if len(values) > 1:
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            ax.fill_between(frames, low, high, color=style.color, alpha=0.18, linewidth=0)
    if lyapunov_time:
        ax.axvline(lyapunov_time, color="black", linewidth=0.8, linestyle=":")
        place = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "bottom"}
        ax.text(lyapunov_time, 0.02, " Lyapunov time", fontsize=8, ha="left", **place)
    ax.set(yscale="log", xlabel="frame")
    if lowest:  # a solver exact to rounding would flatten all the others
        ax.set_ylim(bottom=max(ax.get_ylim()[0], min(lowest) / 3))
    ax.set_ylim(top=min(ax.get_ylim()[1], DIVERGED_ERROR**0.5))
    ax.grid(alpha=0.25)


def bars(ax, results: pd.DataFrame) -> None:
    """Mean relative error by modality, whiskers one standard deviation over seeds; baselines are
    lines across. Diverged rollouts leave the mean; their share stands at the foot of the bar."""
    part = results[results["metric"] == "relative_error"]
    styles = _styles(part["modality"])
    trained = [name for name in styles if name in ORDER]
    lowest, tiny = np.inf, []
    for name, style in styles.items():
        model = part[part["modality"] == name]
        fine = model[model["status"] != "diverged"]
        means = fine.groupby("seed")["value"].mean()
        lost = 1 - len(fine) / len(model)
        mean = means.mean() if len(means) else np.nan
        if name not in ORDER:
            if mean > BELOW * lowest or (mean > 0 and not trained):
                ax.axhline(mean, **style.line(name) | {"marker": ""})
            elif mean >= 0:
                tiny.append(f"{name}: {mean:.0e}")
            continue
        at, lowest = trained.index(name), np.nanmin([lowest, mean])
        if mean > 0:
            # The lower whisker stays positive: on a log axis a bar has no way below zero.
            spread = np.nan_to_num(means.std())
            whiskers = [[min(spread, 0.9 * mean)], [spread]]
            look = {"edgecolor": "black", "hatch": style.hatch, "linewidth": 0.8, "capsize": 4}
            ax.bar(at, mean, 0.62, color=style.color, alpha=0.75, yerr=whiskers, **look)
        if lost:
            place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            ax.text(at, 0.03, f"{lost:.0%} diverged", fontsize=8, bbox=box, **place)
    ax.set_xticks(range(len(trained)), trained)
    ax.set_xlim(-0.6, max(len(trained), 1) - 0.4)
    if ax.lines or ax.patches:  # a log axis needs something on it
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(low / 3, high * (2 if not tiny else 8))
    if tiny:  # off the scale below: written, as a line would flatten the bars
        note = "below the axis: " + "; ".join(tiny)
        ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", fontsize=8)
    ax.grid(alpha=0.25, axis="y")


def rollouts(drawn: Mapping[str, Mapping[str, np.ndarray]], system: System) -> Figure:
    """Space-time panels: per test set the reference and each model, below |model − reference|.

    What blew up is grey. Of the baselines the coarse solver alone is drawn.
    """
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if name in (*ORDER, "coarse solver")}
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
            blown_up = ~np.all(np.abs(u) <= limit * DIVERGED_ERROR**0.5, axis=0)
            u = np.where(np.logical_or.accumulate(blown_up), np.nan, u)
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


def spectra(drawn: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Energy by mode number, one panel per parameter value.

        E(n) = mean over frames, cases and lines of Σ_channels |û_n|² / N²

    along the last space axis of N points, without the constant and the Nyquist mode. Frames that
    blew up are left out, and models that did so in all frames.
    """
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if name != "persistence"}  # a single frame
    panels = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    width = min(len(panels), 4)
    height = -(-len(panels) // width)
    figure = Figure(figsize=(3.1 * width + 0.4, 3.0 * height + 0.9), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False, sharex=True, sharey=True)
    styles = _styles(drawn)
    for ax, (test_set, physics) in zip(axes.flat, panels, strict=False):
        chosen = (first["test_set"] == test_set) & (first["physics"] == physics)
        modes, reference = _spectrum(first["reference"][chosen])
        ax.plot(modes, reference, color="black", linewidth=2.2, label="reference")
        for i, (name, sample) in enumerate(drawn.items()):
            modes, energy = _spectrum(sample["prediction"][chosen], sample["reference"][chosen])
            # Markers of lines that lie on each other stand at different modes.
            ax.plot(modes, energy, markevery=(i % 4, 4), **styles[name].line(_short(name)))
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


def _spectrum(u: np.ndarray, reference: np.ndarray | None = None):
    """Mode numbers and mean energies of frames, [case, frame, *space, channel], that are sane."""
    frames = u.reshape(-1, *u.shape[2:]).astype(np.float64)
    limit = np.sqrt(DIVERGED_ERROR) * np.max(np.abs(u if reference is None else reference))
    sane = np.all(np.abs(frames) <= limit, axis=tuple(range(1, frames.ndim)))
    modes = np.arange(1, frames.shape[-2] // 2)
    if not sane.any():
        return modes, np.full(len(modes), np.nan)
    u_hat = np.fft.rfft(frames[sane], axis=-2) / frames.shape[-2]
    energy = np.sum(np.abs(u_hat) ** 2, axis=-1)
    energy = energy.mean(axis=tuple(range(energy.ndim - 1)))[modes]
    return modes, energy


def _short(name: str) -> str:
    return name.replace(" (", "\n(").replace("equal-cost solver", "equal cost")


def _order(samples: Samples) -> list[str]:
    return model_order(modality for modality, _ in samples)


def _styles(modalities) -> dict[str, Style]:
    """Style of each modality present, in the order of the tables."""
    names = model_order(modalities)
    others = [name for name in names if name not in STYLES]
    more = {name: BASELINE_STYLES[i % 3] for i, name in enumerate(others)}
    return {name: STYLES.get(name) or more[name] for name in names}
