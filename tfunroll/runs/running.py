"""A run: every modality and seed of one configuration trained, evaluated, gathered and plotted."""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll import failures, machine, plots, systems, workers
from tfunroll.core import InputError
from tfunroll.evaluation import results
from tfunroll.evaluation.evaluator import check_fit
from tfunroll.files import check_writable, write_json
from tfunroll.runs import provenance
from tfunroll.runs.config import RunConfig
from tfunroll.runs.environment import describe_environment, environment
from tfunroll.runs.folder import (
    BASELINES,
    ENSEMBLE,
    SHARED,
    check_folder,
    ensemble_folder,
    finished,
    free_folder,
    histories,
    locked,
    network_folder,
    of_models,
    read_config,
    samples,
    start_folder,
    training_outcomes,
    unfinished,
)
from tfunroll.runs.jobs import (
    evaluate_baselines,
    evaluate_ensemble,
    evaluate_network,
    load_data,
    show_results,
    train_networks,
    train_shared,
)
from tfunroll.runs.models import check_start
from tfunroll.runs.plan import Plan

# In a folder: results of an evaluation that is not complete yet, and of one that is and takes the
# place of the old; too deep for gather's globs.
STAGING, READY = ".evaluation/new", ".evaluation/ready"


def run(config: RunConfig) -> str:
    """Trains, evaluates and plots a configuration, or goes on with it.

    Returns:
      the table and the paths of what was written, as text.
    Raises:
      InputError: for a mistake in the configuration, before any work.
      FailedError: if some networks failed; the table of the others is printed before.
      InterruptedRunError: see workers.run_tasks.
    """
    config = config.resolved()
    if config.resume and not (config.out and (pathlib.Path(config.out) / "config.json").exists()):
        raise InputError(
            f"resume: out={config.out!r} holds no run to go on with (no config.json); name the "
            "folder of one, or leave --resume out to begin one"
        )
    if not config.out:
        config = replace(config, out=free_folder(config))
    weights = check_ready(config)
    print(describe_environment(config))
    if config.shared_stages() == len(config.stages()):
        print(f"note: with a horizon of one step {', '.join(config.modalities)} are one network")
    print(f"net {config.net}: {weights:,} weights, initial={config.initial}")
    print(config.describe_stages(), flush=True)
    with prepared(config) as work:
        count = worker_count(config)
        outcome = workers.run_tasks(work.tasks, count, work.states, "training", [work.lock])
        error = failures.error_of(outcome, "--resume tries again")
        if error is None:
            return gather(pathlib.Path(config.out))
        if saved_results(pathlib.Path(config.out)) is not None:
            print(gather(pathlib.Path(config.out)), flush=True)
        raise error


@dataclass(frozen=True)
class Work:
    """What is left to do in a run: its tasks, the states they process, its workers' lock."""

    tasks: list[workers.Task]
    states: int
    lock: pathlib.Path


def check_ready(config: RunConfig) -> int:
    """The number of weights of a run that can start.

    Raises:
      InputError: if it would overwrite another, lacks files, or has an impossible network.
    """
    check_folder(config, pathlib.Path(config.out))
    if config.start_from:
        for seed in config.seeds:
            folder = start_folder(config, seed)
            if not folder.is_dir():
                raise InputError(
                    f"start_from={config.start_from!r} holds no ONE network of seed {seed}"
                )
            check_start(folder, config)
    check_writable(config.out)
    try:
        Plan(config).check_net()
        return Plan(config).net(config.seeds[0]).count_params()
    except tf.errors.ResourceExhaustedError:
        raise InputError(
            f"net={config.net} of width={config.width or config.widths or config.size}, "
            f"depth={config.depth} does not fit into memory; choose a smaller one"
        ) from None


@contextlib.contextmanager
def prepared(config: RunConfig) -> Iterator[Work]:
    """Keeps a resolved configuration's folder for this process; yields what to do there.

    Raises:
      InputError: if another process is at work there, or data and configuration do not fit.
    """
    out = pathlib.Path(config.out)
    with locked(out) as lock:
        _take_over(out)
        check_folder(config, out)  # again: another process may have begun a run there meanwhile
        config = provenance.as_evaluated(config)  # all results of a folder have the same settings
        dataset = load_data(config, report=True)
        _check_fit(config, dataset)
        if not (out / "config.json").exists():
            (out / "flagfile.txt").write_text(config.flagfile())
            write_json(out / "environment.json", {**environment(config), "data": dataset.record()})
            write_json(out / provenance.FILE, provenance.record(config, dataset))
            write_json(out / "config.json", asdict(config))
        yield Work(_training_tasks(config, out), total_states(config), lock)


