"""TFDS datasets of tfunroll, one folder per system, and ``build`` which makes them.

Whoever has imported this package can say ``tfds.load("cylinder_wake/tiny")``.
A dataset is a folder NAME with a module NAME_dataset_builder.py; there is no list to add it to.
"""

import importlib
import pathlib
import warnings

import numpy as np
from tabulate import tabulate
from tensorflow_datasets.core import registered
from tfunroll.datasets.base import TrajectoryBuilder, energy
from tfunroll.datasets.own import generate_own
from tfunroll.datasets.publishing import publish

from tfunroll import novelty, systems, user_modules
from tfunroll.core import InputError, check_choice

ENDING = "_dataset_builder.py"
NAMES = tuple(
    sorted(
        path.parent.name
        for path in pathlib.Path(__file__).parent.glob(f"*/*{ENDING}")
        if path.name == path.parent.name + ENDING
    )
)

__all__ = [
    "NAMES",
    "TrajectoryBuilder",
    "build",
    "builder_class",
    "describe",
    "energy",
    "generate_own",
    "publish",
]


def builder_class(name: str) -> type[TrajectoryBuilder]:
    """The builder class of a dataset, named by itself or by its system ("ks").

    Raises: InputError: for an unknown name.
    """
    if systems.is_registered(name) or user_modules.is_path(name):
        system = systems.get(name)
        if not (name := system.dataset):
            raise InputError(
                f"system {system.name} has no dataset of its own: give trajectories by "
                "--data=description.json"
            )
    check_choice("dataset", name, (*NAMES, *systems.MODULES))
    module = f"tfunroll.datasets.{name}.{name}_dataset_builder"
    return importlib.import_module(module).Builder


class _Provider:
    """Tells TFDS of the builders by name, and imports one when it is asked for."""

    def has_dataset(self, name: str) -> bool:
        return name in NAMES

    def get_builder_cls(self, name: str) -> type[TrajectoryBuilder]:
        return builder_class(name)


registered.add_dataset_builder_provider(_Provider())


def build(
    name: str,
    config: str = "tiny",
    data_dir: str | pathlib.Path | None = None,
    workers: int | None = None,
    data_url: str | None = None,
    beam_options: str | None = None,
) -> TrajectoryBuilder:
    """Prepares a dataset on disk, with a progress bar; at once if it is there already.

    Generation with several workers starts processes: a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
      name: dataset or system, such as "kuramoto_sivashinsky", "ks" or "ks:points=64".
      config: a config of the dataset, such as "tiny".
      data_dir: folder of all datasets; TFDS's default ($TFDS_DATA_DIR, ~/tensorflow_datasets).
      workers: processes that generate side by side; None or 0: one per core.
      data_url: for the config "hosted", the address of an archive; see ``hosting.Archive.at``.
      beam_options: generate as an Apache Beam pipeline with these flags of Beam, "" for its
        defaults; ``workers`` then means nothing. The examples are the same, in the same order.
    Returns:
      the builder, ready for ``as_dataset``.
    Raises:
      InputError: unknown name or config, unwritable folder, missing or broken published arrays,
        an archive that cannot be downloaded or is not the right one; no apache-beam, or flags it
        does not know.
    """
    builder = builder_class(name)
    resolution = "" if name in NAMES else str(systems.get(name).resolution)
    return builder.prepare(config, data_dir, workers, data_url, beam_options, resolution)


def describe(builder: TrajectoryBuilder) -> str:
    """A small table of what a built dataset holds, how new its validation is, and where it is.

    Warns where validation is not new: see ``tfunroll.novelty``.
    """
    rows, states = [], {}
    for split, info in builder.info.splits.items():
        frames, params = set(), {}
        examples = builder.examples(split)
        states[split] = [example["state"] for example in examples]
        for example in examples:
            frames.add(len(example["state"]))
            for name, value in example["params"].items():
                params.setdefault(name, set()).add(float(value))
        values = "; ".join(
            f"{name} {', '.join(f'{v:.4g}' for v in sorted(found))}"
            for name, found in params.items()
        )
        rows.append((split, info.num_examples, "/".join(map(str, sorted(frames))), values))
    table = tabulate(rows, ("split", "trajectories", "frames", "parameters"))
    line, doubts = novelty.describe(np.stack(states["validation"]), np.stack(states["train"]))
    for doubt in doubts:
        warnings.warn(f"{builder.data_path}: {doubt}", stacklevel=2)
    return f"{table}\n{line}\n{builder.data_path}"
