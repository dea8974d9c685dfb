"""TrajectoryBuilder: what the TFDS builders of all systems share. One example = one trajectory."""

import abc
import dataclasses
import inspect
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tfunroll.datasets import beam
from tfunroll.datasets.generation import Arrays, Group, generate_missing
from tfunroll.datasets.guards import (
    broken_is_input_error,
    check_writable,
    one_at_a_time,
    quiet_logging,
    quiet_tfds,
    warn_of_parameters,
)
from tfunroll.datasets.hosting import SUMS, Archive

from tfunroll import systems
from tfunroll.core import InputError, check_choice
from tfunroll.systems import System
from tfunroll.systems.base import TEST_SPLITS

HOSTED = "hosted"
Count = tuple[int, int]  # trajectories per value of the varied parameter, frames kept of each


def counts(train: Count, validation: Count, tests: Count) -> dict[str, Count]:
    """Those of all splits, where both test sets are alike."""
    return {"train": train, "validation": validation, **dict.fromkeys(TEST_SPLITS, tests)}


# Dataclasses must be declared as their base is, and TFDS's is neither frozen nor comparable; treat
# a config as frozen all the same.
@dataclasses.dataclass(eq=False, kw_only=True)
class TrajectoryConfig(tfds.core.BuilderConfig):
    """A variant of a dataset.

    Attributes:
      splits: split -> its Count; empty for what is not made here.
      resolution: options of the system's grid, such as "points=64"; empty: the registered one.
      base: the config that this one is on another grid; empty: none.
      parallel: generate in worker processes. False for data that take seconds, less than starting
        the processes would.
      manual: reads files that the user put into TFDS's manual directory.
      hosted: downloads an archive that scripts/publish_data.py made. Every dataset has one such
        config, of this name; its fields of the subclass must have defaults.
    """

    splits: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    resolution: str = ""
    base: str = ""
    parallel: bool = True
    manual: bool = False
    hosted: bool = False

    def on_grid(self, system: System) -> dict[str, object]:
        """Fields that another grid of the system changes."""
        return {}


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
        text = "A published archive of one of the other configs, downloaded."
        hosted = type(cls.BUILDER_CONFIGS[0])(name=HOSTED, description=text, hosted=True)
        cls.BUILDER_CONFIGS = [*cls.BUILDER_CONFIGS, hosted]

    @property
    def system(self) -> System:
        """The System whose data these are, on their grid."""
        resolution = self.builder_config.resolution
        return systems.get(f"{self.SYSTEM}:{resolution}" if resolution else self.SYSTEM)

    # set by ``prepare``; tfds.load has no way to give them
    workers: int | None = None
    archive: Archive | None = None
    beam: "beam.PipelineOptions | None" = None

    @abc.abstractmethod
    def groups(self, manual_dir: pathlib.Path | None) -> Sequence[Group]:
        """All groups of trajectories of this config, in the order of the splits' examples."""

    @abc.abstractmethod
    def solver_metadata(self) -> dict[str, object]:
        """How the data were made, such as {"dt": 0.5}: JSON values."""

    def cost_estimate(self) -> str | None:
        """What building this config takes, as one line that is printed before; None: little."""
        return None

    # ------------------------------------------------------------------ building

    @classmethod
    def prepare(
        cls,
        config: str,
        data_dir: str | pathlib.Path | None,
        workers: int | None,
        data_url: str | None = None,
        beam_options: str | None = None,
        resolution: str = "",
    ) -> "TrajectoryBuilder":
        """The builder of ``config``, built on disk. See ``tfunroll.datasets.build``."""
        builder = cls.of(config, data_dir, resolution)
        if data_url:
            check_choice("data_url needs dataset_config: dataset_config", config, [HOSTED])
            builder.archive = Archive.at(data_url)
        if beam_options is not None:
            builder.beam = beam.options(beam_options)
        if builder.data_path.exists():
            builder._check_archive()
            return builder
        if config == HOSTED and not data_url:
            raise InputError(
                f"dataset_config={HOSTED} needs data_url, the address of an archive that "
                "scripts/publish_data.py made: scripts/generate_data.py --data_url=URL"
            )
        check_writable(pathlib.Path(builder.data_dir_root))
        if not builder.builder_config.hosted and (cost := builder.cost_estimate()):
            print(f"{cls.name}/{builder.builder_config.name}: {cost}", flush=True)
        warn_of_parameters(builder)
        builder.workers = workers
        download = tfds.download.DownloadConfig(try_download_gcs=False, beam_options=builder.beam)
        with quiet_tfds():
            builder.download_and_prepare(download_config=download)
        # as it is on disk: another process may have built it while this one waited
        return cls.prepare(config, data_dir, workers, data_url, beam_options, resolution)

    def download_and_prepare(self, **kwargs) -> None:
        """As TFDS does, but one process at a time; what killed builds left beside it goes."""
        with one_at_a_time(self.cache_dir):
            pattern = f"{tfds.core.constants.INCOMPLETE_PREFIX}*_{self.data_path.name}"
            for leftover in pathlib.Path(self.data_path.parent).glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)
            super().download_and_prepare(**kwargs)

    @classmethod
    def of(
        cls,
        config: str,
        data_dir: str | pathlib.Path | None = None,
        resolution: str = "",
        **changes,
    ) -> "TrajectoryBuilder":
        """The builder of ``config``, whether built or not.

        Args:
          resolution: options of the system's grid, such as "points=64", which then are part of the
            config's name and so of its folder: "tiny-points64".
          changes: of the config's fields, ``name`` among them.
        Raises: InputError: for an unknown config, one that has no data on another grid, or a built
          folder without readable metadata.
        """
        check_choice("dataset_config", config, cls.builder_configs)
        chosen = cls.builder_configs[config]
        if resolution:
            chosen = cls._on_grid(chosen, resolution)
        if changes:
            chosen = dataclasses.replace(chosen, **changes)
        root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
        if root.exists() and not root.is_dir():
            raise InputError(f"data_dir={str(root)!r} is a file; it must be a folder")
        folder = root / cls.name / chosen.name / str(cls.VERSION)
        with broken_is_input_error(folder), quiet_logging():
            return cls(config=chosen, data_dir=str(root))

    @classmethod
    def _on_grid(cls, config: TrajectoryConfig, resolution: str) -> TrajectoryConfig:
        system = systems.get(f"{cls.SYSTEM}:{resolution}")
        if config.manual or config.hosted:
            allowed = [n for n, c in cls.builder_configs.items() if not (c.manual or c.hosted)]
            raise InputError(
                f"dataset_config={config.name} was made elsewhere, not for system={system.name}; "
                f"allowed: {', '.join(allowed)}"
            )
        return dataclasses.replace(
            config,
            name=f"{config.name}-{resolution.replace('=', '').replace(',', '-')}",
            base=config.name,
            resolution=resolution,
            **config.on_grid(system),
        )

    def in_memory(self, split: str) -> list[dict]:
        """The examples of a split, made now and kept nowhere; as ``examples`` returns them."""
        groups = [group for group in self.groups(None) if group.split == split]
        return [example for group in groups for example in _examples(group, group.generate())]

    def examples(self, split: str) -> list[dict]:
        """All examples of a split of a built dataset, as NumPy arrays.

        Raises: InputError: if files are missing, truncated or broken; it names the folder.
        """
        with broken_is_input_error(self.data_path):
            read = list(tfds.as_numpy(self.as_dataset(split=split)))
            promised = self.info.splits[split].num_examples
            if len(read) != promised:
                raise ValueError(f"{len(read)} of {promised} trajectories of {split}")
            return read

    @property
    def content(self) -> str:
        """The config whose examples these are: for ``hosted`` that of the archive."""
        if not self.builder_config.hosted:
            return self.builder_config.name
        return self.info.metadata["archive_config"]

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells per space axis of the stored states: those of the networks, unless overridden."""
        return self.system.domain.shape

    @property
    def cache_dir(self) -> pathlib.Path:
        """Where finished groups are kept; may be deleted at any time."""
        root = pathlib.Path(self.data_dir_root)
        return root / "cache" / self.name / self.builder_config.name / str(self.version)

    # ------------------------------------------------------------------ what TFDS asks for

    def _info(self) -> tfds.core.DatasetInfo:
        if self.builder_config.hosted:  # all else comes with the archive
            return self.dataset_info_from_configs(disable_shuffling=True)
        system = self.system
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

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        if not self.builder_config.hosted:
            return super()._download_and_prepare(dl_manager, download_config)
        download_dir, folder = self.cache_dir / "download", pathlib.Path(self.data_dir)
        try:
            self.archive.fetch(download_dir, folder)
        finally:  # what was downloaded is either unpacked or of no use
            shutil.rmtree(download_dir, ignore_errors=True)
        config = self.archive.check(folder, self.name, str(self.version))
        (folder / SUMS).unlink(missing_ok=True)  # TFDS writes two of the files anew
        self.info.read_from_directory(folder)
        self.info.metadata.load_metadata_if_needed()
        self.info.metadata.update(archive_config=config, archive_sha256=self.archive.sha256)

    def _check_archive(self) -> None:
        """InputError if another archive than the one that is asked for stands here."""
        present = self.archive and self.info.metadata["archive_sha256"]
        if self.archive and present != self.archive.sha256:
            raise InputError(
                f"data_url={self.archive.url} has the SHA-256 {self.archive.sha256}, but "
                f"{self.data_path} holds the archive {present}: delete that folder, or choose "
                "another data_dir"
            )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual_dir = None
        if self.builder_config.manual:
            try:
                manual_dir = pathlib.Path(dl_manager.manual_dir)
            except AssertionError as error:  # missing or empty folder
                raise InputError(" ".join(str(error).split())) from None
        groups = self.groups(manual_dir)
        splits = {
            split: [group for group in groups if group.split == split]
            for split in self.system.splits
        }
        if self.beam:  # Beam fills the cache, with its own workers
            return {s: beam.examples(g, self.cache_dir, group_examples) for s, g in splits.items()}
        workers = self.workers if self.builder_config.parallel else 1
        title = f"{self.name}/{self.builder_config.name}"
        generate_missing(groups, self.cache_dir, workers, title)
        return {split: self._generate_examples(groups) for split, groups in splits.items()}

    def _generate_examples(self, groups: Sequence[Group]) -> Iterator[tuple[int, dict]]:
        made = (example for group in groups for example in group_examples(group, self.cache_dir))
        yield from enumerate(made)


def group_examples(group: Group, cache_dir: pathlib.Path) -> Iterator[dict]:
    """The examples of a group, from the cache or made now."""
    return _examples(group, group.load(cache_dir))


def _examples(group: Group, arrays: Arrays) -> Iterator[dict]:
    for i in range(len(arrays["state"])):
        yield _example(arrays, i, f"{group.split}/{group.label}/{i}")


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
