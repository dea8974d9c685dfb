"""evaluate: steppers rolled out over test data, beside baselines; tables and pictures of them."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfunroll import plots
from tfunroll.core import InputError, Solver, Stepper
from tfunroll.data import Dataset, Split
from tfunroll.evaluation import results
from tfunroll.evaluation.evaluator import Evaluator, Persistence, Settings
from tfunroll.stepping.ensembles import Ensemble
from tfunroll.systems import System
from tfunroll.systems.base import TEST_SPLITS


@dataclass(frozen=True)
class Comparison:
    """What evaluations came to; they add up: ``evaluate(a, data) + evaluate(b, data)``.

    Attributes:
      results: one value a row, with results.COLUMNS and a column "params.NAME" per parameter.
      samples: (name, seed) -> arrays of some cases, such as "reference" and "prediction" [case,
        frame, *space, channel], for pictures.
      system, settings: of the evaluation.
    """

    results: pd.DataFrame
    samples: Mapping[tuple[str, int], dict[str, np.ndarray]]
    system: System
    settings: Mapping[str, object]

    def __add__(self, other: "Comparison") -> "Comparison":
        if other.system.name != self.system.name or other.settings != self.settings:
            raise InputError("evaluations add up where system, test data and settings are the same")
        mine, theirs = self.results, other.results
        known = theirs.set_index(["modality", "seed"]).index.isin(list(self.samples))
        network = theirs["kind"] == results.NETWORK
        for name, seed in theirs[known & network][["modality", "seed"]].values[:1]:
            raise InputError(
                f"name={name!r} with seed={seed} is in both evaluations; give evaluate "
                "another name, or the seed of another network"
            )
        names = pd.concat([mine, theirs[network]]).groupby("modality")["net"].unique()
        for name, nets in names[names.map(len) > 1].items():
            raise InputError(
                f"name={name!r} stands for different networks, {' and '.join(nets)}; give evaluate "
                "a name for each"
            )
        both = pd.concat([mine, theirs[~known]], ignore_index=True)  # each baseline once
        return Comparison(both, {**self.samples, **other.samples}, self.system, self.settings)

    @property
    def summary(self) -> pd.DataFrame:
        """Averages per model, test set, metric and frame: see results.summarise."""
        return results.summarise(self.results)

    def __str__(self) -> str:
        return results.format_table(self.summary, self.settings)

    def plot(self, folder: str | pathlib.Path = ".") -> list[pathlib.Path]:
        """Writes results.csv, summary.csv and the system's pictures; returns the pictures."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        results.write_csv(self.results, folder / "results.csv")
        results.write_csv(self.summary, folder / "summary.csv")
        return plots.plot_run(folder, self.summary, self.samples, self.system, self.settings)


def evaluate(
    stepper: Stepper,
    data: Dataset | Split,
    *,
    name: str = "",
    seed: int = 0,
    against: Sequence[str] = ("persistence", "solver"),
    horizon: int | None = None,
    long_horizon: int | None = None,
    starts: int = 2,
    metrics: Sequence[str] = (),
    jit: bool = True,
) -> Comparison:
    """Rolls a stepper out over test data and measures it, beside what any network has to beat.

    Args:
      stepper: with its trained network, an Ensemble, or a solver.
      data: a dataset, for all its test sets, or one of them, such as data.test_extrapolation.
      name: in tables and legends, such as "WIG"; by default that of the network or solver.
      seed: of the network; several of one name are averaged.
      against: baselines: "persistence", and "solver", the one that the stepper corrects.
      horizon, long_horizon: frames of the error metrics, and of times and curves; the system's if
        None, long_horizon as long as the data allow.
      starts: start frames per test trajectory.
      metrics: names, with a region as in "mse@near"; the system's if empty.
      jit: compile by XLA.
    Raises:
      InputError: for data without system or test set, unknown metrics, horizons that do not fit.
    """
    if isinstance(data, Split):
        dataset, sets = data.dataset, (data.name,)
    else:
        dataset = data
        sets = tuple(name for name in TEST_SPLITS if name in dataset.splits) or ("validation",)
    system = dataset.system
    if system is None:
        raise InputError("data: a Dataset without its system; load it by data.load or data.of")
    for choice in against:
        if choice not in ("persistence", "solver"):
            raise InputError(f"against={choice!r} is unknown; allowed: persistence, solver")
    frames = min(dataset.splits[name].states.shape[1] for name in sets)
    if horizon is None:
        horizon = max(1, min(system.horizon, frames - starts))
    if long_horizon is None:
        long_horizon = max(horizon, min(system.long_horizon, frames - starts))
    defined = tuple(
        m for m in system.metrics if m != "physics_residual" or dataset.on_reference_grid
    )
    ensemble = isinstance(stepper, Ensemble)
    net = stepper.nets[0] if ensemble else getattr(stepper, "net", None)
    dtype = net.variable_dtype if net is not None else "float32"
    settings = Settings(horizon, long_horizon, starts, tuple(metrics) or defined, sets, dtype, jit)
    label = name or (_name(net) if net is not None else type(stepper).__name__)
    if ensemble and not name:
        label = f"{label}, {stepper.count} members"
    models = [(label, results.ENSEMBLE if ensemble else results.NETWORK, stepper)]
    if "persistence" in against:
        models.append((results.PERSISTENCE, results.PERSISTENCE, Persistence()))
    solver = getattr(stepper, "solver", None)
    if "solver" in against and solver is not None:
        models.append((results.COARSE, results.COARSE, solver))
    tables, samples = [], {}
    for modality, kind, model in models:
        refinement = substeps = 0
        if isinstance(model, Solver):
            refinement, substeps = model.refinement, round(model.frame_time / model.dt)
        labels = {
            **dict.fromkeys(("run_id", "mode", "correction"), ""),
            "net": _name(net) if net is not None else "",
            "modality": modality,
            "steps": 1,
            "seed": seed if kind == results.NETWORK else 0,
            "kind": kind,
            "refinement": refinement,
            "substeps": substeps,
        }
        if net is not None:
            labels["num_weights"] = net.count_params()
        own = settings
        if kind not in (results.NETWORK, results.ENSEMBLE):
            own = settings.of_one()
        evaluation = Evaluator(model, system, dataset, own).run(labels)
        tables.append(evaluation.results)
        samples[modality, labels["seed"]] = evaluation.samples
    of_plots = {"horizon": horizon, "long_horizon": long_horizon, "test_sets": list(sets)}
    return Comparison(pd.concat(tables, ignore_index=True), samples, system, of_plots)


def _name(net) -> str:
    """A network's name, without the number that Keras puts behind its class's: the same network
    made again, "functional_1", is another training of it, not another network."""
    stem, _, number = net.name.rpartition("_")
    given_by_keras = stem.replace("_", "") == type(net).__name__.lower()
    return stem if given_by_keras and number.isdecimal() else net.name
