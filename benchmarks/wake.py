"""The flow around a cylinder: PISO with a body against PhiFlow's obstacle solver, cost and growth.

    python benchmarks/wake.py

--parts=peer: milliseconds per step on the same grid, dt and precision, in turn. PhiFlow's step is
semi-Lagrangian advection, explicit diffusion and one pressure solve by conjugate gradients to a
relative 1e-5 (its default), compiled by JAX; ours is implicit, with a predictor of 4 sweeps
and two exact pressure solves. --parts=growth: CPU time per step and cell, with the operations
(products of the pressure; stencils counted by hand) and the floor of bytes: one pass over the state
and the matrices of the pressure.
"""

import time

from absl import app, flags
from side_by_side import compare, limit_threads, show
from tabulate import tabulate

flags.DEFINE_list("parts", ["peer", "growth"], "what to measure")
flags.DEFINE_float("reynolds", 100.0, "Reynolds number")
FLAGS = flags.FLAGS
STEPS = 5  # per call


def our_run(refinement, batch=1, steps=STEPS, sweeps=4):
    """A call that steps a state so many sub-steps, its compiled function and its state."""
    import numpy as np
    import tensorflow as tf

    from tfunroll.stepping.unrolling import repeat
    from tfunroll.systems import wake

    made = wake.solver(refinement, sweeps=sweeps)
    made.substeps = 1  # of a frame
    state = tf.constant(wake.started(made, np.full(batch, 0.3)), tf.float32)

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        return repeat(made.bind({"reynolds": tf.fill([batch], FLAGS.reynolds)}), steps)(state)

    return lambda: run(state).numpy(), run, state, made


def peer_run(refinement, steps=STEPS):
    """As our_run, by PhiFlow."""
    from phi.jax import flow  # its TensorFlow backend traces for minutes

    dt = 0.05 / refinement
    domain = flow.Box(x=10.0, y=5.0)
    sides = {"x-": flow.vec(x=1.0, y=0.0), "x+": flow.ZERO_GRADIENT, "y": 0}
    velocity = flow.StaggeredGrid(
        (1.0, 0.0), sides, x=64 * refinement, y=32 * refinement, bounds=domain
    )
    obstacle = flow.Obstacle(flow.Sphere(x=2.5, y=2.5, radius=0.5))
    method = flow.Solve("CG", 1e-5, 0)

    @flow.math.jit_compile
    def step(v):
        v = flow.advect.semi_lagrangian(v, v, dt)
        v = flow.diffuse.explicit(v, 1 / FLAGS.reynolds, dt)
        return flow.fluid.make_incompressible(v, obstacle, method)[0]

    start = velocity
    for _ in range(4):
        start = step(start)

    def run():
        v = start
        for _ in range(steps):
            v = step(v)
        return v.vector["x"].values.numpy("x,y")

    return run


def peer():
    rows = []
    for refinement in (4, 1):
        ours = our_run(refinement)[0]
        case = f"{64 * refinement} x {32 * refinement}, {STEPS} steps"
        theirs = peer_run(refinement)
        more = {"threads": FLAGS.threads, "calls": STEPS}
        rows.append(compare("wake", case, ours, theirs, FLAGS.pairs, **more))
    show(rows, ("tensorflow", "jax", "phiflow"), FLAGS.json)


def growth():
    rows = []
    for refinement, batch in ((1, 1), (1, 8), (2, 1), (3, 1), (4, 1), (4, 4)):
        call, _, state, solver = our_run(refinement, batch)
        call()
        times = []
        for _ in range(FLAGS.pairs):
            began = time.process_time()  # of one thread: other work on the machine is not in it
            call()
            times.append((time.process_time() - began) / STEPS)
        milliseconds = 1e3 * min(times)
        y, x = solver.shape
        cells = batch * y * x
        # two solves of two products per axis and direction; sweeps of some 40 operations a face
        matrices = 2 * 2 * (2 * y * y * x + 2 * y * x * x) * batch
        stencils = (solver.sweeps + solver.correctors) * 40 * 2 * cells
        moved = 2 * state.shape.num_elements() * 4 + 2 * 2 * 4 * (y * y + x * x)
        rows.append((f"{x} x {y}", batch, milliseconds, 1e6 * milliseconds / cells,
                     (matrices + stencils) / 1e6, (matrices + stencils) / milliseconds / 1e6,
                     moved / 2**20))  # fmt: skip
    columns = ("cells", "batch", "CPU ms/step", "ns/cell", "Mflop", "Gflop/s", "floor [MiB moved]")
    print(tabulate(rows, columns, floatfmt=".3g"))


def main(_):
    limit_threads(FLAGS.threads)
    if "peer" in FLAGS.parts:
        peer()
    if "growth" in FLAGS.parts:
        growth()


if __name__ == "__main__":
    app.run(main)
