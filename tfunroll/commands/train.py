"""Trains a neural stepper as ONE, NOG and WIG, evaluates it on unseen parameters and plots it.

Without flags: a small correction of a Kuramoto-Sivashinsky solver, in minutes on a laptop.
"""

import sys

from tfunroll.runs import cli

LONGER = """
This was the small demo. `make study-ks` trains the paper's network, longer and on the full dataset;
docs/ks.md has its table."""

cli.define_config_flags()


def main():
    from tfunroll.runs import running

    print(running.run(cli.config_from_flags()))
    if len(sys.argv) == 1:
        print(LONGER)
