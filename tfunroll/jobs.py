"""The jobs of a run, each a function that a worker process can call."""

import functools
import pathlib

import numpy as np
import pandas as pd

from tfunroll import data, results, systems, workers
from tfunroll.config import RunConfig
from tfunroll.evaluation import Evaluator, Settings, baselines
from tfunroll.models import save_description
from tfunroll.run_folder import (
    BASELINES,
    COARSE,
    SHARED,
    finished,
    network_folder,
    start_checkpoints,
    write_json,
)
from tfunroll.summaries import Summaries
from tfunroll.systems.base import TEST_SPLITS
from tfunroll.training import Job, Trainer


def load_data(config: RunConfig) -> data.Dataset:
    """The dataset a configuration names; built first if it does not exist."""
    return data.load(
        systems.get(config.system),
        config.dataset_config,
        data_dir=config.data_dir or None,
        own=config.data or None,
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
        dtype=config.precision,
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
    evaluator = Evaluator(trainer.stepper, trainer.system, dataset, settings_of(config, dataset))
    return dataset, trainer, evaluator


def train_shared(config: RunConfig, seed: int) -> None:
    """The leading one-step stages of a seed, from which every modality goes on."""
    _, trainer, _ = _session(config)
    folder = pathlib.Path(config.out) / SHARED / str(seed)
    if finished(folder):
        return
    summaries = Summaries(folder / "tensorboard")
    job = Job("ONE", seed, 0, config.shared_stages())
    done = trainer.train(
        job,
        folder / "checkpoints",
        weights_from=start_checkpoints(config, seed),
        summaries=summaries,
        report=workers.report,
    )
    summaries.close()
    write_json(folder / "training.json", done)


def train_network(config: RunConfig, modality: str, seed: int) -> None:
    """Trains one network to the end of the curriculum and evaluates it."""
    _, trainer, _ = _session(config)
    folder = network_folder(config, modality, seed)
    shared = config.shared_stages()
    if not finished(folder):
        save_description(folder, config, trainer.features, trainer.net)
        summaries = Summaries(folder / "tensorboard")
        done = trainer.train(
            Job(modality, seed, shared, len(trainer.stages)),
            folder / "checkpoints",
            start=pathlib.Path(config.out) / SHARED / str(seed) / "checkpoints" if shared else None,
            weights_from=None if shared else start_checkpoints(config, seed),
            summaries=summaries,
            report=workers.report,
        )
        write_json(folder / "training.json", done)
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
    evaluation = evaluator.run(labels_of(config, modality, seed))
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
        settings_of(config, dataset),
        trainer.stepper,
        labels_of(config, "", 0),
        config.coarse,
        config.solver_fraction,
    )
    table = pd.concat([e.results for e in evaluations], ignore_index=True)
    results.write_csv(table, folder / "results.csv")
    for name, evaluation in zip(table.modality.unique(), evaluations, strict=True):
        if name == COARSE:  # the one baseline worth a picture
            np.savez_compressed(folder / "samples.npz", **evaluation.samples)
    workers.report(1)
