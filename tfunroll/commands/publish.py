"""Packs a built dataset for others: archive, checksum, data card and licence.

tfunroll publish --system=ks --dataset_config=study --out=published
"""

from absl import flags

from tfunroll.runs import cli

cli.define("dataset", "system", "ks", "a name such as ks, or path/to/module.py:SYSTEM")
cli.define("dataset", "dataset_config", "tiny", "config, such as tiny or study")
cli.define(
    "dataset", "data_dir", "", "folder it was built in; TFDS's default folder if empty", path=True
)
cli.define("publication", "out", "published", "folder to write into", path=True)
cli.define("publication", "licence", "CC-BY-4.0", "CC-BY-4.0, CC0-1.0, or a text file")


def main() -> None:
    from tfunroll import datasets, systems  # after --help and the check of the flags

    given = flags.FLAGS
    system = systems.get(given.system)  # names the flag where there is none
    builder = datasets.builder_class(given.system).of(
        given.dataset_config, given.data_dir or None, str(system.resolution)
    )
    archive = datasets.publish(builder, given.out, given.licence)
    print(f"{archive}\nchecksum: {archive}.sha256")
