"""Evaluates every trained network of a run again: other horizons, start frames or metrics."""

import pathlib

from absl import flags

from tfunroll.runs import cli

cli.define("run", "run", "", "folder of the run", path=True)
cli.define(
    "run", "out", "", "new folder for the results; in place of the run's own if empty", path=True
)
cli.define("run", "workers", 0, "processes side by side; one per core if 0")
cli.define("evaluation", "horizon", 0, "frames of the error metrics; the run's if 0")
cli.define("evaluation", "long_horizon", 0, "frames of the time metrics; the run's if 0")
cli.define("evaluation", "starts", 0, "start frames per test trajectory; the run's if 0")
cli.define("evaluation", "metrics", (), "comma list; the run's if empty")
cli.define("evaluation", "ensemble", False, "the seeds of each modality as one ensemble, too")


def main():
    from tfunroll.runs import running
    from tfunroll.runs.config import RunConfig

    names = (*RunConfig.names("evaluation"), "workers")
    values = {name: flags.FLAGS[name].value for name in names if name in flags.FLAGS}
    if values["metrics"]:
        values["metrics"] = tuple(values["metrics"])
    settings = {name: value for name, value in values.items() if value}
    print(running.evaluate(pathlib.Path(flags.FLAGS.run), flags.FLAGS.out, **settings))
