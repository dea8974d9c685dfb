"""The cylinder far from all sides: Strouhal number, drag, lift, length of the bubble.

    python benchmarks/cylinder.py --reynolds=40,100,200 --cells=25
    python benchmarks/cylinder.py --reynolds=40,44,48,52,60 --onset --kick=0.05

docs/wake.md has its numbers beside published ones.
"""

import time

from absl import app, flags
from tabulate import tabulate

flags.DEFINE_list("reynolds", ["40", "100", "200"], "Reynolds numbers, all in one batch")
flags.DEFINE_integer("cells", 25, "cells per diameter around the cylinder")
flags.DEFINE_float("dt", 0.0125, "time step")
flags.DEFINE_float("reach", 20.0, "diameters from the centre to every side")
flags.DEFINE_float("time", 160.0, "diameters over velocity")
flags.DEFINE_bool("onset", False, "the growth rate of the lift's oscillation in place of the rest")
flags.DEFINE_float("kick", 0.3, "velocity of the gust that starts the shedding")
FLAGS = flags.FLAGS


def main(_):
    import numpy as np

    from tfunroll.systems import wake
    from tfunroll.validation import cylinder

    began = time.process_time()
    reynolds = np.array([float(r) for r in FLAGS.reynolds])
    solver = cylinder.unconfined(FLAGS.cells, FLAGS.dt, FLAGS.reach)
    start = wake.started(solver, np.full(len(reynolds), FLAGS.kick))
    forces, state = cylinder.history(solver, start, reynolds, FLAGS.time)
    rows = []
    for i, value in enumerate(reynolds):
        if FLAGS.onset:
            rows.append((value, cylinder.growth_rate(FLAGS.dt, forces[i, :, 1])))
        else:
            found = cylinder.characteristics(FLAGS.dt, forces[i])
            rows.append((value, *found, cylinder.bubble(solver, state[i])))
    columns = ("Re", "growth rate") if FLAGS.onset else ("Re", "St", "Cd", "Cl", "Cl rms", "bubble")
    print(
        f"{solver.shape[0]} x {solver.shape[1]} cells, {FLAGS.cells} per diameter, dt {FLAGS.dt}, "
        f"{FLAGS.reach:g} diameters to the sides, {time.process_time() - began:.0f} s of CPU"
    )
    print(tabulate(rows, columns, floatfmt=".4g"))


if __name__ == "__main__":
    app.run(main)
