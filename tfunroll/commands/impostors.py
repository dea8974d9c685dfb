"""What the metrics of a system can tell: their scores of rollouts that are not the reference.

tfunroll impostors --system=wake --dataset_config=tiny
tfunroll impostors --system=path/to/module.py:SYSTEM --data=path/to/own.json

Parentheses: the metric is blind to this impostor by definition; docs/metrics.md says why. A mark !:
it should see it and does not. Below: when the correlation falls under other thresholds.
"""

from absl import flags

from tfunroll.core import InputError
from tfunroll.runs import cli

cli.define("data", "system", "ks", "ks, ks:points=64, …, or path/to/module.py:SYSTEM")
cli.define("data", "dataset_config", "tiny", "config of its dataset, such as tiny or study")
cli.define(
    "data", "data", "", "description file of own trajectories, in place of a dataset", path=True
)
cli.define("data", "data_dir", "", "folder of all datasets; TFDS's default if empty", path=True)
cli.define("measurement", "horizon", 0, "frames of the error metrics; the system's if 0")
cli.define("measurement", "long_horizon", 0, "frames of the time metrics; the system's if 0")


def main() -> None:
    from tabulate import tabulate

    from tfunroll import data, systems  # after --help and the check of the flags
    from tfunroll.validation import impostors

    given = flags.FLAGS
    for name in ("horizon", "long_horizon"):
        if given[name].value < 0:
            raise InputError(f"{name}={given[name].value} must be at least 0")
    system = systems.get(given.system)
    dataset = data.load(system, given.dataset_config, given.data_dir or None, given.data or None)
    states, params = impostors.test_trajectories(system, dataset)
    rollouts = impostors.make(system, states, params, given.long_horizon or None)
    names = impostors.defined_metrics(system, dataset.on_reference_grid)
    scores = impostors.table(system, rollouts, states[:, 0], params, names, given.horizon or None)
    print(
        impostors.format_table(scores),
        "\nCorrelation time by threshold, mean [largest]:\n",
        sep="\n",
    )
    times = impostors.by_threshold(system, rollouts)
    print(tabulate(times, headers="keys", tablefmt="github", disable_numparse=True))
