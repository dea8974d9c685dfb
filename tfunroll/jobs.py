"""The jobs of a run, each a function that a worker process can call."""

import functools
import pathlib
from dataclasses import replace

import pandas as pd

from tfunroll import averages, data, inspection, results, systems, workers
from tfunroll.checkpoints import FINISHED, finished_at, is_whole
from tfunroll.config import RunConfig
from tfunroll.evaluation import Evaluator, Settings, baselines
from tfunroll.files import write_json
from tfunroll.models import save_description
from tfunroll.run_folder import (
    BASELINES,
    COARSE,
    check_data,
    network_folder,
    save_samples,
    shared_folder,
    start_checkpoints,
)
from tfunroll.summaries import Summaries
from tfunroll.systems.base import TEST_SPLITS
from tfunroll.training import Job, Trainer


def load_data(config: RunConfig, report: bool = False) -> data.Dataset:
    """The dataset a configuration names; built first if it does not exist.

    Args: report: as in ``data.load``; once a run, so not in its worker processes.
    Raises: InputError: if they are not the data that the run in its folder was begun on.
    """
    system = systems.get(config.system)
    if config.data:
        dataset = data.load(system, own=config.data, report=report)
    else:
        names = config.system, config.dataset_config, config.data_dir, config.keep_steady
        dataset = _built(*names)
        if report and dataset.foreign:
            inspection.report(system, dataset)
    check_data(pathlib.Path(config.out), dataset)
    return dataset


@functools.lru_cache(maxsize=1)
def _built(system: str, dataset_config: str, data_dir: str, keep_steady: bool) -> data.Dataset:
    """Kept, as many runs of a study share one."""
    folder = data_dir or None
    return data.load(
        systems.get(system), dataset_config, folder, keep_steady=keep_steady, report=False
    )


def settings_of(config: RunConfig, dataset: data.Dataset) -> Settings:
    """How a configuration evaluates on a dataset; own data may lack test sets."""
    present = tuple(name for name in TEST_SPLITS if name in dataset.splits)
    return Settings(
        horizon=config.horizon,
        long_horizon=config.long_horizon,
        starts=config.starts,
        metrics=config.metrics,
        test_sets=present or ("validation",),
        dtype=config.dtype,
        jit_compile=config.jit != "off",
    )


def labels_of(config: RunConfig, modality: str, seed: int) -> dict[str, object]:
    """The columns of results.csv that say which network a row belongs to."""
    return {
        "run_id": f"{pathlib.Path(config.out).name}/{modality or BASELINES}/{seed}",
        "mode": config.mode,
        "correction": config.correction if config.mode == "correction" else "",
        "net": config.net,
        "modality": modality,
        "steps": max(stage.steps for stage in config.stages()),
        "seed": seed,
    }


@functools.lru_cache(maxsize=1)
def _session(config: RunConfig):
    """Data, trainer and evaluator of a configuration: once per process, so graphs are shared."""
    dataset = load_data(config)
    trainer = Trainer(config, dataset)
    stepper, system = trainer.compiled.stepper, trainer.compiled.system
    return dataset, trainer, Evaluator(stepper, system, dataset, settings_of(config, dataset))


def train_shared(config: RunConfig, seed: int) -> None:
    """The leading one-step stages of a seed, from which every modality goes on."""
    job = Job("ONE", seed, 0, config.shared_stages())
    _train(config, job, shared_folder(config, seed))


def train_network(config: RunConfig, modality: str, seed: int) -> None:
    """Trains one network to the end of the curriculum and evaluates it."""
    folder = network_folder(config, modality, seed)
    shared = config.shared_stages()
    start = shared_folder(config, seed) / "checkpoints" if shared else None
    _train(config, Job(modality, seed, shared, len(config.stages())), folder, start)
    if not (folder / "results.csv").exists():
        show_results(config, modality, seed, evaluate_network(config, modality, seed, False))


def _train(config, job, folder, start=None):
    """Trains a job in its folder, unless that is done; training.json says that it is.

    A network whose last checkpoint was damaged since is trained to its end again, from the one
    before, and evaluated again.
    """
    if (last := finished_at(folder)) is not None:
        if is_whole(folder / "checkpoints", last):
            workers.report(config.states(job.first_stage, job.last_stage))
            return
        print(f"warning: checkpoint {last} of {folder} is damaged: trained again", flush=True)
    _, trainer, _ = _session(config)
    save_description(folder, config, trainer.compiled.features, trainer.compiled.net)
    summaries = Summaries(folder)
    done = trainer.train(
        job,
        folder / "checkpoints",
        start=start,
        weights_from=None if start else start_checkpoints(config, job.seed),
        summaries=summaries,
        report=workers.report,
        stop=workers.stopping,
    )
    summaries.close()
    (folder / "results.csv").unlink(missing_ok=True)  # of the network before, if there was one
    write_json(folder / FINISHED, done)


def evaluate_network(
    config: RunConfig, modality: str, seed: int, report: bool = True, into: str = ""
) -> dict[str, float]:
    """Rolls one trained network out, writes its results, returns its averages.

    Args: into: folder that takes the place of the run's for what is written.
    """
    _, trainer, evaluator = _session(config)
    trainer.compiled.load(network_folder(config, modality, seed) / "checkpoints")
    evaluation = evaluator.run(labels_of(config, modality, seed))
    folder = network_folder(replace(config, out=into or config.out), modality, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_samples(folder, evaluation.samples)
    results.write_csv(evaluation.results, folder / "results.csv")  # last: it says all is there
    if report:
        workers.report(1)
    whole = evaluation.results[evaluation.results["frame"].isna()]
    keys = ["metric", "test_set"]
    values = averages.combine(averages.scores(whole, [*keys, "seed"])["score"], keys)["value"]
    return {f"{metric}/{test_set}": v for (metric, test_set), v in values.dropna().items()}


def show_results(config: RunConfig, modality: str, seed: int, metrics: dict[str, float]) -> None:
    """Tells TensorBoard a network's settings and results, in place of those before."""
    settings = {"modality": modality, "seed": seed, "curriculum": str(config.stages())}
    frames = {"horizon": config.horizon, "long_horizon": config.long_horizon}
    summaries = Summaries(network_folder(config, modality, seed))
    summaries.hyperparameters({**settings, **frames}, metrics)


def evaluate_baselines(config: RunConfig, into: str = "") -> None:
    """Persistence, the coarse solver alone and the finer solver of equal cost."""
    dataset, trainer, _ = _session(config)
    folder = pathlib.Path(into or config.out) / BASELINES
    folder.mkdir(parents=True, exist_ok=True)
    evaluations = baselines(
        trainer.compiled.system,
        dataset,
        settings_of(config, dataset),
        trainer.compiled.stepper,
        labels_of(config, "", 0),
        config.coarse,
        config.refined,
    )
    table = pd.concat([e.results for e in evaluations], ignore_index=True)
    for name, evaluation in zip(table.modality.unique(), evaluations, strict=True):
        if name == COARSE:  # the one baseline worth a picture
            save_samples(folder, evaluation.samples)
    results.write_csv(table, folder / "results.csv")
    workers.report(1)
