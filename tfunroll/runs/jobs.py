"""The jobs of a run, each a function that a worker process can call."""

import functools
import pathlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tfunroll import data, systems, user_modules, workers
from tfunroll.data import inspection
from tfunroll.evaluation import averages, results
from tfunroll.evaluation.evaluator import Evaluator, baselines
from tfunroll.files import write_json
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.runs.folder import (
    BASELINES,
    COARSE,
    ENSEMBLE,
    check_data,
    ensemble_folder,
    network_folder,
    save_samples,
    shared_folder,
    start_folder,
)
from tfunroll.runs.models import load_weights, save_description
from tfunroll.runs.plan import Plan
from tfunroll.stepping.ensembles import Ensemble
from tfunroll.training import callbacks, subspaces
from tfunroll.training.checkpoints import FINISHED, Checkpoints, finished_at
from tfunroll.training.fit import CHECKPOINTS, TrainingDivergedError
from tfunroll.training.records import TensorBoardFiles


def load_data(config: RunConfig, report: bool = False) -> data.Dataset:
    """The dataset a configuration names; built first if it does not exist.

    Args: report: as in ``data.load``; once a run, so not in its worker processes.
    Raises: InputError: if they are not the data that the run in its folder was begun on.
    """
    system = systems.get(config.system)
    if config.data:
        memory = config.data_memory * 1e9 or None
        dataset = data.load(
            system, own=config.data, report=report, dtype=config.dtype, memory=memory
        )
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


def labels_of(config: RunConfig, modality: str, seed: int) -> dict[str, object]:
    """The columns of results.csv that say which network a row belongs to."""
    return {
        "run_id": f"{pathlib.Path(config.out).name}/{modality or BASELINES}/{seed}",
        "mode": config.mode,
        "correction": config.correction if config.mode == "correction" else "",
        "net": user_modules.short_name(config.net),
        "modality": modality,
        "steps": max(stage.steps for stage in config.stages()),
        "seed": seed,
    }


@functools.lru_cache(maxsize=1)
def _session(config: RunConfig):
    """Plan, data and stepper of a configuration: once per process."""
    plan = Plan(config)
    return plan, load_data(config), plan.stepper(plan.net(config.seeds[0]))


@functools.lru_cache(maxsize=1)
def _trainer(config: RunConfig):
    """The trainer of a configuration: once per process, so that graphs are shared."""
    plan, dataset, _ = _session(config)
    records = [callbacks.History(), callbacks.TensorBoard(system=plan.system), _Report()]
    return plan.trainer(dataset, [*plan.callbacks(dataset), *records])


@functools.lru_cache(maxsize=1)
def _evaluator(config: RunConfig):
    """The evaluator of a configuration's stepper: likewise."""
    plan, dataset, stepper = _session(config)
    settings = plan.settings(dataset)
    settings = settings if config.stochastic else settings.of_one()
    return Evaluator(stepper, plan.system, dataset, settings)


@functools.lru_cache(maxsize=1)
def _ensemble(config: RunConfig, count: int):
    """An ensemble of ``count`` networks of a configuration and its evaluator: likewise."""
    plan, dataset, _ = _session(config)
    ensemble = Ensemble([plan.stepper(plan.net(seed)) for seed in range(count)])
    return ensemble, Evaluator(ensemble, plan.system, dataset, plan.settings(dataset))


class _Report(callbacks.Callback):
    """Tells the run's progress bar, and asks whether the run was told to stop."""

    def begin(self, fit) -> None:
        self._seen = fit.states_before
        self.called(fit)

    def called(self, fit) -> None:
        workers.report(fit.states_done - self._seen)
        self._seen = fit.states_done
        if workers.stopping():
            fit.stop()


def train_shared(config: RunConfig, seeds: Sequence[int]) -> None:
    """The leading one-step stages of some seeds, from which every modality goes on."""
    schedule = Plan(config).schedule("ONE").first(config.shared_stages())
    _train(config, "ONE", schedule, {seed: shared_folder(config, seed) for seed in seeds})


def train_networks(config: RunConfig, modality: str, seeds: Sequence[int]) -> None:
    """Trains networks to the end of the curriculum, in one program, and evaluates them."""
    folders = {seed: network_folder(config, modality, seed) for seed in seeds}
    try:
        _train(config, modality, Plan(config).schedule(modality), folders, config.shared_stages())
    finally:  # one that diverged leaves the others alone
        for seed, folder in folders.items():
            if finished_at(folder) is not None and not (folder / "results.csv").exists():
                metrics = evaluate_network(config, modality, seed, False)
                show_results(config, modality, seed, metrics)


