"""Runs a study: a matrix of trainings, described in tfunroll/study/studies/, and what it shows.

tfunroll study --study=modalities --variant=mini --dry_run     # runs, updates, time
tfunroll study --study=modalities --variant=mini               # again: goes on
tfunroll study --study=modalities --variant=mini --shard=2/4   # or --run=ID; then:
tfunroll study --gather --out=runs/study-modalities-mini
"""

import pathlib

from absl import flags

from tfunroll.core import IncompleteError, InputError
from tfunroll.runs import cli

cli.define("study", "study", "", "name, or path of a TOML file", path=True)
cli.define("study", "variant", "mini", "mini (two cores, an hour), small (a GPU, hours) or paper")
cli.define("study", "out", "", "folder of the study; runs/study-NAME-VARIANT if empty", path=True)
cli.define(
    "study", "data_dir", "", "where datasets live; TFDS's default folder if empty", path=True
)
cli.define("study", "workers", 0, "processes side by side; one per core if 0")
cli.define("part", "shard", "", "i/n: every n-th run from the i-th on, for schedulers")
cli.define("part", "run", "", "ids of the runs to do, comma list")
cli.define("instead", "dry_run", False, "print runs, updates and estimated time; run nothing")
cli.define("instead", "gather", False, "table, summary, figures, findings from saved results")
cli.define(
    "instead", "docs", "", "with --gather or --dry_run: folder to write findings.md into", path=True
)


def main():
    given = flags.FLAGS
    from tfunroll import study

    if given.gather:
        if not given.out:
            raise InputError("out: --gather needs the study's folder, or a comma list of them")
        print(study.gather([pathlib.Path(p) for p in given.out.split(",")], given.docs))
        return
    if not given.study:
        raise InputError(f"study is empty; allowed: {', '.join(study.names())}")
    chosen = study.load(given.study, given.variant)
    out = pathlib.Path(given.out or f"runs/study-{chosen.name}-{chosen.variant}")
    if given.dry_run or chosen.variant == "paper":
        print(study.estimate(chosen, out, given.shard, given.run, given.workers, given.docs))
    if given.dry_run:
        return
    failed = study.run(chosen, out, given.shard, given.run, given.workers, given.data_dir)
    if not given.shard and not given.run and len(failed) < len(chosen.runs):
        print(study.gather([out]), flush=True)
    if failed:
        raise IncompleteError(study.report(failed))
