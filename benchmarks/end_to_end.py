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

from tfunroll import cli  # noqa: E402

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
        cli.keep_compiled_programs()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from tfunroll.config import MODALITIES, RunConfig
    from tfunroll.evaluation import Evaluator
    from tfunroll.jobs import labels_of, load_data, settings_of
    from tfunroll.training import Job, Trainer

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
            trainer = Trainer(config, dataset)
            _compile(trainer, tf)
        _time_calls(trainer, clock)
        with clock.part("train and host"):
            shared = config.shared_stages()
            stages = len(trainer.stages)
            start = pathlib.Path(folder) / "shared"
            trainer.train(Job("ONE", 0, 0, shared), start)
            for modality in MODALITIES:
                job = Job(modality, 0, shared, stages)
                trainer.train(job, pathlib.Path(folder) / modality, start=start)
        with clock.part("compile"):
            evaluator = Evaluator(
                trainer.compiled.stepper,
                trainer.compiled.system,
                dataset,
                settings_of(config, dataset),
            )
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


def _compile(trainer, tf):
    """Traces and compiles all that training needs: calls that make no update."""
    zero, one = tf.constant(0, tf.int64), tf.constant(1.0)
    for stage in trainer.stages:
        for modality in ("ONE", "NOG", "WIG"):
            unrolling = trainer.config.unrolling(modality, stage)
            call = trainer.compiled.call(unrolling, trainer.config.batch(modality, stage))
            call(zero, zero, zero, zero, one, one)["gradient_norm"].numpy()
    trainer.compiled.validate()[0].numpy()


def _time_calls(trainer, clock):
    """Counts the time in compiled calls and validations as training."""

    def timed(function):
        def call(*arguments):
            with clock.part("train"):
                out = function(*arguments)
                _first(out).numpy()
            return out

        return call

    calls = trainer.compiled.calls
    calls.update({key: timed(call) for key, call in calls.items()})
    trainer.compiled.validate = timed(trainer.compiled.validate)


def _first(out):
    return out["gradient_norm"] if isinstance(out, dict) else out[0]


if __name__ == "__main__":
    app.run(main)
