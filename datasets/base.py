"""TrajectoryBuilder: what the TFDS builders of all systems share. One example = one trajectory."""

import abc
import contextlib
import dataclasses
import inspect
import io
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from google.protobuf import json_format
from tfunroll.datasets.generation import Arrays, Group, generate_missing

from tfunroll import systems
from tfunroll.core import InputError, check_choice
from tfunroll.systems import System


# eq=False and not frozen as its base class, which dataclasses demand: do not change one.
@dataclasses.dataclass(eq=False, kw_only=True)
class TrajectoryConfig(tfds.core.BuilderConfig):
    """A variant of a dataset.

    Attributes:
      parallel: generate in worker processes; not worth their start-up for what takes seconds.
      manual: reads files that the user put into TFDS's manual directory.
    """

    parallel: bool = True
    manual: bool = False


class TrajectoryBuilder(tfds.core.GeneratorBasedBuilder):
    """A dataset of trajectories of one system.

    Features of an example:
      state: [frame, *space, channel] float32.
      params: {name: float32}, the physics parameters.
      trajectory_id: string.
      start_time: float32, the time of the first frame.
      diagnostics: {"energy": [frame] float32, the space mean of u²/2, and the system's own}.
    Splits: train, validation, test_interpolation, test_extrapolation.

    A subclass gives SYSTEM, DIAGNOSTICS, ``groups``, ``solver_metadata``, and the usual TFDS class
    attributes (VERSION, RELEASE_NOTES, BUILDER_CONFIGS).
    """

    SYSTEM: ClassVar[str]
    DIAGNOSTICS: ClassVar[Mapping[str, tfds.features.FeatureConnector]] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # TFDS guesses this folder from the package's name, wrongly in an editable install
        cls.pkg_dir_path = epath.Path(inspect.getfile(cls)).parent

    workers: int | None = None  # set by ``prepare``; tfds.load has no way to give it

    @abc.abstractmethod
    def groups(self, manual_dir: pathlib.Path | None) -> Sequence[Group]:
        """All groups of trajectories of this config, in the order of the splits' examples."""

    @abc.abstractmethod
    def solver_metadata(self) -> dict[str, object]:
        """How the data were made, such as {"dt": 0.5}: JSON values."""

    # ------------------------------------------------------------------ building

    @classmethod
    def prepare(
        cls, config: str, data_dir: str | pathlib.Path | None, workers: int | None
    ) -> "TrajectoryBuilder":
        """The builder of ``config``, built on disk. See ``tfunroll.datasets.build``."""
        builder = cls.of(config, data_dir)
        if builder.data_path.exists():
            return builder
        _check_writable(pathlib.Path(builder.data_dir_root))
        builder.workers = workers
        download = tfds.download.DownloadConfig(try_download_gcs=False)
        with _quiet_tfds():
            builder.download_and_prepare(download_config=download)
        return builder

    @classmethod
    def of(cls, config: str, data_dir: str | pathlib.Path | None = None) -> "TrajectoryBuilder":
        """The builder of ``config``, whether built or not.

        Raises: InputError: for an unknown config, or a built folder without readable metadata.
        """
        check_choice("dataset_config", config, cls.builder_configs)
        root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
        if root.exists() and not root.is_dir():
            raise InputError(f"data_dir={str(root)!r} is a file; it must be a folder")
        with _broken_is_input_error(root / cls.name / config / str(cls.VERSION)):
            return cls(config=config, data_dir=str(root))

    def examples(self, split: str) -> list[dict]:
        """All examples of a split of a built dataset, as NumPy arrays.

        Raises: InputError: if files are missing, truncated or broken; it names the folder.
        """
        with _broken_is_input_error(self.data_path):
            read = list(tfds.as_numpy(self.as_dataset(split=split)))
            promised = self.info.splits[split].num_examples
            if len(read) != promised:
                raise ValueError(f"{len(read)} of {promised} trajectories of {split}")
            return read

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells per space axis of the stored states: those of the networks, unless overridden."""
        return systems.get(self.SYSTEM).domain.shape

    @property
    def cache_dir(self) -> pathlib.Path:
        """Where finished groups are kept; may be deleted at any time."""
        root = pathlib.Path(self.data_dir_root)
        return root / "cache" / self.name / self.builder_config.name / str(self.version)

    # ------------------------------------------------------------------ what TFDS asks for

    def _info(self) -> tfds.core.DatasetInfo:
        system = systems.get(self.SYSTEM)
        shape = (None, *self.grid, len(system.channels))
        features = {
            "state": tfds.features.Tensor(shape=shape, dtype=np.float32),
            "params": dict.fromkeys(system.params, np.float32),
            "trajectory_id": tfds.features.Text(),
            "start_time": np.float32,
            "diagnostics": {
                "energy": tfds.features.Tensor(shape=(None,), dtype=np.float32),
                **self.DIAGNOSTICS,
            },
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage="https://doi.org/10.1016/j.cma.2024.117441",
            metadata=tfds.core.MetadataDict(self._metadata(system)),
            disable_shuffling=True,
        )

    def _metadata(self, system: System) -> dict[str, object]:
        return {
            "system": system.name,
            "title": system.title,
            "channels": list(system.channels),
            "grid": list(self.grid),
            "boundary": [list(pair) for pair in system.domain.boundary],
            "frame_time": system.frame_time,
            "parameter_units": {name: p.unit for name, p in system.params.items()},
            "parameter_values": {split: list(v) for split, v in system.splits.items()},
            **self.solver_metadata(),
        }

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual_dir = None
        if self.builder_config.manual:
            try:
                manual_dir = pathlib.Path(dl_manager.manual_dir)
            except AssertionError as error:  # missing or empty folder
                raise InputError(" ".join(str(error).split())) from None
        groups = self.groups(manual_dir)
        workers = self.workers if self.builder_config.parallel else 1
        title = f"{self.name}/{self.builder_config.name}"
        generate_missing(groups, self.cache_dir, workers, title)
        return {
            split: self._generate_examples([group for group in groups if group.split == split])
            for split in systems.get(self.SYSTEM).splits
        }

    def _generate_examples(self, groups: Sequence[Group]) -> Iterator[tuple[int, dict]]:
        key = 0
        for group in groups:
            arrays = group.load(self.cache_dir)
            for i in range(len(arrays["state"])):
                yield key, _example(arrays, i, f"{group.split}/{group.label}/{i}")
                key += 1


def _check_writable(root: pathlib.Path) -> None:
    """Makes the folder; InputError if nothing can be written there."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        raise InputError(f"data_dir={str(root)!r} cannot be written: {error.strerror}") from None


