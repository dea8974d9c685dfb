"""Whether the stored flows are stationary: their energy before and after the spin-up's end.

python -m tfunroll.validation.stationarity --dataset_config=study
"""

import argparse

import numpy as np
from tabulate import tabulate

from tfunroll.datasets import builder_class

COLUMNS = ("reynolds", "trajectories", "3rd quarter", "4th quarter", "kept", "growth", "error")


def growth(spin_up: np.ndarray) -> tuple[np.ndarray, float, float]:
    """How much the mean energy still grows.

    Args: spin_up: energy per time unit, [trajectory, time].
    Returns:
      mean energies of the third and the fourth quarter of the spin-up over all trajectories, the
      relative growth from one to the other, and its standard error over the trajectories (inf for
      a single one).
    """
    half = spin_up[:, spin_up.shape[1] // 2 :]
    quarters = np.stack([q.mean(1) for q in np.array_split(half, 2, axis=1)], 1)
    change = quarters[:, 1] / quarters[:, 0] - 1
    count = len(change)
    error = change.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return quarters.mean(0), float(change.mean()), float(error)


def table(config: str, data_dir: str | None = None) -> str:
    """One line per Reynolds number of the training split and the tests."""
    builder = builder_class("kolmogorov").of(config, data_dir)
    rows = []
    for split in ("train", "test_interpolation", "test_extrapolation"):
        examples = builder.examples(split)
        values = np.array([e["params"]["reynolds"] for e in examples])
        for reynolds in np.unique(values):
            chosen = [
                e["diagnostics"] for e, v in zip(examples, values, strict=True) if v == reynolds
            ]
            means, change, error = growth(np.stack([d["spin_up_energy"] for d in chosen]))
            kept = np.mean([d["energy"].mean() for d in chosen])
            rows.append((reynolds, len(chosen), *means, kept, f"{change:+.1%}", f"{error:.1%}"))
    return tabulate(rows, COLUMNS, floatfmt=("g", "d", ".2f", ".2f", ".2f"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset_config", default="study")
    parser.add_argument("--data_dir")
    given = parser.parse_args()
    print(table(given.dataset_config, given.data_dir))
