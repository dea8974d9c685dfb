"""The paper's Kuramoto-Sivashinsky set-up, on arrays of its shapes made by our reference solver.

500 frames of 6 initial states for each of 6 domain sizes, 20 test trajectories for each of 4;
network (26, 8), parallel correction, m = 3, 10,044 updates of batch 16 at 1e-4 × 0.9 every 2,000.

    python benchmarks/paper_setup.py --initial=zero --seeds=0,1,2,3,4     # trains what is missing
    python benchmarks/paper_setup.py --table                              # errors of all starts
"""

import pathlib

import numpy as np
from absl import app, flags

DATA = flags.DEFINE_string("data", "runs/paper_setup/data", "folder of the arrays and the dataset")
OUT = flags.DEFINE_string("out", "runs/paper_setup", "folder of the runs, one per start")
INITIAL = flags.DEFINE_string("initial", "zero", "start of the weights")
SEEDS = flags.DEFINE_list("seeds", [0, 1, 2, 3, 4], "seeds")
WORKERS = flags.DEFINE_integer("workers", 0, "processes side by side")
TABLE = flags.DEFINE_bool("table", False, "print the errors of what was trained")

FRAMES = 500
PAPERS_CODE = {"ONE": 1.6e-3, "NOG": 1.3e-3, "WIG": 1.2e-3}  # run once, one seed, such arrays


def make_arrays(folder: pathlib.Path) -> None:
    """The files that config ``published`` of the dataset reads."""
    from tfunroll.datasets.kuramoto_sivashinsky import published
    from tfunroll.datasets.kuramoto_sivashinsky.simulated import SimulatedGroup

    folder.mkdir(parents=True, exist_ok=True)
    files = [("train", 6, published.TRAIN_FILES)]
    files += [(split, 20, names) for split, names in published.TEST_FILES.items()]
    for split, count, names in files:
        for name, size in names.items():
            if not (folder / name).exists():
                group = SimulatedGroup(split, size, count, FRAMES, 200, 48, 0.5, 2)
                np.savez(folder / name, group.generate()["state"][..., 0])


def train(data: pathlib.Path, out: pathlib.Path) -> None:
    """One start, all modalities and seeds; goes on with what is there."""
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.running import run

    config = RunConfig(
        dataset_config="published",
        data_dir=str(data),
        width=26,
        depth=8,
        initial=INITIAL.value,
        curriculum="3:10044",
        learning_rate=1e-4,
        seeds=tuple(int(seed) for seed in SEEDS.value),
        workers=WORKERS.value,
        out=str(out / INITIAL.value),
        resume=(out / INITIAL.value / "config.json").exists(),
    )
    print(run(config))


def networks(out: pathlib.Path):
    """One row per network: initial, modality, seed, mean relative error over all test sizes."""
    import pandas as pd

    from tfunroll.evaluation.results import read_csv

    parts = []
    for path in sorted(out.glob("*/results.csv")):
        results = read_csv(path)
        errors = results[results["metric"] == "relative_error"]
        errors = errors[errors["modality"].isin(list(PAPERS_CODE))]
        means = errors.groupby(["modality", "seed"], sort=False)["value"].mean()
        parts.append(means.rename("error").reset_index().assign(initial=path.parent.name))
    return pd.concat(parts, ignore_index=True)[["initial", "modality", "seed", "error"]]


def table(out: pathlib.Path) -> None:
    """Arithmetic means over seeds, as the paper takes them, and their ratios to its code."""
    from tabulate import tabulate

    found = networks(out)
    found.to_csv(out / "networks.csv", index=False, float_format="%.5g")
    rows = []
    for (initial, modality), errors in found.groupby(["initial", "modality"], sort=False)["error"]:
        row = {"initial": initial, "modality": modality, "seeds": len(errors)}
        row |= {"error": errors.mean(), "least": errors.min(), "largest": errors.max()}
        rows.append(row | {"over the paper's code": errors.mean() / PAPERS_CODE[modality]})
    formats = ("", "", "", ".2e", ".2e", ".2e", ".2f")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=formats))


def main(argv):
    data, out = (pathlib.Path(flag.value).absolute() for flag in (DATA, OUT))
    if TABLE.value:
        return table(out)
    make_arrays(data / "downloads" / "manual")
    train(data, out)


if __name__ == "__main__":
    from tfunroll.runs import programs

    programs.keep()
    app.run(main)
