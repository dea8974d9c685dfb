"""What stands where in a run's folder.

RUN/config.json, flagfile.txt, environment.json    what was asked for, and where it ran
RUN/shared/<seed>/                                 the one-step stages all modalities start from
RUN/<modality>/<seed>/                             checkpoints, tensorboard, history.csv,
                                                   model.json, training.json,
                                                   results.csv, samples.npz
RUN/<modality>/ensemble/                           results.csv, samples.npz of all seeds together
RUN/baselines/                                     results.csv, samples.npz
RUN/results.csv, summary.csv, *.png, *.pdf         gathered
"""

import contextlib
import json
import os
import pathlib
import re
import time
from dataclasses import asdict

import numpy as np
import pandas as pd

from tfunroll import files, systems
from tfunroll.core import MODALITIES, InputError
from tfunroll.data import Dataset
from tfunroll.runs.config import RunConfig
from tfunroll.training.checkpoints import FINISHED, finished_at
from tfunroll.training.records import HISTORY, read_history

BASELINES = "baselines"
SHARED = "shared"
ENSEMBLE = "ensemble"
COARSE = "coarse solver"


class InUseError(InputError):
    """Another process is at work in a run's folder."""


def read_config(out: pathlib.Path) -> RunConfig:
    """The configuration of a run folder; InputError if it is none."""
    try:
        return RunConfig.from_json(json.loads((out / "config.json").read_text()))
    except (OSError, json.JSONDecodeError, TypeError):
        raise InputError(
            f"run={str(out)!r} is not a run folder (no readable config.json)"
        ) from None


def network_folder(config: RunConfig, modality: str, seed: int) -> pathlib.Path:
    """RUN/<modality>/<seed>."""
    return pathlib.Path(config.out) / modality / str(seed)


def shared_folder(config: RunConfig, seed: int) -> pathlib.Path:
    """RUN/shared/<seed>: the one-step stages that every modality of a seed starts from."""
    return network_folder(config, SHARED, seed)


def ensemble_folder(config: RunConfig, modality: str) -> pathlib.Path:
    """RUN/<modality>/ensemble."""
    return pathlib.Path(config.out) / modality / ENSEMBLE


def of_networks(out: pathlib.Path, file: str) -> list[pathlib.Path]:
    """The files of that name of single networks, and after them those of ensembles."""
    paths = sorted(out.glob(f"*/*/{file}"))
    single = [path for path in paths if path.parent.name.isdecimal()]
    found = {path.parent.parent.name: path for path in paths if path.parent.name == ENSEMBLE}
    return single + [found[modality] for modality in MODALITIES if modality in found]


def samples(out: pathlib.Path) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """What was kept for the pictures: (modality, seed) -> Evaluation.samples."""
    found = {}
    for path in of_networks(out, "samples.npz"):
        with np.load(path) as arrays:
            kept, (modality, seed) = dict(arrays), path.parent.parts[-2:]
        if seed == ENSEMBLE:
            modality, seed = str(kept["name"]), 0
        found[modality, int(seed)] = kept
    if (path := out / BASELINES / "samples.npz").exists():
        with np.load(path) as arrays:
            found[COARSE, 0] = dict(arrays)
    return found


