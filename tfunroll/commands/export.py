"""Writes a trained stepper, network and solver, as a SavedModel that steps without tfunroll.

tfunroll export --run=runs/mine/WIG/0 --out=exported
tfunroll export --run=runs/mine/WIG --out=exported      all seeds, whose increments are averaged
"""

from absl import flags

from tfunroll.runs import cli

cli.define(
    *("export", "run", "", "RUN/<modality>/<seed>, or RUN/<modality>: the mean step of all seeds"),
    path=True,
)
cli.define("export", "out", "", "folder to write", path=True)


def main() -> None:
    import tfunroll  # after --help and the check of the flags
    from tfunroll.core import InputError

    for name in ("run", "out"):
        if not flags.FLAGS[name].value:
            raise InputError(f"{name} is missing: name a folder")
    print(tfunroll.export(flags.FLAGS.run, flags.FLAGS.out))
