"""A run: every modality and seed of one configuration trained, evaluated, gathered and plotted.

RUN/config.json, flagfile.txt, environment.json    what was asked for, and where it ran
RUN/shared/<seed>/                                 the one-step stages all modalities start from
RUN/<modality>/<seed>/                             checkpoints, tensorboard, model.json,
                                                   training.json, results.csv, samples.npz
RUN/baselines/                                     results.csv, samples.npz
RUN/results.csv, summary.csv, *.png, *.pdf         gathered
"""

import functools
import json
import os
import pathlib
import platform
from dataclasses import asdict, replace

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import tfunroll
from tfunroll import data, plots, results, systems, workers
from tfunroll.config import RunConfig, check_writable
from tfunroll.core import InputError
from tfunroll.evaluation import Evaluator, Settings, baselines, check_fit
from tfunroll.models import save_description
from tfunroll.summaries import Summaries
from tfunroll.training import Job, Trainer

BASELINES = "baselines"
SHARED = "shared"


def run(config: RunConfig) -> str:
    """Trains, evaluates and plots a configuration, or goes on with it.

    Returns:
      the table and the paths of what was written, as text.
    Raises:
      InputError: for a mistake in the configuration, before any work.
    """
    config = config.resolved()
    if not config.out:
        config = replace(config, out=_free_folder(config))
    out = pathlib.Path(config.out)
    _check_folder(config, out)
    _check_start(config)
    check_writable(config.out)
    print(describe_environment(config), flush=True)
    dataset = load_data(config)
    _check_fit(config, dataset)
    if not (out / "config.json").exists():
        (out / "flagfile.txt").write_text(config.flagfile())
        (out / "environment.json").write_text(json.dumps(environment(config), indent=1))
        (out / "config.json").write_text(config.to_json())
    tasks = _training_tasks(config, out)
    outcome = workers.run_tasks(tasks, worker_count(config), _total_states(config), "training")
    _raise_or_list_failures(outcome)
    return gather(out)


def evaluate(out: pathlib.Path, **settings) -> str:
    """Evaluates every trained network of a run again, with other settings, and gathers.

    Args:
      settings: any of RunConfig's evaluation fields and ``workers``.
    """
    config = replace(read_config(out), out=str(out), **settings).resolved()
    check_writable(config.out)
    dataset = load_data(config)
    _check_fit(config, dataset)
    tasks = [
        workers.Task(f"{modality} {seed}", evaluate_network, (config, modality, seed))
        for modality in config.modalities
        for seed in config.seeds
        if (out / modality / str(seed) / "training.json").exists()
    ]
    if not tasks:
        raise InputError(f"run={str(out)!r} holds no trained network yet")
    tasks.append(workers.Task(BASELINES, evaluate_baselines, (config,)))
    outcome = workers.run_tasks(tasks, worker_count(config), len(tasks), "evaluation")
    _raise_or_list_failures(outcome)
    return gather(out)


def gather(out: pathlib.Path) -> str:
    """Collects a run's saved results into tables and figures; trains and evaluates nothing."""
    config = read_config(out)
    parts = sorted(out.glob("*/*/results.csv")) + sorted(out.glob(f"{BASELINES}/results.csv"))
    if not parts:
        raise InputError(f"run={str(out)!r} holds no results yet; scripts/evaluate.py makes them")
    table = pd.concat([results.read_csv(part) for part in parts], ignore_index=True)
    summary = results.summarise(table)
    results.write_csv(table, out / "results.csv")
    results.write_csv(summary, out / "summary.csv")
    figures = plots.plot_run(out, table, _samples(out), systems.get(config.system))
    losses = {
        modality: float(np.mean([t["training_loss"] for t in trained]))
        for modality in config.modalities
        if (trained := _trained(out, modality))
    }
    text = results.format_table(summary, training_loss=losses)
    written = [out / "results.csv", out / "summary.csv", *figures]
    return text + "\n\nwritten:\n" + "\n".join(f"  {path}" for path in written)


def load_data(config: RunConfig) -> data.Dataset:
    """The dataset a configuration names; built first if it does not exist."""
    return data.load(
        systems.get(config.system),
        config.dataset_config,
        data_dir=config.data_dir or None,
        own=config.data or None,
    )


