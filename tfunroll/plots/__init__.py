"""Pictures of a run, from its saved results alone.

Every line, bar and panel is told apart by more than its colour: markers, dashes, hatches and a
palette for colour-blind readers (Okabe & Ito). Fields use maps of monotone lightness, so that grey
prints keep their order; signed fields of flows a diverging one, symmetric about zero.
"""

import itertools
import pathlib
import re
from collections.abc import Mapping

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tfunroll.evaluation.results import model_order
from tfunroll.plots import channels, curved, flows
from tfunroll.plots.curves import curves
from tfunroll.plots.ensembles import ensembles
from tfunroll.plots.forces import forces
from tfunroll.plots.rollouts import rollouts, spectra
from tfunroll.plots.style import STYLES, TITLES, Samples, finish, metadata
from tfunroll.plots.training import training
from tfunroll.systems.base import System

__all__ = ["plot_run"]


def plot_run(
    out_dir,
    summary: pd.DataFrame,
    samples: Samples,
    system: System,
    settings: Mapping[str, object],
    histories: Mapping[tuple[str, int], pd.DataFrame] | None = None,
) -> list[pathlib.Path]:
    """Writes the pictures of a run; returns their paths.

    All systems: curves, and ``System.figures``; ensembles where there are some. One dimension:
    rollouts over space and time, of each channel, spectra. Two, in general: each channel of a case
    per test set, rollout.gif. Flows: vorticity of a case per test set, evolution, rollout.gif, and
    spectra of periodic ones. Curved grids: fields, values along the body, rollout.gif. Bodies:
    forces. PNG and PDF but for the animation.

    Args:
      out_dir: an existing folder.
      summary: of results.summarise; modalities that are missing are left out.
      samples: (modality, seed) -> Evaluation.samples; of each modality the lowest seed is drawn.
      system: says which of these, and names and scales them.
      settings: of the evaluation: "horizon", "long_horizon", and what else the files are to say.
      histories: (modality or "shared", seed) -> records.read_history, drawn as "training".
    """
    out, figures = pathlib.Path(out_dir), {"curves": curves(summary, system, settings)}
    if histories:
        figures["training"] = training(histories)
    order = model_order(modality for modality, _ in samples)
    drawn = {m: samples[min(key for key in samples if key[0] == m)] for m in order}
    if several := {name: s for name, s in drawn.items() if "members_at_point" in s}:
        figures["ensembles"] = ensembles(several, summary, system, settings)
        # a mean of members is no state of a flow; a network's own rollouts are drawn
        drawn = {name: s for name, s in drawn.items() if name in STYLES or name not in several}
    paths = []
    if drawn and system.flow:
        sets = dict.fromkeys(next(iter(drawn.values()))["test_set"])
        for name in sets:
            figures[f"vorticity_{TITLES.get(name, name)}"] = flows.vorticity(drawn, system, name)
        figures |= {
            "evolution": flows.evolution(drawn, system),
        }
        if all(system.flow.periodic):
            figures["spectra"] = flows.spectra(drawn, system)
        paths.append(out / "rollout.gif")
        flows.animate(drawn, system, next(iter(sets)), paths[-1])
    elif drawn and system.pictures:
        sets = dict.fromkeys(next(iter(drawn.values()))["test_set"])
        for name in sets:
            for label in system.pictures.fields:
                slug = f"{label.split()[0].lower()}_{TITLES.get(name, name)}"
                figures[slug] = curved.field(drawn, system, label, name)
        figures["surface"] = curved.surface(drawn, system)
        paths.append(out / "rollout.gif")
        curved.animate(drawn, system, next(iter(sets)), paths[-1])
    elif drawn:
        if system.domain.boundary[-1] == ("periodic", "periodic"):
            figures["spectra"] = spectra(drawn, system)
        sets = list(dict.fromkeys(next(iter(drawn.values()))["test_set"]))
        if len(system.domain.shape) == 1:
            for k, channel in enumerate(system.channels):
                slug = f"_{_slug(channel)}" if len(system.channels) > 1 else ""
                figures[f"rollouts{slug}"] = rollouts(drawn, system, k)
        elif len(system.domain.shape) == 2:
            for name, channel in itertools.product(sets, system.channels):
                slug = f"field_{_slug(channel)}_{TITLES.get(name, name)}"
                figures[slug] = channels.field(drawn, system, channel, name)
            paths.append(out / "rollout.gif")
            channels.animate(drawn, system, system.channels[0], sets[0], paths[-1])
    with_forces = {name: s for name, s in drawn.items() if "reference_forces" in s}
    if with_forces:
        figures["forces"] = forces(with_forces, system)
    if drawn:
        figures |= {name: make(drawn, system) for name, make in system.figures.items()}
    for name, figure in figures.items():
        FigureCanvasAgg(figure)
        finish(figure)
        for suffix, dpi in ((".png", 130), (".pdf", 200)):
            paths.append(out / f"{name}{suffix}")
            figure.savefig(paths[-1], dpi=dpi, metadata=metadata(suffix, settings))
            figure.set_layout_engine("none")  # laid out once; the second file keeps the places
    return paths


def _slug(name: str) -> str:
    """A channel's name as part of a file's."""
    return re.sub(r"\W+", "_", name).strip("_") or "channel"
