"""What a study will cost on this device: counted operations times a measured rate."""

import pathlib
import statistics
import time
from dataclasses import replace

import numpy as np
import tensorflow as tf
from tabulate import tabulate

from tfunroll import data, systems, workers
from tfunroll.core import InputError
from tfunroll.evaluation.flops import flops_per_frame
from tfunroll.runs import running as runs
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.study import folder, publishing
from tfunroll.study.description import Study, chosen
from tfunroll.training.fit import UPDATES_PER_CALL
from tfunroll.training.trainer import Updates

TIMED = 3.0  # seconds in which a rate is measured, unless 100 updates take less
FRAMES = 1000  # of the stand-in data: as drawing from very few windows is slow
HOW = (
    "floating point operations counted from each run's graph, times the time per operation of a "
    "compiled WIG update, measured once per system, mode and architecture at its run of median "
    "size; with compilation, without evaluation"
)


def estimate(
    study: Study, out: pathlib.Path, part="", only="", count: int = 0, docs: str = ""
) -> str:
    """Runs, networks, updates and estimated time of a study, as text; runs nothing of it.

    Args:
      out, part, only, count: as of ``execution.run``; what is finished in ``out`` costs nothing.
      docs: keeps the hours there for findings.md.
    """
    selected = chosen(study, part, only)
    configs = {run_id: study.config(run_id).resolved() for run_id in selected}
    first = next(iter(configs.values()))
    networks = {i: len(c.seeds) * len(c.modalities) for i, c in configs.items()}
    count = count or runs.worker_count(first, sum(networks.values()))
    kinds: dict[tuple[str, str, str], dict[str, int]] = {}
    unknown = {}
    for run_id, config in configs.items():
        try:
            kind = (config.system, config.mode, config.net)
            kinds.setdefault(kind, {})[run_id] = operations(config)
        except InputError as error:
            unknown[run_id] = str(error)
    tasks = []
    for kind, ops in kinds.items():
        middle = statistics.median_low(sorted(ops.values()))
        run_id = next(i for i, n in ops.items() if n == middle)
        tasks.append(workers.Task(" ".join(kind), measure, (configs[run_id],)))
    # As many processes as the study will have, so that they disturb each other as much.
    measured = workers.run_tasks(tasks, count, len(tasks), "timing") if tasks else {}
    rows, total, left, total_updates = [], 0.0, 0.0, 0
    for run_id, config in configs.items():
        kind = (config.system, config.mode, config.net)
        outcome = measured.get(" ".join(kind)) if run_id not in unknown else None
        if isinstance(outcome, Exception):
            unknown[run_id] = " ".join(str(outcome).split())[:100]
        state = folder.state(study, out, run_id) if (out / "study.json").exists() else "not run"
        updates = _updates(config)
        total_updates += updates
        shown = "?"
        if run_id not in unknown:
            per_operation, compiling = outcome
            ops = kinds[kind][run_id]
            cost = runs.total_states(config) * ops * per_operation / count + compiling
            total += cost
            left += cost if state != "finished" else 0
            shown = _duration(cost)
        rows.append((run_id, networks[run_id], updates, shown, state))
    text = tabulate(rows, ("run", "networks", "updates", "time", "state"))
    side = f"with {count} processes side by side" if count > 1 else "in one process"
    text += (
        f"\n\n{len(rows)} runs, {sum(networks.values())} networks, {total_updates:,} updates; "
        f"about {_duration(left)} left, {side}\n"
        f"estimated from {HOW}"
    )
    for run_id, why in unknown.items():
        text += f"\nnot estimated: {run_id}: {why}"
    if docs and not part and not only:
        publishing.save_estimate(study, docs, total / 3600, len(unknown), HOW)
    return text


def operations(config: RunConfig) -> int:
    """Floating point operations of a step of the network and its solver, for one sample."""
    trajectories = _stand_in(config).splits["train"]
    plan = Plan(config)
    stepper = plan.stepper(plan.net(config.seeds[0]))
    state = tf.constant(trajectories.states[:1, 0])
    params = {name: tf.constant(values[:1]) for name, values in trajectories.params.items()}
    return flops_per_frame(stepper, params, state)


def measure(config: RunConfig) -> tuple[float, float]:
    """Seconds per counted operation of a WIG update of the longest horizon, and per run to compile.

    Compilation is counted three times: ONE, NOG and WIG have graphs of their own.
    """
    seconds, compiling = time_of_update(config, "WIG")
    workers.report(1)
    longest = max(stage.steps for stage in config.stages())
    return seconds / (config.batch_size * longest * operations(config)), 3 * compiling


def time_of_update(config: RunConfig, modality: str) -> tuple[float, float]:
    """Seconds of an update in the stage of the longest horizon, and of its compilation."""
    plan, dataset = Plan(config), _stand_in(config)
    longest = max(plan.schedule("WIG").stages, key=lambda stage: stage.unrolling.steps)
    number = plan.schedule("WIG").stages.index(longest)
    # a rate so small that the weights stay, whatever the stand-in data would make of them
    stage = replace(plan.schedule(modality).stages[number], rate=1e-30)
    began = time.monotonic()
    updates = Updates(plan.trainer(dataset), stage)

    def run(length):
        before = int(updates.carry["update"])
        updates(length)
        return int(updates.carry["update"]) - before

    run(1)
    compiling = time.monotonic() - began
    length, seconds, done = 1, 0.0, 1
    while seconds < TIMED:
        began = time.monotonic()
        done = run(length)
        seconds = time.monotonic() - began
        if length == UPDATES_PER_CALL:
            break
        length = min(4 * length, UPDATES_PER_CALL)
    return seconds / done, compiling


def _stand_in(config: RunConfig) -> data.Dataset:
    """Data of the right shapes, made at once: an initial state that does not move.

    Raises: InputError: a user's System that has no initial state.
    """
    system = systems.get(config.system)
    if system.initial_state is None:
        raise InputError(f"system {system.name} has no initial_state, which an estimate needs")
    ranges = system.params
    middles = [(r.low + r.high) / 2 for r in ranges.values()]
    values = np.asarray(system.splits.get("train", middles[:1])[:2], float)
    params = {
        name: values if i == 0 else np.full_like(values, middle)
        for i, (name, middle) in enumerate(zip(ranges, middles, strict=True))
    }
    states = np.asarray(system.initial_state(params, 0), np.float32)
    frames = np.repeat(states[:, None], FRAMES, axis=1)
    small = {name: v.astype(np.float32) for name, v in params.items()}
    names = tuple(str(i) for i in range(len(values)))
    split = data.Trajectories(frames, small, names, np.zeros(len(values), np.float32), {})
    return data.Dataset("stand-in", "", {"train": split, "validation": split}, 1.0, "")


def _updates(config: RunConfig) -> int:
    """Updates of all networks of a run; shared stages count once per seed."""
    shared = sum(stage.updates for stage in config.stages()[: config.shared_stages()])
    own = (config.in_all() - shared) * len(config.modalities)
    return len(config.seeds) * (own + shared)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