def read_config(out: pathlib.Path) -> RunConfig:
    """The configuration of a run folder; InputError if it is none."""
    try:
        return RunConfig.from_json(json.loads((out / "config.json").read_text()))
    except (OSError, json.JSONDecodeError, TypeError):
        raise InputError(
            f"run={str(out)!r} is not a run folder (no readable config.json)"
        ) from None


# ---------------------------------------------------------------------- tasks of the workers


@functools.lru_cache(maxsize=1)
def _session(config: RunConfig):
    """Data, trainer and evaluator of a configuration: once per process, so graphs are shared."""
    dataset = load_data(config)
    trainer = Trainer(config, dataset)
    evaluator = Evaluator(trainer.stepper, trainer.system, dataset, _settings(config))
    return dataset, trainer, evaluator


def train_shared(config: RunConfig, seed: int) -> None:
    """The leading one-step stages of a seed, from which every modality goes on."""
    _, trainer, _ = _session(config)
    folder = pathlib.Path(config.out) / SHARED / str(seed)
    if _finished(folder):
        return
    summaries = Summaries(folder / "tensorboard")
    job = Job("ONE", seed, 0, config.shared_stages())
    done = trainer.train(
        job,
        folder / "checkpoints",
        weights_from=_start_folder(config, seed),
        summaries=summaries,
        report=workers.report,
    )
    summaries.close()
    _write_json(folder / "training.json", done)


def train_network(config: RunConfig, modality: str, seed: int) -> None:
    """Trains one network to the end of the curriculum and evaluates it."""
    _, trainer, _ = _session(config)
    folder = network_folder(config, modality, seed)
    shared = config.shared_stages()
    if not _finished(folder):
        save_description(folder, config, trainer.features, trainer.net)
        summaries = Summaries(folder / "tensorboard")
        done = trainer.train(
            Job(modality, seed, shared, len(trainer.stages)),
            folder / "checkpoints",
            start=pathlib.Path(config.out) / SHARED / str(seed) / "checkpoints" if shared else None,
            weights_from=None if shared else _start_folder(config, seed),
            summaries=summaries,
            report=workers.report,
        )
        _write_json(folder / "training.json", done)
        metrics = evaluate_network(config, modality, seed, report=False)
        settings = {"modality": modality, "seed": seed, "curriculum": str(trainer.stages)}
        summaries.hyperparameters(settings, metrics, done["updates"])
        summaries.close()
    elif not (folder / "results.csv").exists():
        evaluate_network(config, modality, seed, report=False)


def evaluate_network(
    config: RunConfig, modality: str, seed: int, report: bool = True
) -> dict[str, float]:
    """Rolls one trained network out, writes its results, returns its mean metrics."""
    _, trainer, evaluator = _session(config)
    folder = network_folder(config, modality, seed)
    trainer.load(folder / "checkpoints")
    evaluation = evaluator.run(_labels(config, modality, seed))
    results.write_csv(evaluation.results, folder / "results.csv")
    np.savez_compressed(folder / "samples.npz", **evaluation.samples)
    if report:
        workers.report(1)
    whole = evaluation.results[evaluation.results.frame.isna()]
    return whole.groupby(["metric", "test_set"]).value.mean().rename("/".join).to_dict()


def evaluate_baselines(config: RunConfig) -> None:
    """Persistence, the coarse solver alone and the finer solver of equal cost."""
    dataset, trainer, _ = _session(config)
    folder = pathlib.Path(config.out) / BASELINES
    folder.mkdir(parents=True, exist_ok=True)
    evaluations = baselines(
        trainer.system,
        dataset,
        _settings(config),
        trainer.stepper,
        _labels(config, "", 0),
        config.coarse,
        config.solver_fraction,
    )
    table = pd.concat([e.results for e in evaluations], ignore_index=True)
    results.write_csv(table, folder / "results.csv")
    workers.report(1)


# ---------------------------------------------------------------------- what runs are made of


def network_folder(config: RunConfig, modality: str, seed: int) -> pathlib.Path:
    return pathlib.Path(config.out) / modality / str(seed)


def worker_count(config: RunConfig) -> int:
    """Processes side by side: one on a GPU, which a single process fills, else one per core."""
    if config.workers:
        return config.workers
    if tf.config.list_physical_devices("GPU"):
        return 1
    networks = len(config.seeds) * len(config.modalities)
    return max(1, min(len(os.sched_getaffinity(0)), networks))


