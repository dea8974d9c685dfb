"""Findings as text: what was claimed, what these runs show, whether both agree, and why not."""

import json
import pathlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tfunroll import results
from tfunroll.files import write_json
from tfunroll.study import description, folder
from tfunroll.study.collection import Gathered, table

PAPER = "List, Chen, Bali & Thuerey (CMAME 433, 2025)"
TARGET = "study"  # folder of pictures and tables beside findings.md
NOTES = "notes.md"
AGREES, PARTLY, DIFFERS, OPEN = "agrees", "agrees in part", "differs", "open"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
      title: what it is about.
      paper: what the paper reports, with its numbers; empty if it reports nothing.
      ours: what these runs show, with spread and p-values.
      verdict: of AGREES, PARTLY, DIFFERS, OPEN (these runs cannot tell).
      why: the evidence for the verdict, above all where it is not AGREES.
      figure: name of a picture of the study without suffix, or "".
    """

    title: str
    paper: str
    ours: str
    verdict: str
    why: str = ""
    figure: str = ""


def page(
    studies: Sequence[tuple[Gathered, list[Finding]]],
    pictures: str = "",
    notes: dict[str, str] | None = None,
) -> str:
    """findings.md of some studies.

    Args:
      notes: by ``key``, what a person has to say of how the runs came about.
      pictures: folder of the pictures, relative to the page; one folder per study in it.
    """
    parts = [
        "# Findings",
        f"What the studies show, beside what {PAPER} report. Made by `scripts/study.py --gather`; "
        "seeds, splits, updates and settings stand in `tfunroll/study/studies/*.toml` and were "
        "fixed before the runs. Ratios are of relative errors, [95 % interval over seeds], p from "
        "a two-sided paired t-test over seeds on log errors.",
    ]
    for gathered, found in studies:
        where = f"{pictures}/{key(gathered)}/" if pictures else ""
        parts.append(_section(gathered, found, where, (notes or {}).get(key(gathered), "")))
    return "\n\n".join(parts) + "\n"


def publish(studies, docs: pathlib.Path) -> pathlib.Path:
    """Writes findings.md into ``docs``, with the studies' summaries and figures below it.

    A file notes.md in a study's folder there is taken into the page.
    """
    notes = {}
    for gathered, found in studies:
        target = docs / TARGET / key(gathered)
        target.mkdir(parents=True, exist_ok=True)
        used = [f"{f.figure}.png" for f in found if f.figure]
        whole = gathered.summary[gathered.summary["frame"].isna()]
        results.write_csv(whole[whole["subset"] == "all"], target / "summary.csv")
        for name in dict.fromkeys(used):
            shutil.copy(gathered.out / name, target / name)
        if (written := target / NOTES).exists():
            notes[key(gathered)] = written.read_text(encoding="utf-8").strip()
    path = docs / "findings.md"
    text = page(studies, TARGET, notes)
    path.write_text(f"{text}\n{_not_run(studies, docs)}", encoding="utf-8")
    return path


def key(gathered: Gathered) -> str:
    """NAME-VARIANT."""
    return f"{gathered.study.name}-{gathered.study.variant}"


def save_estimate(study: description.Study, docs: str, hours: float, unknown: int, how: str):
    """Keeps a dry run's estimate, of all but ``unknown`` runs, for the list of studies not run."""
    path = pathlib.Path(docs) / TARGET / "estimates.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[f"{study.name}-{study.variant}"] = {
        "hours": round(hours, 2),
        "unknown": unknown,
        "how": how,
    }
    write_json(path, dict(sorted(known.items())))


def _section(gathered, found, where, note) -> str:
    study = gathered.study
    done = sum(state == "finished" for state in gathered.states.values())
    lines = [
        f"## {study.title} (`{study.name}`, {study.variant})",
        study.question,
        f"{done} of {len(gathered.states)} runs are finished, by `python scripts/study.py "
        f"--study={study.name} --variant={study.variant}`"
        + ("" if done == len(gathered.states) else " (some by `--run=ID`)")
        + f". {_environment(gathered)}",
        table(gathered, markdown=True),
    ]
    missing = [run_id for run_id, state in gathered.states.items() if state != "finished"]
    if missing:
        listed = ", ".join(f"`{run_id}` ({gathered.states[run_id]})" for run_id in missing)
        lines.append(
            f"Not run yet or not finished: {listed}. **All verdicts below are provisional**: "
            "what is pooled over runs depends on which of them are there, and results were seen "
            "before the matrix was complete, so p-values near 0.05 or pooled ones deserve doubt."
        )
    lines.append(note)
    label = "provisional, {}" if missing else "{}"
    for f in found:
        lines.append(f"### {f.title}")
        rows = [
            ("paper", f.paper),
            ("here", f.ours),
            ("verdict", f"**{label.format(f.verdict)}**. {f.why}"),
        ]
        lines.append("\n".join(f"- {name}: {text}" for name, text in rows if text))
        if f.figure:
            lines.append(f"![{f.title}]({where}{f.figure}.png)")
    return "\n\n".join(line for line in lines if line)


def _environment(gathered) -> str:
    """Device and versions, one sentence per distinct place."""
    places = {}
    for run_id in gathered.labels:
        path = folder.run_folder(gathered.out, run_id) / "environment.json"
        if path.exists():
            e = json.loads(path.read_text(encoding="utf-8"))
            versions = ", ".join(
                f"{k} {e[k]}" for k in ("tfunroll", "tensorflow", "keras", "numpy")
            )
            places[f"{e['device']}; {versions}; python {e['python']}"] = True
    hours = gathered.trainings["seconds"].sum() / 3600 if len(gathered.trainings) else 0
    return f"{' / '.join(places)}. Training took {hours:.1f} process hours."


def _not_run(studies, docs) -> str:
    """The studies that come with tfunroll and are not on the page, with size and time."""
    path = docs / TARGET / "estimates.json"
    times = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    here = {key(gathered) for gathered, _ in studies}
    rows = []
    for name in description.names():
        for variant in description.VARIANTS:
            if f"{name}-{variant}" in here:
                continue
            study = description.load(name, variant)
            configs = [study.config(run_id) for run_id in study.runs]
            networks = sum(len(c.seeds) * len(c.modalities) for c in configs)
            time = times.get(f"{name}-{variant}")
            hours = f"{60 * time['hours']:.0f} min" if time else "–"
            if time and time["unknown"]:
                hours += f" and {time['unknown']} runs not estimated"
            rows.append((name, variant, len(configs), networks, hours))
    how = "; ".join(dict.fromkeys(t["how"] for t in times.values()))
    head = ("study", "variant", "runs", "networks", "estimated time")
    frame = pd.DataFrame(rows, columns=head)
    return (
        "## Not run yet\n\n"
        "Defined, without results here. A slow test starts the KS runs of each mini study with a "
        "few updates; runs of Kolmogorov flow and the variants small and paper were never started. "
        f"Times are of `--dry_run` on two CPU cores that had other work ({how or 'none made'}).\n\n"
        f"{frame.to_markdown(index=False)}\n"
    )
