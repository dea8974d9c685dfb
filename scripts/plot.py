"""Draws the figures and prints the table of a run again, from its saved results."""

import pathlib

from absl import flags

from tfunroll import cli

cli.define("run", "run", "", "folder of the run")


def main():
    from tfunroll import runs

    print(runs.gather(pathlib.Path(flags.FLAGS.run)))


if __name__ == "__main__":
    cli.main(main)