def environment(config: RunConfig) -> dict[str, str]:
    """Device, versions and precision, for the record of a run."""
    gpus = [tf.config.experimental.get_device_details(d).get("device_name", "GPU")
            for d in tf.config.list_physical_devices("GPU")]  # fmt: skip
    return {
        "device": ", ".join(gpus) or f"CPU, {len(os.sched_getaffinity(0))} cores",
        "precision": config.precision,
        "tfunroll": tfunroll.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def describe_environment(config: RunConfig) -> str:
    """The environment in one line, which each run prints first."""
    env = environment(config)
    versions = ", ".join(f"{k} {env[k]}" for k in ("tfunroll", "tensorflow", "keras", "numpy"))
    return f"{env['device']}; {env['precision']}; {versions}; python {env['python']}"


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


def _total_states(config) -> float:
    """States all trainings process: each update sees batch × horizon."""
    stages, shared = config.stages(), config.shared_stages()

    def states(modality, part):
        return sum(s.updates * config.batch_size * s.steps for s in part)

    once = states("ONE", stages[:shared])
    rest = sum(states(modality, stages[shared:]) for modality in config.modalities)
    return len(config.seeds) * (once + rest)


def _settings(config):
    return Settings(
        horizon=config.horizon,
        long_horizon=config.long_horizon,
        starts=config.starts,
        metrics=config.metrics,
        dtype=config.precision,
        jit_compile=config.jit != "off",
    )


def _labels(config, modality, seed):
    return {
        "run_id": f"{pathlib.Path(config.out).name}/{modality or BASELINES}/{seed}",
        "mode": config.mode,
        "correction": config.correction if config.mode == "correction" else "",
        "net": config.net,
        "modality": modality,
        "steps": max(stage.steps for stage in config.stages()),
        "seed": seed,
    }


def _samples(out):
    found = {}
    for path in sorted(out.glob("*/*/samples.npz")):
        with np.load(path) as arrays:
            found[path.parent.parent.name, int(path.parent.name)] = dict(arrays)
    return found


def _trained(out, modality):
    return [json.loads(p.read_text()) for p in sorted(out.glob(f"{modality}/*/training.json"))]


def _finished(folder):
    return (folder / "training.json").exists()


def _write_json(path, values):
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values, indent=1))
    temporary.replace(path)


def _start_folder(config, seed):
    """Checkpoints of the ONE network of ``seed`` in --start_from, or None."""
    if not config.start_from:
        return None
    return pathlib.Path(config.start_from) / "ONE" / str(seed) / "checkpoints"


def _check_start(config):
    if config.start_from:
        for seed in config.seeds:
            if not _start_folder(config, seed).is_dir():
                raise InputError(
                    f"start_from={config.start_from!r} holds no ONE network of seed {seed}"
                )


def _check_fit(config, dataset):
    frames = dataset.splits["train"].states.shape[1]
    longest = max(stage.steps for stage in config.stages())
    if longest >= frames:
        raise InputError(
            f"steps={longest} does not fit training trajectories of {frames} frames; "
            f"allowed: 1 to {frames - 1}"
        )
    check_fit(systems.get(config.system), dataset, _settings(config))


def _check_folder(config, out):
    if not (out / "config.json").exists():
        return
    if not config.resume:
        raise InputError(
            f"out={config.out!r} holds a run already; --resume goes on with it, or choose another"
        )
    before, now = asdict(read_config(out)), asdict(config)
    free = {"resume", "workers", "out"}
    changed = [k for k in now if k not in free and before.get(k) != now[k]]
    if changed:
        differences = "; ".join(f"{k} was {before.get(k)}, is {now[k]}" for k in changed)
        raise InputError(f"resume: the run in {config.out!r} has other flags: {differences}")


def _free_folder(config):
    for number in range(1, 10_000):
        folder = pathlib.Path("runs") / f"{config.system}-{config.mode}-{number:03d}"
        if not folder.exists():
            return str(folder)
    raise InputError("out: too many runs in runs/; name a folder")


def _raise_or_list_failures(outcome):
    failed = {name: r for name, r in outcome.items() if isinstance(r, Exception)}
    for error in failed.values():
        if isinstance(error, InputError):
            raise error
    for name, error in failed.items():
        print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
    if failed and len(failed) == len(outcome):
        raise InputError("no network could be trained; the reasons stand above")