def complete(config: RunConfig) -> bool:
    """Whether every network of a run is trained and evaluated, and its baselines are too."""
    folders = [network_folder(config, m, seed) for m in config.modalities for seed in config.seeds]
    trained = all(finished(folder) for folder in folders)
    folders.append(pathlib.Path(config.out) / BASELINES)
    if config.ensemble:
        folders += [ensemble_folder(config, modality) for modality in config.modalities]
    return trained and all((folder / "results.csv").exists() for folder in folders)


def evaluate(out: pathlib.Path, into: str = "", **settings) -> str:
    """Evaluates every trained network of a run again, with other settings, and gathers.

    Args:
      into: a new folder for results, tables and figures; the run's stay as they are. Empty: they
        take the place of the run's, all at once.
      settings: any of RunConfig's evaluation fields and ``workers``.
    Raises:
      InputError: for a mistake, before any work. FailedError: if an evaluation failed.
    """
    config = replace(read_config(out), out=str(out), **settings).resolved()
    target = pathlib.Path(into or out)
    if into and any((target / name).exists() for name in ("config.json", provenance.FILE)):
        raise InputError(f"out={into!r} holds a run or an evaluation already; choose another")
    check_writable(str(target))
    with locked(out) as lock:
        dataset = load_data(config, report=True)
        _check_fit(config, dataset)
        staging = target / STAGING
        shutil.rmtree(staging, ignore_errors=True)  # of an evaluation that was killed
        networks = [
            (modality, seed)
            for modality in config.modalities
            for seed in config.seeds
            if finished(network_folder(config, modality, seed))
        ]
        if not networks:
            raise InputError(f"run={str(out)!r} holds no trained network yet")
        tasks = [
            workers.Task(f"{m} {seed}", evaluate_network, (config, m, seed, True, str(staging)))
            for m, seed in networks
        ]
        tasks.append(workers.Task(BASELINES, evaluate_baselines, (config, str(staging))))
        if config.ensemble:
            tasks += _ensemble_tasks(config, networks, str(staging))
        count = worker_count(config)
        outcome = workers.run_tasks(tasks, count, len(tasks), "evaluation", [lock])
        if error := failures.error_of(outcome, "the results before stand"):
            shutil.rmtree(staging.parent, ignore_errors=True)  # there is none if all failed early
            raise error
        record = provenance.record(config, dataset)
        write_json(staging / provenance.FILE, {**record, "run": str(out)} if into else record)
        staging.rename(target / READY)
        _take_over(target)
        for modality, seed in networks if not into else ():
            show_results(config, modality, seed, outcome[f"{modality} {seed}"])
        return gather(target)


def _take_over(out: pathlib.Path) -> None:
    """Puts the results of an evaluation that is complete in the place of the old ones.

    Whenever this is cut short, it is done again before the folder is used.
    """
    ready = out / READY
    if not ready.exists():
        return
    new = ready / provenance.FILE  # the last one to be moved
    if new.exists() and not json.loads(new.read_text(encoding="utf-8")).get("ensemble"):
        for old in out.glob(f"*/{ENSEMBLE}"):
            shutil.rmtree(old)
    for path in sorted(path for path in ready.rglob("*") if path.is_file()):
        new = out / path.relative_to(ready)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.replace(new)
    shutil.rmtree(ready.parent)


def gather(out: pathlib.Path) -> str:
    """Collects a run's saved results into tables and figures; trains and evaluates nothing.

    Args: out: a run's folder, or one that ``evaluate`` was told to write.
    Raises:
      InputError: for another folder, or one without results.
      InUseError: if results of a complete evaluation wait there, which another process moves.
    """
    if (out / READY).exists():
        with locked(out):
            _take_over(out)
    if not (out / provenance.FILE).exists():
        read_config(out)  # says so if this is no run's folder at all
    evaluation = provenance.read(out)
    run_out = pathlib.Path(evaluation.get("run", out))
    config = read_config(run_out)
    table = saved_results(out)
    if table is None:
        raise InputError(f"run={str(out)!r} holds no results yet; scripts/evaluate.py makes them")
    summary = results.summarise(table)
    results.write_csv(table, out / "results.csv")
    results.write_csv(summary, out / "summary.csv")
    system, recorded = systems.get(config.system), histories(run_out)
    figures = plots.plot_run(out, summary, samples(out), system, evaluation, recorded)
    trained = {modality: [] for modality in config.modalities}
    for (modality, _), outcome in training_outcomes(run_out).items():
        if modality in trained:
            trained[modality].append(outcome["training_loss"])
    losses = {modality: float(np.mean(values)) for modality, values in trained.items() if values}
    text = results.format_table(summary, evaluation, training_loss=losses)
    if lacking := unfinished(config, run_out):
        text += f"\n\nnot trained to their end, so not in this table: {', '.join(lacking)}"
    written = [out / "results.csv", out / "summary.csv", *figures]
    return text + "\n\nwritten:\n" + "\n".join(f"  {path}" for path in written)


