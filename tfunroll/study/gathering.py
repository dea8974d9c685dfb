"""Gathers a study: one table, one summary, figures and findings, from saved results alone."""

import pathlib
from collections.abc import Sequence

from tfunroll.evaluation import results
from tfunroll.runs import running as runs
from tfunroll.study import analyses, figures, findings, folder, publishing
from tfunroll.study.collection import collect, progress, table

PICTURES = ("*.png", "*.gif")


def gather(outs: Sequence[pathlib.Path], docs: str = "") -> str:
    """Writes results.csv, summary.csv, figures and findings.md of each study's folder.

    Args:
      docs: a folder whose findings.md, summaries and figures of these studies are renewed.
    Returns:
      the tables and the paths of what was written, as text.
    Raises:
      InputError: for a folder that is no study's or holds no results yet.
    """
    texts, all_findings = [], []
    for out in outs:
        gathered = collect(out)
        results.write_csv(gathered.table, out / "results.csv")
        results.write_csv(gathered.summary, out / "summary.csv")
        for run_id in gathered.labels:
            _picture(folder.run_folder(out, run_id))
        paths = figures.draw(gathered)
        found = analyses.analyse(gathered)
        all_findings.append((gathered, found))
        page = f"{findings.HEAD}\n\n{findings.section(gathered, found)}\n"
        (out / "findings.md").write_text(page, encoding="utf-8")
        written = [out / "results.csv", out / "summary.csv", out / "findings.md", *paths]
        lines = "\n".join(f"  {path}" for path in written)
        texts.append(f"{table(gathered)}\n\n{progress(gathered)}\n\nwritten:\n{lines}")
    if docs:
        texts.append(f"written:\n  {publishing.publish(all_findings, pathlib.Path(docs))}")
    return "\n\n".join(texts)


def _picture(path: pathlib.Path) -> None:
    """Draws a run's own figures, unless they are newer than its results."""
    drawn = [p.stat().st_mtime for pattern in PICTURES for p in path.glob(pattern)]
    newest = max(p.stat().st_mtime for p in path.rglob("results.csv") if p.parent != path)
    if (path / "config.json").exists() and (not drawn or min(drawn) < newest):
        runs.gather(path)
