"""Every network as ONE, NOG and WIG, correction and prediction, on Kuramoto-Sivashinsky: a table.

A small budget, the same for all: it compares modalities within a network and mode, not networks at
their best. Runs that are there already are not trained again.
"""

import pathlib

from absl import app, flags

flags.DEFINE_list("nets", None, "architectures; all if not given")
flags.DEFINE_list("modes", ["correction", "prediction"], "which")
flags.DEFINE_string("size", "1k", "of the networks")
flags.DEFINE_list("seeds", ["0", "1"], "networks of each kind")
flags.DEFINE_string("curriculum", "1:600:1e-3,3:300:5e-4", "see scripts/train.py")
flags.DEFINE_string("out", "runs/networks", "folder of the runs")
FLAGS = flags.FLAGS
MODALITIES = ("ONE", "NOG", "WIG")


def main(_):
    import pandas as pd
    from tabulate import tabulate

    from tfunroll import nets, runs
    from tfunroll.config import RunConfig

    rows = []
    for mode in FLAGS.modes:
        for net in FLAGS.nets or nets.NETS:
            out = pathlib.Path(FLAGS.out) / f"{mode}-{net}"
            config = RunConfig(
                net=net,
                size=FLAGS.size,
                mode=mode,
                residual=mode == "prediction",
                curriculum=FLAGS.curriculum,
                seeds=tuple(map(int, FLAGS.seeds)),
                jit="off",  # such short trainings end before compilation has paid
                long_horizon=60,
                starts=1,
                out=str(out),
            )
            if not (out / "summary.csv").exists():
                runs.run(config)
            table = pd.read_csv(out / "results.csv")
            table = table[(table.metric == "relative_error") & table.frame.isna()]
            weights = int(table[table.modality == "ONE"].num_weights.iloc[0])
            for test_set in ("test_interpolation", "test_extrapolation"):
                chosen = table[table.test_set == test_set]
                errors = chosen.groupby(["modality", "seed"]).value.median()
                errors = errors.groupby("modality").mean()
                values = [f"{errors[m]:.3g}" for m in MODALITIES]
                ratios = [f"{errors[m] / errors['ONE']:.2f}" for m in MODALITIES[1:]]
                rows.append([mode, net, weights, test_set.split("_")[1], *values, *ratios])
            print(f"{mode} {net} done", flush=True)
    header = ["mode", "net", "weights", "test", *MODALITIES, "NOG/ONE", "WIG/ONE"]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    app.run(main)
