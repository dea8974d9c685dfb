"""What stands where in a run's folder.

RUN/config.json, flagfile.txt, environment.json    what was asked for, and where it ran
RUN/shared/<seed>/                                 the one-step stages all modalities start from
RUN/<modality>/<seed>/                             checkpoints, events.out.tfevents.*,
                                                   history.csv,
                                                   model.json, training.json,
                                                   results.csv, samples.npz
RUN/<modality>/ensemble/                           results.csv, samples.npz of all seeds together
RUN/baselines/                                     results.csv, samples.npz
RUN/results.csv, summary.csv, *.png, *.pdf         gathered
"""

import contextlib
import os
import pathlib
import re
import time
from dataclasses import asdict
from typing import Any, NotRequired

import numpy as np
import pandas as pd
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll import files, systems
from tfunroll.core import MODALITIES, InputError
from tfunroll.data import DataRecord, Dataset
from tfunroll.runs.config import RunConfig
from tfunroll.training.checkpoints import FINISHED, Outcome, finished_at
from tfunroll.training.records import HISTORY, read_history

BASELINES = "baselines"
SHARED = "shared"
ENSEMBLE = "ensemble"
COARSE = "coarse solver"


# Every samples.npz holds them; see Evaluation.samples.
SAMPLES = (
    *("reference", "prediction", "diverged", "test_set", "physics", "trajectory", "start_frame"),
    "stability",
)


class Environment(TypedDict):
    """environment.json, as far as it is read."""

    data: NotRequired[DataRecord]


class InUseError(InputError):
    """Another process is at work in a run's folder."""


def read_config(out: pathlib.Path) -> RunConfig:
    """The configuration of a run folder; InputError if it is none."""
    path = out / "config.json"
    try:
        return RunConfig.from_json(files.read_json(path, dict[str, Any]), str(path))
    except InputError as error:
        raise InputError(f"run={str(out)!r} is not a run folder: {error}") from None


def network_folder(config: RunConfig, modality: str, seed: int) -> pathlib.Path:
    """RUN/<modality>/<seed>."""
    return pathlib.Path(config.out) / modality / str(seed)


def shared_folder(config: RunConfig, seed: int) -> pathlib.Path:
    """RUN/shared/<seed>: the one-step stages that every modality of a seed starts from."""
    return network_folder(config, SHARED, seed)


def ensemble_folder(config: RunConfig, modality: str) -> pathlib.Path:
    """RUN/<modality>/ensemble."""
    return pathlib.Path(config.out) / modality / ENSEMBLE


def of_models(out: pathlib.Path, file: str) -> list[pathlib.Path]:
    """The files of that name of single networks, and after them those of ensembles."""
    together = (out / modality / ENSEMBLE / file for modality in MODALITIES)
    return [*_of_networks(out, file).values(), *(path for path in together if path.exists())]


def samples(out: pathlib.Path) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """What was kept for the pictures: (modality, seed) -> Evaluation.samples."""
    found = {}
    for path in of_models(out, "samples.npz"):
        kept, (modality, seed) = _samples(path), path.parent.parts[-2:]
        if seed == ENSEMBLE:
            modality, seed = str(kept.get("name", modality)), 0
        found[modality, int(seed)] = kept
    if (path := out / BASELINES / "samples.npz").exists():
        found[COARSE, 0] = _samples(path)
    return found


def _samples(path):
    try:
        arrays = files.read_arrays(path)
        if lacking := [name for name in SAMPLES if name not in arrays]:
            raise InputError(f"{path} lacks {', '.join(lacking)}")
    except InputError as error:
        raise InputError(f"{error}; scripts/evaluate.py --run=RUN makes it anew") from None
    return arrays


def _of_networks(out: pathlib.Path, name: str) -> dict[tuple[str, int], pathlib.Path]:
    """(modality or SHARED, seed) -> the file of this name in RUN/<modality>/<seed>.

    Folders of other names, as of copies that somebody made, are left alone.
    """
    paths = [path for path in sorted(out.glob(f"*/*/{name}")) if path.parent.name.isdecimal()]
    return {(path.parent.parent.name, int(path.parent.name)): path for path in paths}


def save_samples(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes samples.npz, whole or not at all."""
    with files.replacing(folder / "samples.npz") as new:
        np.savez_compressed(new, **arrays)


def histories(out: pathlib.Path) -> dict[tuple[str, int], pd.DataFrame]:
    """What was recorded while training: (modality or SHARED, seed) -> read_history."""
    return {network: read_history(p.parent) for network, p in _of_networks(out, HISTORY).items()}


def training_outcomes(out: pathlib.Path) -> dict[tuple[str, int], Outcome]:
    """(modality, seed) -> Trained.summary of each finished network."""
    paths = _of_networks(out, FINISHED)
    return {
        network: files.read_json(p, Outcome) for network, p in paths.items() if finished(p.parent)
    }


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
    if not (path := out / "environment.json").exists():
        return  # a new run
    before = files.read_json(path, Environment).get("data")
    if before is None or before["fingerprint"] == dataset.fingerprint:
        return  # the same, or a run of a version that kept no record
    now = dataset.record()
    pairs = {k: (before[k], now[k]) for k in ("config", "version", "fingerprint")}
    for split in dict.fromkeys((*before["splits"], *now["splits"])):
        pairs[split] = tuple(_size(record["splits"].get(split)) for record in (before, now))
    changed = "; ".join(f"{k} was {a}, is {b}" for k, (a, b) in pairs.items() if a != b)
    raise InputError(
        f"data: not those that the run in {str(out)!r} was begun on: {changed}; put the old ones "
        "back, or start a new run with another out"
    )


def _size(shape: tuple[int, int] | None) -> str:
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
