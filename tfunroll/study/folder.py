"""What stands where in a study's folder.

STUDY/study.json                     the description it was started with
STUDY/runs/<id>/                     a run's folder, see tfunroll/run_folder.py
STUDY/runs/<id>/failed.json          what failed there when it was last tried: {task: reason}
STUDY/results.csv, summary.csv, findings.md, *.png, *.pdf    gathered
"""

import json
import pathlib
from dataclasses import asdict, replace

from tfunroll import user_modules
from tfunroll.core import InputError
from tfunroll.files import read_json, write_json
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig, translated
from tfunroll.study.description import Study, fingerprint

FAILED = "failed.json"


def run_folder(out: pathlib.Path, run_id: str) -> pathlib.Path:
    """STUDY/runs/<id>."""
    return out / "runs" / run_id


def claim(study: Study, out: pathlib.Path) -> None:
    """Makes ``out`` the folder of ``study``.

    Raises:
      InputError: if it is another study's, or this one's description was edited since.
    """
    path = out / "study.json"
    content = _content(study)
    if not path.exists():
        write_json(path, content)
        return
    before = read(out)
    if (before.name, before.variant) != (study.name, study.variant):
        raise InputError(
            f"out={str(out)!r} is the folder of another study, {before.name} ({before.variant}); "
            "choose a folder for each"
        )
    if _content(before)["runs"] != content["runs"]:
        gone = [run_id for run_id in before.runs if run_id not in study.runs]
        new = [run_id for run_id in study.runs if run_id not in before.runs]
        changes = [f"{len(ids)} {word} ({ids[0]}, …)" for ids, word in
                   ((gone, "runs are gone"), (new, "runs are new")) if ids]  # fmt: skip
        raise InputError(
            f"study={study.name!r}: its description was edited since out={str(out)!r} was begun: "
            f"{'; '.join(changes) or 'runs are in another order'}; undo that, or choose another out"
        )


def read(out: pathlib.Path) -> Study:
    """The study of a folder, as it was started; InputError if there is none."""
    path = out / "study.json"
    try:
        study = read_json(path, Study)
        runs_ = {run_id: _settings(run_id, values) for run_id, values in study.runs.items()}
    except InputError as error:
        raise InputError(f"out={str(out)!r} is not a study's folder: {error}") from None
    return replace(study, runs=runs_)


def _settings(run_id, values):
    """A run's settings in the types of RunConfig."""
    own = any(user_modules.is_path(str(values.get(name, ""))) for name in ("system", "net"))
    if not own and not run_id.endswith(fingerprint(values)):  # own ones' paths are whole here
        raise InputError(f"settings of run {run_id} were changed: its name is a hash of them")
    known = translated(values)
    config = RunConfig.from_json({"initial": RunConfig.initial} | known, f"run {run_id}")
    if unknown := [name for name in known if not hasattr(config, name)]:
        raise InputError(f"run {run_id}: {unknown[0]!r} is not a setting of a run")
    return {name: getattr(config, name) for name in known}


def failures(out: pathlib.Path, run_id: str) -> dict[str, str]:
    """What failed in a run when it was last tried: {task: reason}."""
    path = run_folder(out, run_id) / FAILED
    return read_json(path, dict[str, str]) if path.exists() else {}


def state(study: Study, out: pathlib.Path, run_id: str) -> str:
    """In a word: "finished", "failed", "begun" or "not run"."""
    folder = run_folder(out, run_id)
    if (folder / FAILED).exists():
        return "failed"
    if not (folder / "config.json").exists():
        return "not run"
    return "finished" if runs.complete(study.config(run_id, out=str(folder))) else "begun"


def _content(study: Study) -> dict:
    return json.loads(json.dumps(asdict(study)))  # tuples become lists, as in the file
