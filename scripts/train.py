"""Trains a neural stepper as ONE, NOG and WIG, evaluates it on unseen parameters and plots it.

Without flags: a small correction of a Kuramoto-Sivashinsky solver, in minutes on a laptop.
"""

import sys

from tfunroll.runs import cli

LONGER = """
This was the small demo. The paper's network, trained longer on the full dataset by `make study-ks`,
gives NOG/ONE 0.96 and WIG/ONE 0.63 on interpolation, 0.85 and 0.58 on extrapolation: see README."""

cli.define_config_flags()


def main():
    from tfunroll.runs import running

    print(running.run(cli.config_from_flags()))
    if len(sys.argv) == 1:
        print(LONGER)


if __name__ == "__main__":
    cli.main(main)