def _train(config, modality, schedule, folders, shared=0):
    """Trains networks in their folders, unless that is done; training.json says that it is.

    A network whose last checkpoint was damaged since is trained to its end again, from the one
    before, and evaluated again.
    """
    before = schedule.first(shared).states if shared else 0
    folders = dict(folders)
    for seed, folder in list(folders.items()):
        if (last := finished_at(folder)) is not None:
            if Checkpoints(folder / CHECKPOINTS).is_whole(last):
                workers.report(schedule.states - before)
                del folders[seed]
            else:
                print(
                    f"warning: checkpoint {last} of {folder} is damaged: trained again", flush=True
                )
    if not folders:
        return
    plan, _, stepper = _session(config)
    for folder in folders.values():
        save_description(folder, config, plan.features, stepper.net)
    trainer = _trainer(config).with_schedule(schedule)
    starts = {seed: shared_folder(config, seed) if shared else None for seed in folders}
    outcomes = trainer.fit_together(
        list(folders),
        list(folders.values()),
        starts=list(starts.values()),
        weights=[_start_weights(config, seed) for seed in folders] if not shared else None,
        names=[f"{plan.system.name} {modality} seed {seed}" for seed in folders],
    )
    for folder, outcome in zip(folders.values(), outcomes, strict=True):
        if not isinstance(outcome, TrainingDivergedError):
            for name in (folder.name, ENSEMBLE):  # of the network before, if any
                (folder.parent / name / "results.csv").unlink(missing_ok=True)
            write_json(folder / FINISHED, outcome.summary())
    for outcome in outcomes:
        if isinstance(outcome, TrainingDivergedError):
            raise outcome


def _start_weights(config, seed):
    """Weights of the ONE network of ``seed`` in --start_from, or None."""
    folder = start_folder(config, seed)
    if folder is None:
        return None
    like = Weights(_session(config)[2].net).part()
    return Checkpoints(folder / CHECKPOINTS).weights(like)


def evaluate_network(
    config: RunConfig, modality: str, seed: int, report: bool = True, into: str = ""
) -> dict[str, float]:
    """Rolls one trained network out, writes its results, returns its averages.

    Args: into: folder that takes the place of the run's for what is written.
    """
    load_weights(network_folder(config, modality, seed), _session(config)[2].net)
    evaluation = _evaluator(config).run(labels_of(config, modality, seed))
    folder = network_folder(replace(config, out=into or config.out), modality, seed)
    _save(evaluation.results, evaluation.samples, folder)
    if report:
        workers.report(1)
    whole = evaluation.results[evaluation.results["frame"].isna()]
    keys = ["metric", "test_set"]
    values = averages.combine(averages.scores(whole, [*keys, "seed"])["score"], keys)["value"]
    return {f"{metric}/{test_set}": v for (metric, test_set), v in values.dropna().items()}


def evaluate_ensemble(
    config: RunConfig, modality: str, seeds: Sequence[int], into: str = ""
) -> None:
    """Rolls the networks of a modality out together and writes their results, as one model's.

    Of subspaces it is points of each seed's that roll out together, one model per seed.
    """
    subspace = subspaces.read(config.subspace)
    if subspace is None:
        name, groups = f"{modality}, {len(seeds)} seeds", {0: [(seed, None) for seed in seeds]}
    else:
        points = subspace.points()
        name = f"{modality}, {len(points)} points"
        groups = {seed: [(seed, point) for point in points] for seed in seeds}
    evaluations = []
    for number, members in groups.items():
        ensemble, evaluator = _ensemble(config, len(members))
        for (seed, point), net in zip(members, ensemble.nets, strict=True):
            load_weights(network_folder(config, modality, seed), net, point)
        labels = labels_of(config, modality, number) | {
            "run_id": f"{pathlib.Path(config.out).name}/{modality}/{ENSEMBLE}",
            "modality": name,
            "kind": results.ENSEMBLE,
        }
        evaluations.append(evaluator.run(labels))
    table = pd.concat([evaluation.results for evaluation in evaluations], ignore_index=True)
    folder = ensemble_folder(replace(config, out=into or config.out), modality)
    _save(table, evaluations[0].samples | {"name": np.array(name)}, folder)
    workers.report(1)


def _save(table, samples, folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_samples(folder, samples)
    results.write_checked_csv(table, folder / "results.csv")  # last: it says all is there


def show_results(config: RunConfig, modality: str, seed: int, metrics: dict[str, float]) -> None:
    """Tells TensorBoard all settings of a network and its results, in place of those before."""
    settings = {name: getattr(config, name) for name in RunConfig.names(identity=True)}
    for several in ("modalities", "seeds", "steps", "updates"):  # as the curriculum says, or below
        del settings[several]
    for name, value in settings.items():
        settings[name] = ",".join(map(str, value)) if isinstance(value, tuple) else value
    settings |= {
        "net": user_modules.short_name(config.net),
        "curriculum": config.curriculum_text(),
        "modality": modality,
        "seed": seed,
        "updates": sum(stage.updates for stage in config.stages()),
        "longest_horizon": max(stage.steps for stage in config.stages()),
    }
    files = TensorBoardFiles(network_folder(config, modality, seed))
    files.hyperparameters(settings, metrics)


def evaluate_baselines(config: RunConfig, into: str = "") -> None:
    """Persistence, the coarse solver alone and the finer solver of equal cost."""
    plan, dataset, stepper = _session(config)
    folder = pathlib.Path(into or config.out) / BASELINES
    folder.mkdir(parents=True, exist_ok=True)
    evaluations = baselines(
        plan.system,
        dataset,
        plan.settings(dataset).of_one(),
        stepper,
        labels_of(config, "", 0),
        config.coarse,
        config.refined,
    )
    table = pd.concat([e.results for e in evaluations], ignore_index=True)
    for name, evaluation in zip(table.modality.unique(), evaluations, strict=True):
        if name == COARSE:  # the one baseline worth a picture
            save_samples(folder, evaluation.samples)
    results.write_checked_csv(table, folder / "results.csv")
    workers.report(1)
