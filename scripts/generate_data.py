"""Builds a dataset: trajectories of a system by its reference solver, on all cores, resumable.

python scripts/generate_data.py --system=ks --dataset_config=study
"""

from absl import flags

from tfunroll import cli

cli.define("dataset", "system", "ks", "physical system: ks or kolmogorov")
cli.define("dataset", "dataset_config", "tiny", "config, such as tiny or study")
cli.define("dataset", "data_dir", "", "folder to build in; TFDS's default folder if empty")
cli.define("dataset", "workers", 0, "processes side by side; one per core if 0")


def main() -> None:
    from tfunroll import datasets  # after --help and the check of the flags

    given = flags.FLAGS
    builder = datasets.build(
        given.system, given.dataset_config, given.data_dir or None, given.workers
    )
    print(datasets.describe(builder))


if __name__ == "__main__":
    cli.main(main)
