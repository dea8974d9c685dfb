"""Pictures of two-dimensional flows: vorticity, spectra, curves over time, an animation.

Made from the samples of one seed of each model. What diverged is grey, or its line ends.
"""

import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from tfunroll.evaluation.results import ORDER, sets_of
from tfunroll.metrics import StaggeredGrid, flows
from tfunroll.plots import animation
from tfunroll.plots.animation import case_title, first_case
from tfunroll.plots.style import TITLES, Drawn, short, styles_of
from tfunroll.systems.base import System

MAP = colormaps["RdBu_r"].with_extremes(bad="0.7")  # red and blue: told apart by colour-blind eyes
VORTICITY = "vorticity ω [1/time unit]"
CLIP = 99.5  # percentile of |ω| of the reference at which the colours end
DECADES, RATIOS = 1e10, 1e3  # shown of the spectra: below are rounding errors
HEADROOM = 3.0  # of energy and enstrophy over the reference
LINE = {"color": "black", "linewidth": 2.2, "label": "reference"}


def vorticity(drawn: Drawn, system: System, test_set: str) -> Figure:
    """Vorticity of one test case: rows are reference and models, columns frames."""
    rows = _vorticities(drawn, system.flow, first_case(drawn, test_set))
    limit = _limit(rows["reference"])
    return animation.panels(
        rows,
        lambda ax, values: _panel(ax, values, limit, system),
        VORTICITY,
        case_title(drawn, test_set),
        system,
        wide=_aspect(system),
    )


def animate(drawn: Drawn, system: System, test_set: str, path: pathlib.Path) -> None:
    """Writes one test case as an animated GIF: vorticity of reference and models side by side."""
    rows = _vorticities(drawn, system.flow, first_case(drawn, test_set))
    limit, wide = _limit(rows["reference"]), _aspect(system)
    animation.animate(
        rows,
        lambda ax, field: _panel(ax, field, limit, system),
        VORTICITY,
        case_title(drawn, test_set),
        system.frame_time,
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
        upper.plot(k, reference, **LINE)
        lower.axhline(1, **LINE | {"linewidth": 1.2})
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
        upper.set_title(f"{TITLES.get(test_set, test_set)}, {physics}", fontsize=9)
        for ax in (upper, lower):
            ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("energy E(k)")
    axes[1, 0].set_ylabel("E / reference")
    figure.align_ylabels(axes[:, 0])
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(drawn) + 1, 5))
    return figure


def evolution(drawn: Drawn, system: System) -> Figure:
    """Energy, enstrophy, vorticity correlation and divergence over time, one column a test set.

    Lines: mean over the cases; one ends where the first of its cases has diverged.
    """
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
                ax.plot(time, reference, **LINE)
            for i, (name, sample) in enumerate(drawn.items()):
                w = sample["prediction"][chosen][..., :2]
                fine = ~sample["diverged"][chosen].any(0)
                if not fine.any():
                    continue
                mean = measure(w, r)[:, fine].mean(0)
                every = max(len(time) // 8, 1)
                at = (i * every // len(drawn), every)
                ax.plot(time[fine], mean, markevery=at, **styles[name].line(short(name)))
            tops[label] = max(tops.get(label, 0.0), HEADROOM * reference.max())
            ax.grid(alpha=0.25)
        column[0].set_title(TITLES.get(test_set, test_set))
        column[-1].set_xlabel("time [time units]")
        column[-1].set_yscale("log")
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)
        if label.startswith("en"):  # what is about to blow up leaves the picture
            ax.set_ylim(top=min(ax.get_ylim()[1], tops[label]) or 1)
    figure.align_ylabels(axes[:, 0])
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(drawn) + 1, 5))
    return figure


def _vorticities(drawn: Drawn, grid: StaggeredGrid, case: int) -> dict[str, np.ndarray]:
    """Name -> vorticity [frame, y, x] of the reference, the coarse solver and the networks."""
    first = next(iter(drawn.values()))
    fields = {"reference": flows.vorticity(first["reference"][case][..., :2], grid)}
    for name in ("coarse solver", *ORDER):
        if name in drawn:
            field = flows.vorticity(drawn[name]["prediction"][case][..., :2], grid)
            fields[name] = np.where(drawn[name]["diverged"][case][:, None, None], np.nan, field)
    return fields


def _limit(field: np.ndarray) -> float:
    return float(np.percentile(np.abs(field), CLIP)) or 1.0


def _aspect(system):
    return system.domain.shape[1] / system.domain.shape[0]


def _panel(ax, field, limit, system):
    """A field [y, x] as an image, y upwards, the body on it, and the label of one that diverged.

    Vorticity lives in corners: the centre of cell (j, i) is half a pixel before corner (j, i).
    """
    image = ax.imshow(field, cmap=MAP, vmin=-limit, vmax=limit, origin="lower")
    mask = system.domain.mask
    if mask is not None and not mask.all():
        y, x = (np.arange(n) - 0.5 for n in mask.shape)
        ax.contourf(x, y, ~mask, levels=[0.5, 1.5], colors=["0.25"])
        rows, columns = field.shape
        ax.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
    ax.set(xticks=[], yticks=[])
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": 8}
    return image, ax.text(0.5, 0.5, "diverged", visible=np.isnan(field).all(), **place)


def _mean_spectrum(w: np.ndarray, lost: np.ndarray | None = None) -> np.ndarray:
    """flows.spectrum, mean over the frames [case, frame] that are not ``lost``; NaN if none."""
    fine = np.ones(w.shape[:2], bool) if lost is None else ~lost
    shells = flows.spectrum(np.zeros((1, *w.shape[2:])))[0]
    return flows.spectrum(w[fine]).mean(0) if fine.any() else np.full_like(shells, np.nan)
