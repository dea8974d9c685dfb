"""Trains a neural stepper as ONE, NOG and WIG, evaluates it on unseen parameters and plots it.

Without flags: a small correction of a Kuramoto-Sivashinsky solver, in minutes on a laptop.
"""

from tfunroll import cli

cli.define_config_flags()


def main():
    from tfunroll import runs

    print(runs.run(cli.config_from_flags()))


if __name__ == "__main__":
    cli.main(main)
