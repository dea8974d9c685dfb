"""Error, CRPS and spread of runs by frame, as docs/uncertainty.md has them.

python benchmarks/uncertainty.py --runs=runs/demo,runs/line --frames=1,5,12,30,60

Runs are folders that scripts/train.py or scripts/evaluate.py wrote, with the metrics nrmse and mae.
"""

import pathlib

from absl import app, flags

RUNS = flags.DEFINE_list("runs", "", "folders of runs")
FRAMES = flags.DEFINE_list("frames", "1,5,12,30,60", "frames of the errors")
MODELS = flags.DEFINE_list("models", "", "such as WIG, with its ensembles; all if empty")


def rows(folder: pathlib.Path, frames: list[int], models: list[str]):
    """(test set, cells): of each network and ensemble of a run."""
    from tfunroll.evaluation import results
    from tfunroll.runs.running import saved_results

    table = saved_results(folder)
    table = table[table["kind"].isin((results.NETWORK, results.ENSEMBLE))]
    summary = results.summarise(table)
    summary = summary[summary["subset"] == "all"]
    for (test_set, name), part in summary.groupby(["test_set", "modality"], sort=False):
        if models and name.partition(",")[0] not in models:
            continue
        by_frame = part[part["frame"].notna()].set_index(["metric", "frame"])["value"]
        whole = part[part["frame"].isna()].set_index("metric")
        cells = {"run": folder.name, "model": name}
        cells["error"] = results.scientific(whole.loc["relative_error", "value"])
        score = "crps" if "crps" in set(part["metric"]) else "mae"
        for metric, label in (("nrmse", "RMSE"), (score, "CRPS"), ("spread_skill", "spread/error")):
            found = [by_frame.get((metric, frame)) for frame in frames]
            text = " ".join("–" if value is None else f"{value:.2g}" for value in found)
            cells[label] = "–" if set(text) == {"–", " "} else text
        cells["diverged"] = f"{whole.loc['divergence_time', 'diverged']:.0%}"
        yield test_set, cells


def main(_):
    from tabulate import tabulate

    from tfunroll.evaluation.results import SETS

    frames = [int(frame) for frame in FRAMES.value]
    found = [row for run in RUNS.value for row in rows(pathlib.Path(run), frames, MODELS.value)]
    for test_set, name in SETS.items():
        cells = [cells for where, cells in found if where == test_set]
        print(f"\n{name}, at frames {', '.join(FRAMES.value)}\n")
        print(tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    app.run(main)
