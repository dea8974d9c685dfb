"""Where the time to a trained and evaluated ONE/NOG/WIG triple goes, on one process.

Start-up, data, compilation, training and evaluation, measured around the calls that a run makes.
"ours" is the part, "peer" the whole, the ratio its share. Last, the time between the compiled calls
against the time in them.
"""

import contextlib
import os
import pathlib
import tempfile
import time

BEGAN = time.perf_counter()

from absl import app, flags  # noqa: E402
from side_by_side import limit_threads, show  # noqa: E402

from tfunroll.runs import programs  # noqa: E402

flags.DEFINE_string("curriculum", "", "the demo's if empty")
flags.DEFINE_string("data_dir", "", "folder of datasets; TFDS's default if empty")
flags.DEFINE_string("dataset_config", "tiny", "dataset")
flags.DEFINE_bool("cache", False, "use the cache of compiled programs, as the scripts do")
FLAGS = flags.FLAGS


class Clock:
    """Seconds by part."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def part(self, name):
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def main(_):
    limit_threads(FLAGS.threads)
    clock = Clock()
    if FLAGS.cache:
        programs.keep()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tfunroll.evaluation.evaluator import Evaluator
    from tfunroll.runs.config import MODALITIES, RunConfig
    from tfunroll.runs.jobs import labels_of, load_data
    from tfunroll.runs.plan import Plan
    from tfunroll.training.trainer import Updates

    clock.seconds["start-up"] = time.perf_counter() - BEGAN
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            curriculum=FLAGS.curriculum,
            data_dir=FLAGS.data_dir,
            dataset_config=FLAGS.dataset_config,
            out=folder,
        ).resolved()
        with clock.part("data"):
            dataset = load_data(config)
        with clock.part("compile"):
            plan = Plan(config)
            trainer = plan.trainer(dataset, plan.callbacks(dataset))
            for modality in MODALITIES:  # calls that make no update
                for stage in plan.schedule(modality).stages:
                    Updates(trainer, stage)(0)
            trainer.callbacks[0].validate(trainer.weights.read())[0].numpy()
        _time_calls(trainer, clock)
        with clock.part("train and host"):
            shared = plan.schedule("ONE").first(config.shared_stages())
            start = pathlib.Path(folder) / "shared"
            trainer.with_schedule(shared).fit(0, start)
            for modality in MODALITIES:
                of_modality = trainer.with_schedule(plan.schedule(modality))
                of_modality.fit(0, pathlib.Path(folder) / modality, start=start)
        with clock.part("compile"):
            stepper = trainer.objective.stepper
            evaluator = Evaluator(stepper, plan.system, dataset, plan.settings(dataset))
            evaluator.run(labels_of(config, "ONE", 0))
        with clock.part("evaluate"):
            for modality in MODALITIES:
                evaluator.run(labels_of(config, modality, 0))
    seconds = clock.seconds
    host = seconds.pop("train and host") - seconds["train"]
    total = time.perf_counter() - BEGAN
    common = {"benchmark": "end_to_end", "unit": "s", "dtype": "float32", "batch": 16}
    common["threads"] = FLAGS.threads or os.cpu_count()
    rows = [
        {**common, "case": name, "ours": value, "peer": total, "ratio": value / total}
        for name, value in {**seconds, "total": total}.items()
    ]
    share = {"ours": host, "peer": seconds["train"], "ratio": host / seconds["train"]}
    rows.append({**common, "case": "host between updates", **share})
    show(rows, ("tensorflow", "keras"), FLAGS.json)


def _time_calls(trainer, clock):
    """Counts the time in compiled calls and validations as training."""
    import tensorflow as tf

    def timed(function):
        def call(*arguments):
            with clock.part("train"):
                out = function(*arguments)
                tf.nest.flatten(out)[0].numpy()
            return out

        return call

    trainer._calls.update({key: timed(call) for key, call in trainer._calls.items()})
    trainer.callbacks[0].validate = timed(trainer.callbacks[0].validate)


if __name__ == "__main__":
    app.run(main)
