"""The cylinder far from all sides beside the literature: drag, lift, Strouhal number, bubble.

    python benchmarks/cylinder.py --reynolds=40,100,200 --cells=32 --dt=0.0125
    python benchmarks/cylinder.py --reynolds=40,45,50,60 --onset

One line per Reynolds number; docs/wake.md has them beside published values.
"""

import time

from absl import app, flags
from tabulate import tabulate

flags.DEFINE_list("reynolds", ["40", "100", "200"], "Reynolds numbers, all in one batch")
flags.DEFINE_integer("cells", 32, "cells per diameter around the cylinder")
flags.DEFINE_float("dt", 0.0125, "time step")
flags.DEFINE_float("reach", 20.0, "diameters from the centre to every side")
flags.DEFINE_float("time", 200.0, "diameters over velocity")
flags.DEFINE_float("measured", 0.3, "last part of it that is measured")
flags.DEFINE_bool("onset", False, "print the growth rate of the lift in place of the rest")
flags.DEFINE_float("kick", 0.3, "velocity of the gust that starts the shedding")
flags.DEFINE_bool("double", False, "float64")
FLAGS = flags.FLAGS


def main(_):
    import numpy as np
    import tensorflow as tf

    from tfunroll.systems import wake

    began = time.process_time()
    values = np.array([float(r) for r in FLAGS.reynolds])
    solver = wake.unconfined(FLAGS.cells, FLAGS.dt, FLAGS.reach)
    dtype = "float64" if FLAGS.double else "float32"
    state = tf.constant(wake.started(solver, len(values), FLAGS.kick), dtype)
    forces, state = wake.history(solver, state, values, FLAGS.time)
    times = FLAGS.dt * (1 + np.arange(forces.shape[1]))
    rows = []
    for i, reynolds in enumerate(values):
        if FLAGS.onset:
            rows.append((reynolds, wake.growth_rate(times, forces[i, :, 1])))
        else:
            found = wake.characteristics(times, forces[i], FLAGS.measured)
            rows.append((reynolds, *found, wake.bubble(solver, state[i])))
    columns = ("Re", "growth rate") if FLAGS.onset else ("Re", "St", "Cd", "Cl", "Cl rms", "bubble")
    print(f"{solver.shape[0]} x {solver.shape[1]} cells, {FLAGS.cells} per "
          f"diameter, dt {FLAGS.dt}, {FLAGS.reach:g} diameters to the sides")  # fmt: skip
    print(tabulate(rows, columns, floatfmt=".4g"))
    print(f"CPU time {time.process_time() - began:.0f} s")


if __name__ == "__main__":
    app.run(main)
