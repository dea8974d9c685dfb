"""docs/findings.md: all studies on one page, each kept beside its pictures until gathered again."""

import pathlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll.evaluation import results
from tfunroll.files import read_json, write_json
from tfunroll.study import description, findings
from tfunroll.study.analyses import ANALYSES
from tfunroll.study.collection import Gathered

TARGET = "study"  # folder beside findings.md, with one folder per study in it
SECTION, FOUND, NOTES = "section.md", "findings.json", "notes.md"
ESTIMATES = "estimates.json"


class Published(TypedDict):
    """A finding of findings.json, as far as it is read."""

    title: str
    paper: str
    short: str
    verdict: str
    provisional: bool


class Estimate(TypedDict):
    """What a dry run said of a study."""

    hours: float
    unknown: int
    how: str


def publish(
    studies: Sequence[tuple[Gathered, list[findings.Finding]]], docs: pathlib.Path
) -> pathlib.Path:
    """Renews these studies in ``docs``, and the page of all that were ever published there.

    A study's folder holds its section of the page, its findings as JSON, its summary and its
    figures. A file notes.md that a person wrote there is taken into the section.
    """
    for gathered, found in studies:
        target = docs / TARGET / key(gathered.study)
        target.mkdir(parents=True, exist_ok=True)
        whole = gathered.summary[gathered.summary["frame"].isna()]
        results.write_csv(whole[whole["subset"] == "all"], target / "summary.csv")
        for name in dict.fromkeys(f"{f.figure}.png" for f in found if f.figure):
            shutil.copy(gathered.out / name, target / name)
        written = target / NOTES
        note = written.read_text(encoding="utf-8").strip() if written.exists() else ""
        text = findings.section(gathered, found, note)
        (target / SECTION).write_text(f"{text}\n", encoding="utf-8")
        more = {"provisional": bool(findings.unfinished(gathered)), **findings.sources(gathered)}
        write_json(target / FOUND, [{**asdict(f), **more} for f in found])
    path = docs / "findings.md"
    path.write_text(_page(docs / TARGET), encoding="utf-8")
    return path


def key(study: description.Study) -> str:
    """NAME-VARIANT."""
    return f"{study.name}-{study.variant}"


def save_estimate(study: description.Study, docs: str, hours: float, unknown: int, how: str):
    """Keeps a dry run's estimate, of all but ``unknown`` runs, for the list of studies not run."""
    path = pathlib.Path(docs) / TARGET / ESTIMATES
    known = _estimates(path.parent)
    known[key(study)] = {"hours": round(hours, 2), "unknown": unknown, "how": how}
    write_json(path, dict(sorted(known.items())))


def _page(folder: pathlib.Path) -> str:
    keys = [f"{n}-{v}" for n in ANALYSES for v in description.VARIANTS]  # modalities first
    mine = sorted(p.parent.name for p in folder.glob(f"*/{SECTION}"))
    here = [k for k in keys if k in mine] + [k for k in mine if k not in keys]
    parts = [findings.HEAD, _overview(folder, here)]
    for name in here:
        text = (folder / name / SECTION).read_text(encoding="utf-8").strip()
        parts.append(re.sub(r"(!\[[^]]*\]\()", rf"\1{TARGET}/{name}/", text))
    return "\n\n".join([*parts, _not_run(folder, set(here))]) + "\n"


def _overview(folder: pathlib.Path, keys: Sequence[str]) -> str:
    """One row per finding and study, equal findings together."""
    rows = []
    for name in keys:
        for found in read_json(folder / name / FOUND, list[Published]):
            verdict = ("provisional, " if found["provisional"] else "") + found["verdict"]
            rows.append((found["title"], found["paper"], found["short"], verdict, f"`{name}`"))
    titles = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: titles.index(row[0]))
    frame = pd.DataFrame(rows, columns=("finding", "paper", "here", "verdict", "study"))
    repeated = frame["finding"].duplicated()
    frame.loc[repeated, ["finding", "paper"]] = ""
    return f"## At a glance\n\n{frame.to_markdown(index=False)}"


def _estimates(folder: pathlib.Path) -> dict[str, Estimate]:
    path = folder / ESTIMATES
    return read_json(path, dict[str, Estimate]) if path.exists() else {}


def _not_run(folder: pathlib.Path, here: set[str]) -> str:
    """The studies that come with tfunroll and are not on the page, with size and time."""
    times, rows = _estimates(folder), []
    for name in description.names():
        for variant in description.variants(name):
            study = description.load(name, variant)
            if key(study) in here:
                continue
            configs = [study.config(run_id) for run_id in study.runs]
            networks = sum(len(c.seeds) * len(c.modalities) for c in configs)
            time = times.get(key(study))
            hours = f"{60 * time['hours']:.0f} min" if time else "–"
            if time and time["unknown"]:
                hours += f" and {time['unknown']} runs not estimated"
            rows.append((name, variant, len(configs), networks, hours))
    how = "; ".join(dict.fromkeys(t["how"] for t in times.values()))
    head = ("study", "variant", "runs", "networks", "estimated time")
    frame = pd.DataFrame(rows, columns=head)
    return (
        "## Not run yet\n\n"
        "Defined, without results here; those of the variants small and paper were never started. "
        f"Times are of `--dry_run` on two CPU cores ({how or 'none made'}).\n\n"
        f"{frame.to_markdown(index=False)}"
    )
