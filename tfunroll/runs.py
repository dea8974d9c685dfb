"""A run: every modality and seed of one configuration trained, evaluated, gathered and plotted."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll import plots, results, systems, workers
from tfunroll.config import RunConfig
from tfunroll.core import InputError
from tfunroll.environment import describe_environment, environment
from tfunroll.evaluation import check_fit
from tfunroll.files import check_writable, write_json
from tfunroll.jobs import (
    evaluate_baselines,
    evaluate_network,
    load_data,
    settings_of,
    train_network,
    train_shared,
)
from tfunroll.models import build_net, check_start
from tfunroll.run_folder import (
    BASELINES,
    SHARED,
    check_folder,
    finished,
    free_folder,
    histories,
    locked,
    network_folder,
    read_config,
    samples,
    start_checkpoints,
    training_outcomes,
)

# In a run's folder: results of an evaluation that is not complete yet; too deep for gather's globs.
STAGING = ".evaluation/new"


def run(config: RunConfig) -> str:
    """Trains, evaluates and plots a configuration, or goes on with it.

    Returns:
      the table and the paths of what was written, as text.
    Raises:
      InputError: for a mistake in the configuration, before any work.
    """
    config = config.resolved()
    if not config.out:
        config = replace(config, out=free_folder(config))
    weights = check_ready(config)
    print(describe_environment(config))
    print(f"net {config.net}: {weights:,} weights, initial={config.initial}")
    print(config.describe_stages(), flush=True)
    with prepared(config) as work:
        count = worker_count(config)
        outcome = workers.run_tasks(work.tasks, count, work.states, "training", [work.lock])
        _raise_or_list_failures(outcome)
        return gather(pathlib.Path(config.out))


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
            if not start_checkpoints(config, seed).is_dir():
                raise InputError(
                    f"start_from={config.start_from!r} holds no ONE network of seed {seed}"
                )
            check_start(start_checkpoints(config, seed).parent, config)
    check_writable(config.out)
    return build_net(config, config.seeds[0]).count_params()


@contextlib.contextmanager
def prepared(config: RunConfig) -> Iterator[Work]:
    """Keeps a resolved configuration's folder for this process; yields what to do there.

    Raises:
      InputError: if another process is at work there, or data and configuration do not fit.
    """
    out = pathlib.Path(config.out)
    with locked(out) as lock:
        dataset = load_data(config, report=True)
        _check_fit(config, dataset)
        if not (out / "config.json").exists():
            (out / "flagfile.txt").write_text(config.flagfile())
            write_json(out / "environment.json", environment(config))
            write_json(out / "config.json", asdict(config))
        yield Work(_training_tasks(config, out), total_states(config), lock)


def complete(config: RunConfig) -> bool:
    """Whether every network of a run is trained and evaluated, and its baselines are too."""
    folders = [network_folder(config, m, seed) for m in config.modalities for seed in config.seeds]
    trained = all(finished(folder) for folder in folders)
    folders.append(pathlib.Path(config.out) / BASELINES)
    return trained and all((folder / "results.csv").exists() for folder in folders)


def evaluate(out: pathlib.Path, **settings) -> str:
    """Evaluates every trained network of a run again, with other settings, and gathers.

    Args:
      settings: any of RunConfig's evaluation fields and ``workers``.
    """
    config = replace(read_config(out), out=str(out), **settings).resolved()
    check_writable(config.out)
    with locked(out) as lock:
        dataset = load_data(config, report=True)
        _check_fit(config, dataset)
        staging = out / STAGING
        shutil.rmtree(staging, ignore_errors=True)  # of an evaluation that was killed
        into = str(staging)
        tasks = [
            workers.Task(
                f"{modality} {seed}", evaluate_network, (config, modality, seed, True, into)
            )
            for modality in config.modalities
            for seed in config.seeds
            if finished(network_folder(config, modality, seed))
        ]
        if not tasks:
            raise InputError(f"run={str(out)!r} holds no trained network yet")
        tasks.append(workers.Task(BASELINES, evaluate_baselines, (config, into)))
        count = worker_count(config)
        outcome = workers.run_tasks(tasks, count, len(tasks), "evaluation", [lock])
        _raise_or_list_failures(outcome)
        for path in sorted(staging.rglob("*.*")):  # all at the end: a kill leaves the old ones
            path.replace(out / path.relative_to(staging))
        shutil.rmtree(staging.parent)
        return gather(out)


def gather(out: pathlib.Path) -> str:
    """Collects a run's saved results into tables and figures; trains and evaluates nothing."""
    config = read_config(out)
    table = saved_results(out)
    if table is None:
        raise InputError(f"run={str(out)!r} holds no results yet; scripts/evaluate.py makes them")
    summary = results.summarise(table)
    results.write_csv(table, out / "results.csv")
    results.write_csv(summary, out / "summary.csv")
    figures = plots.plot_run(out, table, samples(out), systems.get(config.system), histories(out))
    losses = {
        modality: float(np.mean([outcome["training_loss"] for outcome in outcomes]))
        for modality in config.modalities
        if (outcomes := training_outcomes(out, modality))
    }
    text = results.format_table(summary, training_loss=losses)
    written = [out / "results.csv", out / "summary.csv", *figures]
    return text + "\n\nwritten:\n" + "\n".join(f"  {path}" for path in written)


def saved_results(out: pathlib.Path) -> pd.DataFrame | None:
    """The results of all models of a run in one table; None if there are none yet."""
    parts = sorted(out.glob("*/*/results.csv")) + sorted(out.glob(f"{BASELINES}/results.csv"))
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
    if tf.config.list_physical_devices("GPU"):
        return 1
    networks = networks or len(config.seeds) * len(config.modalities)
    return max(1, min(len(os.sched_getaffinity(0)), networks))


def _training_tasks(config, out):
    shared = config.shared_stages()
    tasks = []
    for seed in config.seeds:
        name = f"{SHARED} {seed}"
        if shared:
            tasks.append(workers.Task(name, train_shared, (config, seed)))
    for seed in config.seeds:
        after = (f"{SHARED} {seed}",) if shared else ()
        for modality in config.modalities:
            task = workers.Task(
                f"{modality} {seed}", train_network, (config, modality, seed), after
            )
            tasks.append(task)
    if not (out / BASELINES / "results.csv").exists():
        tasks.append(workers.Task(BASELINES, evaluate_baselines, (config,)))
    return tasks


def total_states(config) -> int:
    """States that all trainings process."""
    shared, stages = config.shared_stages(), len(config.stages())
    own = config.states(shared, stages) * len(config.modalities)
    baselines = 1  # counted as one unit
    return len(config.seeds) * (config.states(0, shared) + own) + baselines


def _check_fit(config, dataset):
    frames = dataset.splits["train"].states.shape[1]
    longest = max(stage.steps for stage in config.stages())
    if longest >= frames:
        raise InputError(
            f"steps={longest} does not fit training trajectories of {frames} frames; "
            f"allowed: 1 to {frames - 1}"
        )
    check_fit(systems.get(config.system), dataset, settings_of(config, dataset))


def _raise_or_list_failures(outcome):
    failed = {name: r for name, r in outcome.items() if isinstance(r, Exception)}
    for error in failed.values():
        if isinstance(error, InputError):
            raise error
    for name, error in failed.items():
        print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
    if failed and len(failed) == len(outcome):
        raise InputError("no network could be trained; the reasons stand above")