def saved_results(out: pathlib.Path) -> pd.DataFrame | None:
    """The results of all models of a run in one table; None if there are none yet."""
    parts = of_models(out, "results.csv") + sorted(out.glob(f"{BASELINES}/results.csv"))
    if not parts:
        return None
    return pd.concat([results.read_csv(part) for part in parts], ignore_index=True)


def worker_count(config: RunConfig, networks: int = 0) -> int:
    """Processes side by side: one on a GPU, which a single process fills, else one per core.

    Args:
      networks: to train in all; the configuration's if 0.
    """
    if config.workers:
        return config.workers
    if machine.gpus():
        return 1
    networks = networks or len(config.seeds) * len(config.modalities)
    return max(1, min(machine.cores(), networks))


def _training_tasks(config, out):
    shared = config.shared_stages()
    tasks = []
    for seeds in _groups(config):
        name = _name(SHARED, seeds)
        if shared:
            tasks.append(workers.Task(name, train_shared, (config, seeds)))
    for seeds in _groups(config):
        after = (_name(SHARED, seeds),) if shared else ()
        for modality in config.modalities:
            arguments = (config, modality, seeds)
            tasks.append(workers.Task(_name(modality, seeds), train_networks, arguments, after))
    if not (out / BASELINES / "results.csv").exists():
        tasks.append(workers.Task(BASELINES, evaluate_baselines, (config,)))
    if config.ensemble:
        networks = [(modality, seed) for modality in config.modalities for seed in config.seeds]
        for task in _ensemble_tasks(config, networks):
            modality = task.arguments[1]
            after = tuple(_name(modality, seeds) for seeds in _groups(config))
            if not (ensemble_folder(config, modality) / "results.csv").exists():
                tasks.append(replace(task, after=after))
    return tasks


def _ensemble_tasks(config, networks, into="") -> list[workers.Task]:
    """Of the modalities among (modality, seed)s; InputError for one of a single seed."""
    tasks = []
    for modality in dict.fromkeys(modality for modality, _ in networks):
        seeds = [seed for name, seed in networks if name == modality]
        if len(seeds) < 2 and not config.subspace:
            raise InputError(
                f"ensemble: {modality} has one trained network, seed {seeds[0]}; it needs two"
            )
        arguments = (config, modality, seeds, into)
        tasks.append(workers.Task(f"{modality} {ENSEMBLE}", evaluate_ensemble, arguments))
    return tasks


def _groups(config: RunConfig) -> list[tuple[int, ...]]:
    """Seeds that train in one program: all on a GPU, which a small network leaves idle.

    But each climbs a ladder at its own time.
    """
    if machine.gpus() and not (config.ladder or config.automatic):
        return [config.seeds]
    return [(seed,) for seed in config.seeds]


def _name(kind: str, seeds: tuple[int, ...]) -> str:
    return f"{kind} {','.join(map(str, seeds))}"


def total_states(config) -> int:
    """States that all trainings process."""
    schedule = Plan(config).schedule(config.modalities[0])  # as many in every modality
    shared = schedule.first(config.shared_stages()).states if config.shared_stages() else 0
    own = (schedule.states - shared) * len(config.modalities)
    baselines = 1  # counted as one unit
    return len(config.seeds) * (shared + own) + baselines


def _check_fit(config, dataset):
    frames = dataset.splits["train"].states.shape[1]
    longest = max(stage.steps for stage in config.stages())
    if longest >= frames:
        raise InputError(
            f"steps={longest} does not fit training trajectories of {frames} frames; "
            f"allowed: 1 to {frames - 1}"
        )
    system = systems.get(config.system)
    if config.refined and system.refined is None:
        raise InputError(
            f"refined={','.join(map(str, config.refined))} is not for system={system.name}, which "
            "has no solvers to refine"
        )
    check_fit(system, dataset, Plan(config).settings(dataset), config.ensemble or config.stochastic)
