"""Runs a study, or a part of it: all runs' tasks side by side, under one progress bar."""

import contextlib
import pathlib
from collections.abc import Sequence
from dataclasses import replace

from tfunroll import failures, workers
from tfunroll.core import InputError
from tfunroll.files import check_writable, write_json
from tfunroll.runs import running as runs
from tfunroll.runs.environment import describe_environment
from tfunroll.runs.folder import InUseError
from tfunroll.study import folder
from tfunroll.study.costs import operations
from tfunroll.study.description import Study, chosen


def run(
    study: Study,
    out: pathlib.Path,
    part: str = "",
    only: str = "",
    count: int = 0,
    data_dir: str = "",
) -> dict[str, dict[str, str]]:
    """Runs what is left of a study; what was killed goes on, what is finished is skipped.

    Args:
      out: folder of the study; several processes with different parts may share it.
      part: a shard, "i/n"; all if empty.
      only: ids of runs, a comma list; all if empty.
      count: processes side by side; one per core if 0.
      data_dir: see RunConfig.
    Returns:
      what failed: {run id: {task: reason}}. The others are not stopped by it.
    Raises:
      InputError: see description.shard and folder.claim.
      InterruptedRunError: see workers.run_tasks.
    """
    selected = chosen(study, part, only)
    check_writable(str(out))
    folder.claim(study, out)
    left, failed = {}, {}
    for run_id in selected:
        path = folder.run_folder(out, run_id)
        config = study.config(run_id, out=str(path), resume=True, data_dir=data_dir).resolved()
        if not runs.complete(config):
            left[run_id] = replace(config, workers=count)
    done = len(selected) - len(left)
    print(f"{study.title} ({study.variant}): {done} of {len(selected)} runs are done", flush=True)
    if not left:
        return failed
    print(describe_environment(next(iter(left.values()))), flush=True)
    with contextlib.ExitStack() as stack:
        work = {}
        for run_id, config in left.items():
            try:
                runs.check_ready(config)
                work[run_id] = stack.enter_context(runs.prepared(config))
            except InputError as error:  # data that does not fit, a folder in use: not the others'
                failed[run_id] = {"start": str(error)}
                if not isinstance(error, InUseError):  # else it is the other process's to note
                    _note(folder.run_folder(out, run_id) / folder.FAILED, failed[run_id])
        outcome = _run_tasks(list(work.items()), left)
        for run_id in work:
            bad = {
                name.removeprefix(f"{run_id} "): why
                for name, why in failures.reasons(outcome).items()
                if name.startswith(f"{run_id} ")
            }
            if bad:
                failed[run_id] = bad
            else:
                runs.forget_shared_events(left[run_id])
            _note(folder.run_folder(out, run_id) / folder.FAILED, failed.get(run_id))
    return failed


def report(failed: dict[str, dict[str, str]]) -> str:
    """What failed, a line for each reason in a run."""
    lines = []
    for run_id, tasks in failed.items():
        for why, where in failures.by_reason(tasks).items():
            more = f" and {len(where) - 1} more" if len(where) > 1 else ""
            lines.append(f"  {run_id} ({where[0]}{more}): {why}")
    return "\n".join([f"failed: {len(failed)} runs", *lines]) if lines else ""


def _run_tasks(work: Sequence[tuple[str, runs.Work]], configs) -> dict:
    tasks, total = [], 0.0
    for run_id, its in work:
        weight = _weight(configs[run_id])
        total += its.states * weight
        for task in its.tasks:
            after = tuple(f"{run_id} {name}" for name in task.after)
            tasks.append(replace(task, name=f"{run_id} {task.name}", after=after, weight=weight))
    if not tasks:
        return {}
    networks = sum(len(configs[i].seeds) * len(configs[i].modalities) for i, _ in work)
    count = min(runs.worker_count(configs[work[0][0]], networks), len(tasks))
    locks = [its.lock for _, its in work]
    try:
        return workers.run_tasks(tasks, count, total, "study", locks)
    except workers.InterruptedRunError as error:
        error.args = (error.args[0].replace(error.advice, "the same command goes on"),)
        raise


def _weight(config) -> float:
    """Of a state of this run in the progress bar, so that the time left is not that of the last."""
    try:
        return float(operations(config))
    except InputError:  # it will fail, and is listed then
        return 1.0


def _note(path: pathlib.Path, failed: dict[str, str] | None) -> None:
    """Writes what failed in a run, or removes what was written before."""
    if failed:
        write_json(path, failed)
    else:
        path.unlink(missing_ok=True)
