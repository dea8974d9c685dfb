"""Time of an update in each run and modality of a study, in its stage of the longest horizon.

python benchmarks/update_times.py --study=alternatives --variant=mini

Tells with how many updates the runs of a study take equally long: the last column, for the time
that the updates of the first row take. All cases are timed in turn, ``--pairs`` times; medians.
"""

import statistics

from absl import app, flags
from side_by_side import limit_threads
from tabulate import tabulate

flags.DEFINE_string("study", "alternatives", "name, or path of a TOML file")
flags.DEFINE_string("variant", "mini", "mini, small or paper")
FLAGS = flags.FLAGS
COLUMNS = ("run", "modality", "ms", "ratio to the first", "updates of equal time")


def main(_):
    limit_threads(FLAGS.threads)
    from tfunroll.study import costs, description

    study = description.load(FLAGS.study, FLAGS.variant)
    configs = {run_id: study.config(run_id).resolved() for run_id in study.runs}
    cases = [(i, modality) for i, config in configs.items() for modality in config.modalities]
    times = {case: [] for case in cases}
    for _ in range(FLAGS.pairs):
        for run_id, modality in cases:
            seconds, _ = costs.time_of_update(configs[run_id], modality)
            times[run_id, modality].append(1e3 * seconds)
    medians = {case: statistics.median(values) for case, values in times.items()}
    first = medians[cases[0]]
    budget = max(configs[cases[0][0]].stages(), key=lambda stage: stage.steps).updates
    rows = [(*case, ms, ms / first, round(budget * first / ms)) for case, ms in medians.items()]
    print(tabulate(rows, COLUMNS, floatfmt=("", "", ".3g", ".2f", "d")))


if __name__ == "__main__":
    app.run(main)
