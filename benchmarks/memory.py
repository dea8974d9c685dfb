"""Memory and time of the WIG gradient against the horizon, with and without rematerialisation.

Each case runs in a process of its own: the peak memory of one gradient after the first, above that
of the process before it was traced. "ours" is the case, "peer" the smallest horizon without
rematerialisation; for times, "peer" is the same horizon without rematerialisation.
"""

import json
import os
import subprocess
import sys

from absl import app, flags
from side_by_side import limit_threads, show

flags.DEFINE_list("horizons", ["1", "2", "4", "8", "16", "32", "64"], "unrolled steps")
flags.DEFINE_integer("width", 26, "channels of the network")
flags.DEFINE_integer("depth", 8, "residual blocks of the network")
flags.DEFINE_integer("batch", 128, "samples; enough for activations to dominate the process")
flags.DEFINE_string("through", "all", "route of the gradient through time")
flags.DEFINE_string("case", "", "internal: steps:rematerialise, measured in this process")
FLAGS = flags.FLAGS


def measure(steps: int, rematerialise: bool) -> dict:
    """Mebibytes and seconds of one gradient."""
    import time

    import numpy as np
    import tensorflow as tf

    from tfunroll.nets.weights import Weights
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.plan import Plan
    from tfunroll.stepping.losses import Supervised
    from tfunroll.stepping.unrolling import WIG
    from tfunroll.training.core import Batch, Objective

    config = RunConfig(width=FLAGS.width, depth=FLAGS.depth).resolved()
    plan = Plan(config)
    weights = Weights(net := plan.net(0))
    objective = Objective(plan.stepper(net), weights, Supervised(), rematerialise)
    rng = np.random.default_rng(0)
    frames = tf.constant(0.01 * rng.standard_normal((FLAGS.batch, steps + 1, 48, 1)), tf.float32)
    size = tf.constant(rng.uniform(7, 10, FLAGS.batch), tf.float32)

    unrolling = WIG(steps, through=FLAGS.through if steps > 1 else "all")

    @tf.function(jit_compile=True, autograph=False)
    def gradient(frames, size):
        batch = Batch(frames[:, 0], frames[:, 1:], {"domain_size": size})
        return objective.gradient(weights.read(), batch, unrolling).vector

    idle = _memory("VmRSS")
    gradient(frames, size).numpy()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far, compilation included
    began = time.perf_counter()
    gradient(frames, size).numpy()
    return {"memory": _memory("VmHWM") - idle, "seconds": time.perf_counter() - began}


def _memory(field: str) -> float:
    """A field of the process's status, in MiB."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) / 1024


def in_process(steps, rematerialise) -> dict:
    flag = f"--case={steps}:{int(rematerialise)}"
    command = [sys.executable, __file__, *sys.argv[1:], flag]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


def main(_):
    limit_threads(FLAGS.threads)
    if FLAGS.case:
        steps, rematerialise = map(int, FLAGS.case.split(":"))
        print(json.dumps(measure(steps, bool(rematerialise))))
        return
    rows, plain = [], {}
    net = f"CNN({FLAGS.width},{FLAGS.depth})"
    for rematerialise in (False, True):
        for steps in map(int, FLAGS.horizons):
            found = in_process(steps, rematerialise)
            plain.setdefault(steps, found)
            name = f"{net} m={steps}" + (", rematerialised" if rematerialise else "")
            first = plain[int(FLAGS.horizons[0])]["memory"]
            seconds, without = found["seconds"], plain[steps]["seconds"]
            common = {
                **{"benchmark": "memory", "dtype": "float32", "batch": FLAGS.batch},
                "threads": FLAGS.threads or os.cpu_count(),
            }
            memory = {"ours": found["memory"], "peer": first, "ratio": found["memory"] / first}
            rows.append({**common, "case": name, **memory, "unit": "MiB"})
            if rematerialise:
                time = {"ours": seconds, "peer": without, "ratio": seconds / without}
                rows.append({**common, "case": f"{name}, time", **time, "unit": "s"})
    show(rows, ("tensorflow", "keras"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