# What TFDS and TensorFlow raise for files that are missing, truncated or not theirs
_BROKEN = (tf.errors.OpError, OSError, ValueError, KeyError, AssertionError, json_format.Error)


@contextlib.contextmanager
def _broken_is_input_error(folder: os.PathLike) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"dataset in {folder} is incomplete or broken: delete that folder, and it is built "
            f"anew ({type(error).__name__}: {reason})"
        ) from None


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides TFDS's bars and its announcement of a download of unknown size; ours says it all."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def _example(arrays: Arrays, i: int, trajectory_id: str) -> dict:
    """Trajectory ``i`` of a group as a nested example; "params/domain_size" becomes two levels."""
    example = {"trajectory_id": trajectory_id, "params": {}, "diagnostics": {}}
    for name, values in arrays.items():
        outer, _, inner = name.partition("/")
        if inner:
            example[outer][inner] = values[i]
        else:
            example[outer] = values[i]
    return example


def energy(velocity: np.ndarray) -> np.ndarray:
    """Space mean of u²/2, summed over the channels.

    Args: velocity: [trajectory, frame, *space, channel].
    Returns: [trajectory, frame] float32.
    """
    density = np.square(velocity, dtype=np.float64).sum(-1) / 2
    return density.mean(tuple(range(2, density.ndim))).astype(np.float32)
