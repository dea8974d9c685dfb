"""Findings as text: what was claimed, what these runs show, whether both agree, and why not."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from tfunroll.evaluation.averages import MIN_SEEDS, TOO_FEW
from tfunroll.study.collection import Gathered, table

PAPER = "List, Chen, Bali & Thuerey (CMAME 433, 2025)"
HEAD = (
    "# Findings\n\n"
    f"What the studies show, beside what {PAPER} report. Made by `scripts/study.py --gather`; "
    "seeds, splits, updates and settings stand in `tfunroll/study/studies/*.toml` and were "
    "fixed before the runs. Ratios are of relative errors, geometric means over rollouts; one that "
    "diverges counts with the largest error that one that does not can have. [95 % interval over "
    "seeds], p from a two-sided paired t-test over seeds on log errors. Fewer than three seeds "
    "have no verdict. [studies.md](studies.md) says more."
)
AGREES, PARTLY, DIFFERS, OPEN = "agrees", "agrees in part", "differs", "open"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
      title: what it is about.
      paper: what the paper reports, with its numbers; empty if it reports nothing.
      ours: what these runs show, with spread and p-values.
      verdict: of AGREES, PARTLY, DIFFERS, OPEN (these runs cannot tell); TOO_FEW, whatever is
        given, with fewer than MIN_SEEDS seeds.
      why: the evidence for the verdict, above all where it is not AGREES.
      figure: name of a picture of the study without suffix, or "".
      short: ``ours`` in a few numbers, for the overview.
      seeds: the fewest that a number of it rests on.
    """

    title: str
    paper: str
    ours: str
    verdict: str
    why: str = ""
    figure: str = ""
    short: str = ""
    _: KW_ONLY
    seeds: int

    def __post_init__(self):
        if self.seeds < MIN_SEEDS:
            object.__setattr__(self, "verdict", TOO_FEW)


def section(gathered: Gathered, found: Sequence[Finding], note: str = "") -> str:
    """One study's findings, as Markdown; pictures lie beside the text.

    Args:
      note: what a person has to say of how the runs came about.
    """
    study = gathered.study
    done = sum(state == "finished" for state in gathered.states.values())
    lines = [
        f"## {study.title} (`{study.name}`, {study.variant})",
        study.question,
        f"{done} of {len(gathered.states)} runs are finished, by `python scripts/study.py "
        f"--study={study.name} --variant={study.variant}`"
        + ("" if done == len(gathered.states) else " (some by `--run=ID`)")
        + f". {_made_with(gathered)}",
        table(gathered, markdown=True),
    ]
    missing = unfinished(gathered)
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
            lines.append(f"![{f.title}]({f.figure}.png)")
    return "\n\n".join(line for line in lines if line)


def unfinished(gathered: Gathered) -> list[str]:
    """Runs that the findings lack."""
    return [run_id for run_id, state in gathered.states.items() if state != "finished"]


def sources(gathered: Gathered) -> dict[str, list[str]]:
    """What the numbers were made with: "code" (device, precision, versions) and "data" (name,
    version and fingerprint), each place and dataset once."""
    code, data = {}, {}
    for evaluation in gathered.evaluations.values():
        e, d = evaluation["environment"], evaluation["data"]
        own = " ".join(filter(None, (f"tfunroll {e['tfunroll']}", e["commit"])))
        versions = ", ".join(f"{name} {e[name]}" for name in ("tensorflow", "keras", "numpy"))
        code[f"{e['device']}; {e['precision']}; {own}, {versions}; python {e['python']}"] = True
        version = " ".join(filter(None, (f"{d['dataset']}/{d['config']}", d["version"])))
        data[f"{version} ({d['fingerprint']})"] = True
    return {"code": list(code), "data": list(data)}


def _made_with(gathered) -> str:
    made = sources(gathered)
    hours = gathered.trainings["seconds"].sum() / 3600 if len(gathered.trainings) else 0
    return (
        f"{' / '.join(made['code'])}. Data, with fingerprint: {', '.join(made['data'])}. "
        f"Training took {hours:.1f} process hours."
    )
