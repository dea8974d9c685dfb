"""What the runs of a study have saved, in one table and one summary."""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from tfunroll.core import InputError
from tfunroll.evaluation import results
from tfunroll.runs import folder as run_folder
from tfunroll.runs import provenance
from tfunroll.runs import running as runs
from tfunroll.study import folder
from tfunroll.study.description import Study
from tfunroll.user_modules import short_name

SHOWN = (results.NETWORK, results.ENSEMBLE, results.EQUAL_COST)  # in the table


@dataclass(frozen=True)
class Gathered:
    """A study with what was measured so far.

    Attributes:
      out: its folder.
      labels: run id -> a short name for pictures; only of runs with results, in the study's order.
      table: results.COLUMNS and "run", one value a row, of all runs with results.
      summary: results.summarise of each run, with "run", the settings that vary and "fingerprint",
        of the data.
      trainings: one row per network: run, modality, seed, training_loss, validation_error, updates,
        skipped, seconds.
      states: run id -> "finished", "failed", "begun" or "not run".
      evaluations: run id -> provenance.read of its folder.
    """

    study: Study
    out: pathlib.Path
    labels: dict[str, str]
    table: pd.DataFrame
    summary: pd.DataFrame
    trainings: pd.DataFrame
    states: dict[str, str]
    evaluations: dict[str, dict]


def collect(out: pathlib.Path) -> Gathered:
    """Reads what the runs of a study's folder have saved."""
    study = folder.read(out)
    tables, summaries, trainings, evaluations = [], [], [], {}
    varying = [n for n in study.varying() if n not in (*results.COLUMNS, "modalities", "metrics")]
    for run_id in study.runs:
        path = folder.run_folder(out, run_id)
        if (part := runs.saved_results(path)) is None:
            continue
        settings = {name: getattr(study.config(run_id), name) for name in varying}
        evaluations[run_id] = provenance.read(path)
        settings["fingerprint"] = evaluations[run_id]["data"]["fingerprint"]
        tables.append(part.assign(run=run_id))
        summaries.append(results.summarise(part).assign(run=run_id, **settings))
        trainings += _trainings(run_id, path)
    if not tables:
        raise InputError(f"out={str(out)!r} holds no results yet; start its runs first")
    summary = pd.concat(summaries, ignore_index=True)
    summary, table_ = (
        frame[[*first, *(c for c in frame.columns if c not in first)]]
        for frame, first in (
            (summary, ["run", *varying, "fingerprint"]),
            (pd.concat(tables, ignore_index=True), ["run", *results.COLUMNS]),
        )
    )
    states = {run_id: folder.state(study, out, run_id) for run_id in study.runs}
    present = list(dict.fromkeys(table_["run"]))
    labels = _labels(study, present)
    trained = pd.DataFrame(trainings)
    return Gathered(study, out, labels, table_, summary, trained, states, evaluations)


def table(gathered: Gathered, markdown: bool = False) -> str:
    """The study's table: one row per run and trained model, or solver of equal cost.

    Column "frames": those of the errors, and those of times and divergence.
    """
    summary = gathered.summary
    whole = summary[(summary["subset"] == "all") & summary["frame"].isna()]
    sets = results.sets_of(set(whole["test_set"]))
    rows = []
    for run_id, label in gathered.labels.items():
        its = whole[(whole["run"] == run_id) & whole["kind"].isin(SHOWN)]
        settings = gathered.evaluations[run_id]
        frames = f"{settings['horizon']}, {settings['long_horizon']}"
        for modality in results.model_order(its["modality"]):
            model = its[its["modality"] == modality]
            first = {"run": label, "modality": modality, "frames": frames}
            rows.append(first | results.cells(model, sets))
    style = "github" if markdown else "simple"
    return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)


def progress(gathered: Gathered) -> str:
    """How far the study is, and what failed."""
    states = gathered.states
    counts = pd.Series(list(states.values())).value_counts()
    text = f"{len(states)} runs: " + ", ".join(f"{n} {state}" for state, n in counts.items())
    for run_id, state in states.items():
        if state == "failed":
            why = next(iter(folder.failures(gathered.out, run_id).values()))
            text += f"\n  failed: {run_id}: {why}"
    return text


def _trainings(run_id: str, path: pathlib.Path) -> list[dict]:
    rows = []
    for (modality, seed), outcome in run_folder.training_outcomes(path).items():
        values = {k: v for k, v in outcome.items() if k not in ("reasons", "ladder")}
        rows.append({"run": run_id, "modality": modality, "seed": seed, **values})
    return rows


def _labels(study: Study, present: Sequence[str]) -> dict[str, str]:
    """Ids without hash and without the words that all have in common, with settings where these do
    not tell runs of equal modalities apart."""
    words = {run_id: run_id.split("-")[:-1] for run_id in present}
    columns = list(zip(*words.values(), strict=True))
    kept = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    labels = {run_id: " ".join(w[i] for i in kept) for run_id, w in words.items()}
    hidden = {"modalities", "metrics", "horizon", "long_horizon", "mode", "net", "size", "steps"}
    varying = [name for name in study.varying() if name not in hidden]
    configs = {run_id: study.config(run_id) for run_id in present}

    def label(run_id, names):
        more = [f"{n}={v}" for n in names if (v := getattr(configs[run_id], n))]
        return " ".join([labels[run_id], *more]).strip()

    def different(names, alike):
        """Whether these settings, with the modalities that every table shows, tell all apart."""
        return len({(label(r, names), configs[r].modalities) for r in alike}) == len(alike)

    found = {}
    for run_id in present:
        alike = [r for r in present if labels[r] == labels[run_id]]
        names = [n for n in varying if len({getattr(configs[r], n) for r in alike}) > 1]
        short = [n for n in names if n != "curriculum"]  # long: only where nothing else tells
        text = label(run_id, short if different(short, alike) else names)
        found[run_id] = text or ("plain" if len(alike) > 1 else short_name(configs[run_id].net))
    taken: dict[tuple, int] = {}
    for run_id, text in found.items():
        key = (text, configs[run_id].modalities)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] > 1:
            found[run_id] = f"{text} ({taken[key]})"
    return found
