"""Trajectories: of a TFDS dataset, of the user's own files, or of arrays."""

import functools
import hashlib
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll import arrays, datasets, machine, systems
from tfunroll.arrays import Pieces
from tfunroll.arrays.description import splits_of
from tfunroll.core import SPLITS, InputError, check_choice
from tfunroll.data import inspection
from tfunroll.data.own import check_fit, states_of
from tfunroll.datasets.guards import command, refuse_outdated
from tfunroll.systems import System

MEMORY = 0.25  # part of the job's memory that own data may take before they stay in their files


class DataRecord(TypedDict):
    """What a run remembers of its data; splits: {name: (trajectories, frames)}."""

    dataset: str
    config: str
    version: str
    fingerprint: str
    splits: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Trajectories:
    """One split.

    Attributes:
      states: [trajectory, frame, *space, channel], float32, or float64 where that was asked for;
        Pieces, which look alike, where they stay in their files.
      params: physics parameters by name, each [trajectory], of the same type.
      ids: a name per trajectory.
      start_times: time of each first frame, [trajectory] float32.
      diagnostics: by name, each [trajectory, ...]: "energy" per frame, and the system's own, such
        as "chaotic" per 100 frames; empty for own data but for the energy.
    """

    states: np.ndarray | Pieces
    params: dict[str, np.ndarray]
    ids: tuple[str, ...]
    start_times: np.ndarray
    diagnostics: dict[str, np.ndarray]

    def check(self, system: System, where: str) -> None:
        """InputError, naming the field, unless this is data of ``system`` that can be used."""
        wanted = (*system.domain.shape, len(system.channels))
        shape = self.states.shape
        if len(shape) == len(wanted) + 1 and len(system.channels) == 1 and shape[2:] == wanted[:-1]:
            raise InputError(
                f"{where}: states has shape {shape} without the channel axis; expected "
                f"[trajectory, frame, *space, channel] with {wanted} at the end: add [..., None]"
            )
        if len(shape) != len(wanted) + 2 or shape[2:] != wanted:
            swapped = len(shape) == len(wanted) + 2 and shape[1] in wanted[:-1]
            raise InputError(
                f"{where}: states has shape {shape}, expected [trajectory, frame, *space, channel] "
                f"with {wanted} at the end" + (": are time and space swapped?" if swapped else "")
            )
        if shape[0] < 1 or shape[1] < 2:
            raise InputError(f"{where}: states needs a trajectory of at least two frames: {shape}")
        for i, trajectory in enumerate(self.states):
            if not np.isfinite(trajectory).all():
                raise InputError(f"{where}: states holds NaN or infinity in trajectory {i}")
        for name, values in self.params.items():
            if not np.isfinite(values).all():
                raise InputError(f"{where}: params.{name} holds NaN or infinity")
        try:
            system.check_params(self.params)
        except InputError as error:
            raise InputError(f"{where}: params: {error}") from None


def check_split(field: str, given: Trajectories) -> Trajectories:
    """What was given; InputError unless it is one split."""
    if not isinstance(given, Trajectories):
        raise InputError(
            f"{field} is a {type(given).__name__}; needed: a split of a Dataset, like data.train"
        )
    return given


@dataclass(frozen=True)
class Split(Trajectories):
    """One split that knows where it belongs.

    Attributes:
      dataset: of which it is a split. name: such as "test_extrapolation".
    """

    dataset: "Dataset" = field(default=None, repr=False)
    name: str = ""


