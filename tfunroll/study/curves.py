"""Curves of a study: errors against a setting, against updates, against unroll step."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from tfunroll import systems
from tfunroll.evaluation.averages import scores
from tfunroll.evaluation.results import ORDER, REFINED
from tfunroll.runs import folder as run_folder
from tfunroll.runs.config import RunConfig
from tfunroll.study import folder, statistics
from tfunroll.training.records import HISTORY, read_history


def longest(config: RunConfig) -> float:
    """The horizon m of the last stage."""
    return float(config.stages()[-1].steps)


def fraction(config: RunConfig) -> float:
    """The solver's part c of the frame; 0 in prediction."""
    if config.mode != "correction":
        return 0.0
    _, options = systems.get(config.system).coarse_options(config.coarse)
    return getattr(options, "fraction", 1.0)


def family(config: RunConfig) -> str:
    """How a horizon was reached."""
    steps = {stage.steps for stage in config.stages()}
    text = "curriculum" if len(steps) > 1 else "direct"
    return f"{text}, cut every {config.cut_every}" if config.cut_every else text


def by_setting(gathered, x: Callable[[RunConfig], float]) -> pd.DataFrame:
    """One row per network: run, modality, seed, x, family, error, diverged, validation,
    num_weights.

    ``error``: geometric mean over test sets of the relative error; ``diverged``: the fraction of
    rollouts that did so within its frames; ``validation``: of training.json.
    """
    errors = statistics.per_seed(gathered.table)
    means = errors.groupby(["run", "modality", "seed"], sort=False)[["score", "diverged"]].mean()
    frame = means.assign(error=np.exp(means.pop("score"))).reset_index()
    frame = frame[frame["modality"].isin(ORDER)]
    configs = {run_id: gathered.study.config(run_id) for run_id in gathered.labels}
    frame["x"] = [x(configs[run_id]) for run_id in frame["run"]]
    frame["family"] = [family(configs[run_id]) for run_id in frame["run"]]
    weights = gathered.table.groupby("run")["num_weights"].max()
    frame["num_weights"] = frame["run"].map(weights)
    trained = gathered.trainings.rename(columns={"validation_error": "validation"})
    keys = ["run", "modality", "seed"]
    return frame.merge(trained[[*keys, "validation"]], on=keys, how="left")


def solver_errors(gathered) -> pd.Series:
    """Sub-steps per frame -> geometric mean relative error of the reference scheme alone."""
    table = gathered.table
    rows = table[(table["kind"] == REFINED) & (table["metric"] == "relative_error")]
    return np.exp(scores(rows, ["substeps"])["score"])


def validation(gathered) -> pd.DataFrame:
    """Validation errors while training: run, modality, seed, update, error; shared stages too."""
    return _events(gathered, ("validation/relative_error",)).drop(columns="tag")


def gradients(gathered) -> pd.DataFrame:
    """Gradient norm by unroll step, last recorded: run, modality, seed, step, norm."""
    events = _events(gathered, tuple(f"gradient_by_step/{k:02d}" for k in range(1, 65)))
    if not len(events):
        return events
    last = events.sort_values("update").groupby(["run", "modality", "seed", "tag"]).tail(1)
    step = last["tag"].str.rsplit("/").str[-1].astype(int)
    return last.assign(step=step).rename(columns={"error": "norm"}).drop(columns="tag")


def stability_labels(gathered) -> dict[str, dict[str, int]]:
    """modality -> how many of the kept rollouts are regular, static, unstable."""
    counts: dict[str, dict[str, int]] = {}
    for run_id in gathered.labels:
        samples = run_folder.samples(folder.run_folder(gathered.out, run_id))
        for (modality, _), arrays in samples.items():
            names, numbers = np.unique(arrays["stability"], return_counts=True)
            mine = counts.setdefault(modality, {})
            for name, number in zip(names, numbers, strict=True):
                mine[str(name)] = mine.get(str(name), 0) + int(number)
    return counts


def _events(gathered, tags: tuple[str, ...]) -> pd.DataFrame:
    """Scalars that the networks of a study recorded while they were trained."""
    frames = []
    for run_id in gathered.labels:
        for path in sorted(folder.run_folder(gathered.out, run_id).glob(f"*/*/{HISTORY}")):
            history = read_history(path.parent).rename(
                columns={"quantity": "tag", "value": "error"}
            )
            modality, seed = path.parent.parent.name, int(path.parent.name)
            labels = {"run": run_id, "modality": modality, "seed": seed}
            frames.append(history[history["tag"].isin(tags)].assign(**labels))
    columns = ["run", "modality", "seed", "tag", "update", "error"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)