def save_samples(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes samples.npz, whole or not at all."""
    with files.replacing(folder / "samples.npz") as new:
        np.savez_compressed(new, **arrays)


def histories(out: pathlib.Path) -> dict[tuple[str, int], pd.DataFrame]:
    """What was recorded while training: (modality or SHARED, seed) -> read_history."""
    paths = sorted(out.glob(f"*/*/{HISTORY}"))
    return {(p.parent.parent.name, int(p.parent.name)): read_history(p.parent) for p in paths}


def training_outcomes(out: pathlib.Path, modality: str) -> list[dict]:
    """Trained.summary of each finished network of a modality."""
    return [json.loads(p.read_text()) for p in sorted(out.glob(f"{modality}/*/{FINISHED}"))]


def finished(folder: pathlib.Path) -> bool:
    """Whether the training of a network has come to its end."""
    return finished_at(folder) is not None


def unfinished(config: RunConfig, out: pathlib.Path) -> list[str]:
    """The networks of a run that are not trained to their end, such as "WIG 0"."""
    names = [(modality, seed) for modality in config.modalities for seed in config.seeds]
    return [f"{m} {seed}" for m, seed in names if not finished(out / m / str(seed))]


def start_folder(config: RunConfig, seed: int) -> pathlib.Path | None:
    """The ONE network of ``seed`` in --start_from, or None."""
    if not config.start_from:
        return None
    return pathlib.Path(config.start_from) / "ONE" / str(seed)


def check_folder(config: RunConfig, out: pathlib.Path) -> None:
    """InputError if another run would be overwritten, or resumed with other flags."""
    if not (out / "config.json").exists():
        return
    if not config.resume:
        raise InputError(
            f"out={config.out!r} holds a run already; --resume goes on with it, or choose another"
        )
    before, now = asdict(read_config(out)), asdict(config)
    identity = RunConfig.names(identity=True)
    changed = [k for k in now if k in identity and before.get(k) != now[k]]
    if changed:
        differences = "; ".join(f"{k} was {before.get(k)}, is {now[k]}" for k in changed)
        raise InputError(f"resume: the run in {config.out!r} has other flags: {differences}")


def check_data(out: pathlib.Path, dataset: Dataset) -> None:
    """InputError, naming what differs, if a run was begun on other data than these."""
    try:
        before = json.loads((out / "environment.json").read_text(encoding="utf-8"))["data"]
        if before["fingerprint"] == dataset.fingerprint:
            return
        now = dataset.record()
        pairs = {k: (before[k], now[k]) for k in ("config", "version", "fingerprint")}
        for split in dict.fromkeys((*before["splits"], *now["splits"])):
            pairs[split] = tuple(_size(record["splits"].get(split)) for record in (before, now))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # a new run, or one of a version that kept no record
    changed = "; ".join(f"{k} was {a}, is {b}" for k, (a, b) in pairs.items() if a != b)
    raise InputError(
        f"data: not those that the run in {str(out)!r} was begun on: {changed}; put the old ones "
        "back, or start a new run with another out"
    )


def _size(shape: list[int] | None) -> str:
    return f"{shape[0]} × {shape[1]} frames" if shape else "none"


def free_folder(config: RunConfig) -> str:
    """The first unused runs/<system>-<mode>-<number>; made, so that no other run takes it."""
    name = re.sub(r"\W+", "_", systems.get(config.system).name)  # "ks:points=64" is no good name
    for number in range(1, 10_000):
        folder = pathlib.Path("runs") / f"{name}-{config.mode}-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"out={str(folder)!r} cannot be written: {error.strerror}") from None
        return str(folder)
    raise InputError("out: too many runs in runs/; name a folder")


@contextlib.contextmanager
def locked(out: pathlib.Path):
    """Keeps a run's folder for this process; yields the file that its workers lock.

    The locks are the operating system's (flock) and end with the processes. Workers of a run that
    was killed end within a second or two, which is waited for.

    Raises:
      InUseError: if another process is at work there.
    """
    with (out / ".lock").open("a+") as lock, (out / ".workers.lock").open("w") as workers:
        try:
            files.lock(lock, wait=False)
            _wait_for(workers)
        except BlockingIOError:
            lock.seek(0)
            raise InUseError(
                f"out={str(out)!r} is in use by another run ({lock.read().strip() or 'unknown'})"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        files.unlock(workers)
        yield pathlib.Path(workers.name)


def _wait_for(workers, seconds=10.0):
    end = time.monotonic() + seconds
    while True:
        try:
            return files.lock(workers, wait=False)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
