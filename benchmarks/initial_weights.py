"""Validation errors by network and initial weights, from the runs of the study ``initial``.

python scripts/study.py --study=initial --variant=mini --out=runs/initial
python benchmarks/initial_weights.py --study=runs/initial
"""

import pathlib

from absl import app, flags

STUDY = flags.DEFINE_string("study", "runs/initial", "folder of the study")


def main(_):
    from tabulate import tabulate

    from tfunroll.study.collection import collect
    from tfunroll.study.starts import initial, ratios, table

    gathered = collect(pathlib.Path(STUDY.value))
    print(tabulate(table(gathered), "keys", tablefmt="github", showindex=False))
    print("\nover that from Glorot's start, modalities and seeds together:\n")
    over = ratios(gathered)
    print(tabulate(over.reset_index(), "keys", tablefmt="github", showindex=False, floatfmt=".2f"))
    found = initial(gathered)
    print(f"\n{found.ours}\n{found.why}")


if __name__ == "__main__":
    app.run(main)