@dataclass(frozen=True)
class Dataset:
    """All splits of a dataset.

    ``train``, ``validation``, ``test_interpolation`` and ``test_extrapolation`` are the splits.

    Attributes:
      name: of the TFDS dataset, or "own".
      config: its config (of ``hosted`` the archive's), or the name of the description file.
      splits: by name.
      frame_time: time between frames.
      path: folder or file it was read from.
      version: of the TFDS dataset; empty for own data.
      on_reference_grid: whether states are those of the reference solver's own grid; of own data
        that is not known, so it is False.
      foreign: whether it was made elsewhere: own, hosted or published.
      system: whose states these are; None only where nothing is evaluated.
    """

    name: str
    config: str
    splits: dict[str, Trajectories]
    frame_time: float
    path: str
    version: str = ""
    on_reference_grid: bool = False
    foreign: bool = False
    system: System | None = None

    def __getattr__(self, name: str) -> Split:
        if name not in SPLITS:
            raise AttributeError(f"a Dataset has no {name}")
        return self.split(name)

    def split(self, name: str) -> Split:
        """One split. Raises: InputError: if there is none of this name."""
        check_choice("split", name, self.splits)
        return Split(**vars(self.splits[name]), dataset=self, name=name)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of all states and parameters, split by split.

        It depends on their values, types, shapes and order alone, not on where they were read from.
        """
        digest = hashlib.sha256()
        for split, trajectories in sorted(self.splits.items()):
            values = {"states": trajectories.states, **dict(sorted(trajectories.params.items()))}
            for name, array in values.items():
                digest.update(repr((split, name, array.dtype.str, array.shape)).encode())
                for part in array if isinstance(array, Pieces) else [array]:
                    digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()[:16]

    def record(self) -> DataRecord:
        """What a run remembers of its data."""
        return {
            "dataset": self.name,
            "config": self.config,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": {name: t.states.shape[:2] for name, t in self.splits.items()},
        }


def load(
    system: System | None = None,
    config: str = "tiny",
    data_dir: str | pathlib.Path | None = None,
    own: str | pathlib.Path | None = None,
    build: bool = True,
    workers: int | None = None,
    keep_steady: bool = False,
    report: bool = True,
    dtype: str = "float32",
    memory: float | None = None,
) -> Dataset:
    """Reads all splits.

        data = tfunroll.data.load(own="mine.json")    # data.system is what these data alone say

    Args:
      system: whose data; shapes and parameters are checked against it. None: the one that ``own``
        names, or else that of these data alone, for predictions.
      config: of the system's TFDS dataset, such as "tiny".
      data_dir: folder of all datasets; TFDS's default if None or empty.
      own: description file of own data, read in place of a TFDS dataset: see arrays.description.
      build: make the dataset first if it is not there yet.
      workers: processes that make it; None or 0: one per core.
      keep_steady: train on trajectories that the dataset labels as steady, too.
      report: print what data from elsewhere (own, hosted, published) say about themselves, and warn
        of what looks wrong; see ``inspection.report``.
      dtype: of own data, "float32" or "float64"; those of TFDS are float32.
      memory: bytes that own data may take; larger ones stay in their files and are read in pieces.
        None: a quarter of the job's memory.
    Raises:
      InputError: no system and no own data; unknown config; missing, truncated, broken or outdated
        data; own data that do not fit, or are copies of each other; only steady trajectories to
        train on.
    """
    if own:
        path = pathlib.Path(own).expanduser()
        if system is None:
            system = systems.get(arrays.named_system(path) or str(path))
        dataset = _load_own(system, path, dtype, memory or MEMORY * machine.memory())
    elif system is None:
        raise InputError("system: needed is a System, such as systems.ks.make(), or own data")
    else:
        builder = _built(system, config, data_dir, build, workers)
        dataset = _load_tfds(system, builder, keep_steady)
    if report and dataset.foreign:
        inspection.report(system, dataset)
    return dataset


def generate(
    system: System,
    config: str = "tiny",
    trajectories: int | None = None,
    frames: int | None = None,
    spin_up: int | None = None,
    keep_steady: bool = False,
) -> Dataset:
    """Data of a registered system, on any grid, made now and kept in memory alone.

        system = systems.ks.make(points=64)
        dataset = data.generate(system, trajectories=2, frames=100)

    They are the trajectories that the dataset's config would have with these counts.

    Args:
      config: of the system's TFDS dataset: what is not said here is as there.
      trajectories, frames: per parameter value, in every split; of each trajectory.
      spin_up: time units dropped before.
      keep_steady: train on trajectories that the dataset labels as steady, too.
    Raises:
      InputError: an unknown config or one that was made elsewhere; impossible numbers; a system
        without a dataset of its own.
    """
    for name, value, least in (
        *(("trajectories", trajectories, 1), ("frames", frames, 2), ("spin_up", spin_up, 0)),
    ):
        if value is not None and value < least:
            raise InputError(f"{name}={value} must be at least {least}")
    kind = _builder_class(system)
    builder = kind.of(config, resolution=str(system.resolution))
    usual = builder.builder_config
    if usual.manual or usual.hosted:
        raise InputError(f"dataset_config={config} was made elsewhere, so it cannot be generated")
    counts = {s: (trajectories or n, frames or f) for s, (n, f) in usual.splits.items()}
    changes = {"splits": counts, "base": config, "name": f"{usual.name}-in-memory"}
    if spin_up is not None:
        changes["spin_up"] = spin_up
    builder = kind.of(config, resolution=str(system.resolution), **changes)
    splits = {split: _gathered(builder.in_memory(split)) for split in system.splits}
    return _checked(system, builder, splits, "in memory", keep_steady)


def _builder_class(system: System) -> type[datasets.TrajectoryBuilder]:
    if not system.dataset:
        raise InputError(
            f"system {system.name} has no dataset of its own: give trajectories by "
            "--data=description.json, which scripts/generate_data.py writes where the System has a "
            "reference"
        )
    return datasets.builder_class(system.dataset)


def _built(system, config, data_dir, build, workers) -> datasets.TrajectoryBuilder:
    """The builder of a dataset that is on disk."""
    resolution, made = str(system.resolution), _builder_class(system)
    builder = made.of(config, data_dir or None, resolution)
    if builder.data_path.exists():
        return builder
    refuse_outdated(builder)
    if build:
        return made.prepare(config, data_dir or None, workers, resolution=resolution)
    raise InputError(
        f"dataset {system.dataset}/{builder.builder_config.name} is missing in "
        f"{builder.data_path}; make it with {command(builder)}"
    )


def _load_tfds(system, builder, keep_steady) -> Dataset:
    path = str(builder.data_path)
    splits = {split: _gathered(builder.examples(split)) for split in system.splits}
    return _checked(system, builder, splits, path, keep_steady)


def _checked(system, builder, splits, path, keep_steady) -> Dataset:
    for split, trajectories in splits.items():
        trajectories.check(system, f"{path}, split {split}")
        if not split.startswith("test") and not keep_steady:
            splits[split] = _without_steady(trajectories, f"{path}, split {split}")
    return Dataset(
        system.dataset,
        builder.content,
        splits,
        system.frame_time,
        path,
        str(builder.version),
        on_reference_grid=_on_reference_grid(system, builder),
        foreign=builder.builder_config.manual or builder.builder_config.hosted,
        system=system,
    )


def of(
    system: System,
    splits: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
    name: str = "arrays",
    dtype: str = "float32",
) -> Dataset:
    """A dataset of NumPy arrays in memory.

        data.of(system, {"train": (states, {"viscosity": values}), "validation": …})

    Args:
      splits: name -> (states [trajectory, frame, *space, channel], parameters, each [trajectory]);
        names: train, validation and test_….
      name: for tables.
      dtype: of states and parameters, "float32" or "float64".
    Raises:
      InputError: for shapes, parameters or numbers that the system cannot have.
    """
    if "train" not in splits:
        raise InputError(f"splits={', '.join(splits) or 'none'}: needed is train")
    made = {}
    for split, given in splits.items():
        check_choice("splits", split, SPLITS)
        if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)):
            raise InputError(f"{split} must be a pair (states, {{name of a parameter: values}})")
        states, params = given
        states = np.asarray(states, dtype)
        count = len(states)
        made[split] = Trajectories(
            states=states,
            params={key: np.asarray(values, dtype) for key, values in params.items()},
            ids=tuple(f"{split}/{i}" for i in range(count)),
            start_times=np.zeros(count, np.float32),
            diagnostics={},
        )
        made[split].check(system, split)
        for key, values in made[split].params.items():
            if values.shape != (count,):
                raise InputError(
                    f"{split}: params.{key} has shape {values.shape}, needed is ({count},)"
                )
    return Dataset("own", name, made, system.frame_time, "", foreign=True, system=system)


def _on_reference_grid(system, builder) -> bool:
    return (builder.builder_config.base or builder.content) in system.on_reference_grid


def _gathered(examples: list[dict]) -> Trajectories:
    def gather(branch):
        return {name: np.stack([e[branch][name] for e in examples]) for name in examples[0][branch]}

    return Trajectories(
        states=np.stack([e["state"] for e in examples]),
        params=gather("params"),
        ids=tuple(tf.compat.as_str(e["trajectory_id"]) for e in examples),
        start_times=np.array([e["start_time"] for e in examples], np.float32),
        diagnostics=gather("diagnostics"),
    )


def _without_steady(whole: Trajectories, where: str) -> Trajectories:
    """The trajectories without those whose diagnostics say "steady"."""
    steady = whole.diagnostics.get("steady", np.zeros(len(whole.states), bool))
    if steady.all():
        raise InputError(f"{where}: all trajectories are steady; train on them by keep_steady")
    chosen = np.flatnonzero(~steady)
    return Trajectories(
        states=whole.states[chosen],
        params={name: values[chosen] for name, values in whole.params.items()},
        ids=tuple(whole.ids[i] for i in chosen),
        start_times=whole.start_times[chosen],
        diagnostics={name: values[chosen] for name, values in whole.diagnostics.items()},
    )


def _load_own(system: System, path: pathlib.Path, dtype: str, memory: float) -> Dataset:
    check_choice("dtype", dtype, ("float32", "float64"))
    described = arrays.read(path)
    check_fit(described, system)
    everything = _everything(described, path, dtype, memory)
    everything.check(system, str(path))
    chosen = splits_of(described)
    inspection.refuse_copies(everything, chosen, str(path))
    splits = {name: _select(everything, numbers) for name, numbers in chosen.items()}
    return Dataset(
        "own", path.stem, splits, system.frame_time, str(path), foreign=True, system=system
    )


def _everything(described, path, dtype, memory) -> Trajectories:
    states = states_of(described, dtype, memory)
    return Trajectories(
        states=states,
        params={name: values.astype(dtype) for name, values in described.params.items()},
        ids=tuple(f"{path.stem}/{i}" for i in range(len(states))),
        start_times=np.zeros(len(states), np.float32),
        diagnostics={},
    )


def _select(whole: Trajectories, chosen: list[int]) -> Trajectories:
    pieces = isinstance(whole.states, Pieces)
    states = whole.states.of(chosen) if pieces else whole.states[chosen]
    return Trajectories(
        states=states,
        params={name: values[chosen] for name, values in whole.params.items()},
        ids=tuple(whole.ids[i] for i in chosen),
        start_times=whole.start_times[chosen],
        diagnostics={"energy": np.concatenate([datasets.energy(u[None]) for u in states])},
    )
