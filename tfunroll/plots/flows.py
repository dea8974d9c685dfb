"""Pictures of two-dimensional flows: vorticity, spectra, curves over time, an animation.

Made from the samples of one seed of each model. What diverged is grey, or its line ends.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from tfunroll.evaluation.results import sets_of
from tfunroll.metrics import flows
from tfunroll.plots import animation
from tfunroll.plots.animation import rows_of, title_of
from tfunroll.plots.style import (
    REFERENCE,
    TITLES,
    Drawn,
    case_title,
    legend,
    mark_end,
    short,
    styles_of,
    time_label,
)
from tfunroll.systems.base import System

MAP = colormaps["RdBu_r"].with_extremes(bad="0.7")  # red and blue: told apart by colour-blind eyes
VORTICITY = "vorticity ω [1/time unit]"
CLIP = 99.5  # percentile of |ω| of the reference at which the colours end
DECADES, RATIOS = 1e10, 1e3  # shown of the spectra: below are rounding errors
HEADROOM = 3.0  # of energy and enstrophy over the reference
FINENESS = 8  # points per cell of a body's outline


def vorticity(drawn: Drawn, system: System, test_set: str) -> Figure:
    """Vorticity of one test case: rows are reference and models, columns frames."""
    rows = rows_of(drawn, test_set, lambda states: vorticity_of(states, system))
    return panels(rows, system, title_of(drawn, test_set, system))


def panels(rows: Mapping[str, np.ndarray], system: System, title: str) -> Figure:
    """Vorticity fields [frame, y, x] by name; the first one says where the colours end."""
    limit, wide = _limit(next(iter(rows.values()))), _aspect(system)
    return animation.in_time(
        rows,
        lambda ax, field: _panel(ax, field, limit, system),
        VORTICITY,
        title,
        system,
        count=max(round(animation.PANELS / wide), 2),
        size=(1.5 * wide, 1.5),
    )


def vorticity_of(states: np.ndarray, system: System) -> np.ndarray:
    """Vorticity [frame, y, x] of states [frame, y, x, channel]."""
    return flows.vorticity(states[..., :2], system.flow)


def animate(drawn: Drawn, system: System, test_set: str, path: pathlib.Path) -> None:
    """Writes one test case as an animated GIF: vorticity of reference and models side by side."""
    rows = rows_of(drawn, test_set, lambda states: vorticity_of(states, system))
    limit, wide = _limit(rows["reference"]), _aspect(system)
    animation.animate(
        rows,
        lambda ax, field: _panel(ax, field, limit, system),
        VORTICITY,
        title_of(drawn, test_set, system),
        system,
        across=len(rows) if wide < 1.5 else 2,
        width=2.0 * wide,
        path=path,
    )


def spectra(drawn: Drawn, system: System) -> Figure:
    """Energy spectra, mean over frames and cases, above; below their ratio to the reference."""
    first = next(iter(drawn.values()))
    drawn = {name: s for name, s in drawn.items() if name != "persistence"}  # a single frame
    panels = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    figure = Figure((3.6 * len(panels) + 0.8, 5.6), layout="constrained")
    axes = figure.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(2, 1)
    )
    styles = styles_of(drawn)
    k = np.arange(1, min(system.domain.shape) // 2 + 1)
    for (upper, lower), (test_set, physics) in zip(axes.T, panels, strict=True):
        chosen = (first["test_set"] == test_set) & (first["physics"] == physics)
        reference = _mean_spectrum(first["reference"][chosen][..., :2])[k]
        upper.plot(k, reference, **REFERENCE)
        lower.axhline(1, **REFERENCE | {"linewidth": 1.2})
        for i, (name, sample) in enumerate(drawn.items()):
            w, lost = sample["prediction"][chosen][..., :2], sample["diverged"][chosen]
            energy = _mean_spectrum(w, lost)[k]
            line = {"markevery": (i % 4, 4), **styles[name].line(short(name))}
            upper.plot(k, energy, **line)
            lower.plot(k, energy / np.where(reference > 0, reference, np.nan), **line)
        upper.set(xscale="log", yscale="log")
        low, high = upper.get_ylim()
        upper.set_ylim(max(low, high / DECADES), high)
        low, high = lower.get_ylim()
        lower.set_ylim(max(low, 1 / RATIOS), min(high, RATIOS))
        lower.set(yscale="log", xlabel="wavenumber k [2π/L]", xticks=[1, 2, 4, 8, k[-1]])
        lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        lower.yaxis.set_major_formatter("{x:g}")
        lower.set_xticklabels([1, 2, 4, 8, k[-1]])
        upper.set_title(case_title(test_set, physics, system), fontsize=9)
        for ax in (upper, lower):
            ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("energy E(k)")
    axes[1, 0].set_ylabel("E / reference")
    figure.align_ylabels(axes[:, 0])
    legend(figure, axes[0, 0].get_legend_handles_labels())
    return figure


def evolution(drawn: Drawn, system: System) -> Figure:
    """Energy, enstrophy, vorticity correlation and divergence over time, one column a test set.

    Lines: mean over the cases; one ends, with a cross, where the first of its cases has diverged.
    """
    ended = False
    first = next(iter(drawn.values()))
    sets = sets_of(set(first["test_set"]))
    grid, styles = system.flow, styles_of(drawn)
    rows = {
        "energy ½⟨u² + v²⟩": flows.kinetic_energy,
        "enstrophy ½⟨ω²⟩": lambda w, r: flows.enstrophy(w, r, grid),
        "correlation of ω": lambda w, r: flows.vorticity_correlation(w, r, grid),
        "rms of ∇·u [1/time unit]": lambda w, r: flows.rms_divergence(w, r, grid),
    }
    figure, tops = Figure((4.2 * len(sets) + 0.8, 8.6), layout="constrained"), {}
    axes = figure.subplots(len(rows), len(sets), squeeze=False, sharex=True, sharey="row")
    for column, test_set in zip(axes.T, sets, strict=True):
        chosen = first["test_set"] == test_set
        r = first["reference"][chosen][..., :2]
        time = system.frame_time * np.arange(1, r.shape[1] + 1)
        for ax, (label, measure) in zip(column, rows.items(), strict=True):
            reference = measure(r, r).mean(0)
            if "correlation" not in label:
                ax.plot(time, reference, **REFERENCE)
            for i, (name, sample) in enumerate(drawn.items()):
                w = sample["prediction"][chosen][..., :2]
                lost = sample["diverged"][chosen].any(0)
                if lost.all():
                    ended = True
                    continue
                mean = np.full(len(time), np.nan)
                mean[~lost] = measure(w, r)[:, ~lost].mean(0)
                every = max(len(time) // 8, 1)
                at = (i * every // len(drawn), every)
                look = styles[name].line(short(name))
                ax.plot(time[~lost], mean[~lost], markevery=at, **look)
                ended |= mark_end(ax, time, mean, lost, styles[name].color)
            tops[label] = max(tops.get(label, 0.0), HEADROOM * reference.max())
            ax.grid(alpha=0.25)
        column[0].set_title(TITLES.get(test_set, test_set))
        column[-1].set_xlabel(time_label(system))
        column[-1].set_yscale("log")
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)
        if label.startswith("en"):  # what is about to blow up leaves the picture
            ax.set_ylim(top=min(ax.get_ylim()[1], tops[label]) or 1)
    figure.align_ylabels(axes[:, 0])
    legend(figure, axes[0, 0].get_legend_handles_labels(), ended)
    return figure


def _limit(field: np.ndarray) -> float:
    return float(np.nanpercentile(np.abs(field), CLIP)) or 1.0


def _aspect(system):
    return system.domain.shape[1] / system.domain.shape[0]


def _panel(ax, field, limit, system):
    """A field [y, x] as an image, y upwards, the body on it, and the label of one that diverged.

    Vorticity lives in corners: pixel (j, i) is the corner at ((i + 1) h, (j + 1) h).
    """
    image = ax.imshow(field, cmap=MAP, vmin=-limit, vmax=limit, origin="lower")
    if system.body is not None:
        rows, columns = system.domain.shape
        y, x = (np.arange(0, n, 1 / FINENESS) for n in (rows, columns))
        (dy, dx), shown = system.domain.spacing, field.shape
        distance = system.body(*np.meshgrid(x * dx, y * dy))
        ax.contourf(x - 1, y - 1, distance, levels=[distance.min() - 1, 0], colors=["0.25"])
        ax.set(xlim=(-0.5, shown[1] - 0.5), ylim=(-0.5, shown[0] - 0.5))
    ax.set(xticks=[], yticks=[])
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": 8}
    return image, ax.text(0.5, 0.85, "diverged", visible=np.isnan(field).all(), **place)


def _mean_spectrum(w: np.ndarray, lost: np.ndarray | None = None) -> np.ndarray:
    """flows.spectrum, mean over the frames [case, frame] that are not ``lost``; NaN if none."""
    fine = np.ones(w.shape[:2], bool) if lost is None else ~lost
    shells = flows.spectrum(np.zeros((1, *w.shape[2:])))[0]
    return flows.spectrum(w[fine]).mean(0) if fine.any() else np.full_like(shells, np.nan)
