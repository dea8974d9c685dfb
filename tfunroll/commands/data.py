"""Builds a dataset: trajectories of a system by its reference solver, on all cores, resumable.

tfunroll data --system=ks --dataset_config=study
tfunroll data --system=ks:points=64 --dataset_config=tiny
tfunroll data --system=path/to/module.py:SYSTEM --data_dir=data
tfunroll data --system=ks --dataset_config=hosted --data_url=https://host/x.tar.gz
"""

from absl import flags

from tfunroll.core import InputError
from tfunroll.runs import cli

cli.define("dataset", "system", "ks", "ks, ks:points=64, …, or path/to/module.py:SYSTEM")
cli.define("dataset", "dataset_config", "tiny", "config, such as tiny or study")
cli.define("dataset", "data_url", "", "hosted: archive of publish_data.py, URL[#sha256=HEX]")
cli.define(
    "dataset", "data_dir", "", "folder to build in; TFDS's default folder if empty", path=True
)
cli.define("dataset", "trajectories", 4, "own system without a dataset: per parameter value")
cli.define("dataset", "frames", 300, "own system without a dataset: of each trajectory")
cli.define("dataset", "beam", False, "generate as an Apache Beam pipeline; extra `beam`")
cli.define("dataset", "beam_options", "", 'flags of Beam, such as "--runner=FlinkRunner"')
cli.define("dataset", "workers", 0, "processes side by side; one per core if 0")


def main() -> None:
    from tfunroll import data, datasets, systems  # after --help and the check of the flags

    given = flags.FLAGS
    if given.beam_options and not given.beam:
        raise InputError("beam_options needs --beam")
    if given.workers and given.beam:
        raise InputError("workers is not for --beam; see its --direct_num_workers in docs/data.md")
    system = systems.get(given.system)
    if not system.dataset:
        if not given.data_dir:
            raise InputError("data_dir is missing: the folder for the trajectories of your system")
        made = datasets.generate_own(system, given.data_dir, given.trajectories, given.frames)
        data.load(system, own=made)  # says how new validation is, refuses copies
        print(f"{made}\ntrain with: --system={given.system} --data={made}")
        return
    builder = datasets.build(
        given.system,
        given.dataset_config,
        given.data_dir or None,
        given.workers,
        given.data_url or None,
        given.beam_options if given.beam else None,
    )
    print(datasets.describe(builder))
