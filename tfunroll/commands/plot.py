"""Draws the figures and prints the table of a run again, from its saved results."""

import pathlib

from absl import flags

from tfunroll.runs import cli

cli.define("run", "run", "", "folder of the run", path=True)


def main():
    from tfunroll.runs import running

    print(running.gather(pathlib.Path(flags.FLAGS.run)))
