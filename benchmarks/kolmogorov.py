"""PISO against jax-cfd on Kolmogorov flow: per step, gradient, and work for a given error.

Both are staggered, second order in space, with an FFT for the pressure. A PISO step does two
pressure solves and implicit convection, jax-cfd's default step one solve and explicit convection,
so the time per step says little (our scheme "midpoint" does two and three evaluations of the
fluxes): --parts=work compares the time that one time unit of flow takes
with the error at its end, against a solution on a finer grid. --parts=memory times the gradient of
longer unrolls, stored and rematerialised, each in a process of its own.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags
from side_by_side import compare, limit_threads, show
from tabulate import tabulate

flags.DEFINE_list("parts", ["step", "gradient", "work", "memory"], "what to measure")
flags.DEFINE_float("reynolds", 500.0, "Reynolds number")
flags.DEFINE_integer("truth", 512, "cells per axis of the solution that errors are taken from")
flags.DEFINE_string("unroll", "", "internal: steps:remat of one memory measurement")
FLAGS = flags.FLAGS
STEPS = 20  # per call of the step benchmark


def initial(points, batch=1):
    """[batch, y, x, 3] float32."""
    import numpy as np

    from tfunroll.systems import kolmogorov

    params = {"reynolds": np.full(batch, FLAGS.reynolds)}
    return kolmogorov.initial_state(params, 0, points).astype(np.float32)


def our_run(points, dt, sweeps, steps, scheme="piso"):
    """(state) -> state, ``steps`` sub-steps later; one compiled call."""
    import numpy as np
    import tensorflow as tf

    from tfunroll.solvers.incompressible import Incompressible
    from tfunroll.stepping.unrolling import repeat

    h = 2 * np.pi / points
    forcing = np.zeros((points, 1, 2))
    forcing[:, 0, 0] = np.sin(6 * h * (np.arange(points) + 0.5))
    solver = Incompressible((points, points), h, dt, 1, sweeps, forcing, scheme=scheme)

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        params = {"reynolds": tf.fill(state.shape[:1], FLAGS.reynolds)}
        return repeat(solver.bind(params), steps)(state)

    return lambda state: run(tf.constant(state)).numpy()


def our_gradient(points, steps, batch, rematerialise=False):
    """Gradient of the last state's energy with respect to the first, one call."""
    import tensorflow as tf

    from tfunroll.stepping.unrolling import WIG, unroll
    from tfunroll.systems import kolmogorov

    solver = kolmogorov.solver(points, 0.64 / points)
    start = tf.constant(initial(points, batch))
    params = {"reynolds": tf.fill([batch], FLAGS.reynolds)}

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        targets = tf.zeros([batch, steps, points, points, 3])
        with tf.GradientTape() as tape:
            tape.watch(state)
            loss, *_ = unroll(
                solver.bind(params),
                state,
                targets,
                lambda before, after, target: tf.reduce_mean(after[..., :2] ** 2),
                WIG(steps),
                rematerialise=rematerialise,
            )
        return tape.gradient(loss, state)

    return lambda: run(start).numpy()


def peer_step(points, dt, scheme):
    """jax-cfd's step on (u, v), each [x, y], and its grid; scheme: "euler" (default) or "rk4"."""
    import functools

    import jax_cfd.base as cfd
    import numpy as np

    grid = cfd.grids.Grid((points, points), domain=((0, 2 * np.pi),) * 2)
    options = {}
    if scheme == "rk4":
        linear = functools.partial(cfd.advection.advect_linear, dt=dt)
        options["convect"] = lambda v: tuple(linear(u, v) for u in v)
        options["time_stepper"] = cfd.time_stepping.classic_rk4
    step = cfd.equations.semi_implicit_navier_stokes(
        density=1.0,
        viscosity=1 / FLAGS.reynolds,
        dt=dt,
        grid=grid,
        forcing=cfd.forcings.kolmogorov_forcing(grid, scale=1.0, k=6),
        **options,
    )
    boundary = cfd.boundaries.periodic_boundary_conditions(2)
    offsets = grid.cell_faces

    def on_arrays(velocity):
        wrapped = tuple(
            cfd.grids.GridVariable(cfd.grids.GridArray(a, offset, grid), boundary)
            for a, offset in zip(velocity, offsets, strict=True)
        )
        return tuple(u.data for u in step(wrapped))

    return on_arrays


def to_peer(state):
    """Velocity of [batch, y, x, 3] as two arrays [batch, x, y]."""
    import jax.numpy as jnp

    return tuple(jnp.asarray(state[..., c]).swapaxes(-1, -2) for c in (0, 1))


def from_peer(velocity):
    """The inverse, with a pressure of zeros."""
    import numpy as np

    u, v = (np.asarray(a).swapaxes(-1, -2) for a in velocity)
    return np.stack([u, v, np.zeros_like(u)], -1)


def peer_run(points, dt, scheme, steps):
    """As our_run."""
    import jax

    step = jax.vmap(peer_step(points, dt, scheme))

    @jax.jit
    def run(velocity):
        return jax.lax.fori_loop(0, steps, lambda _, v: step(v), velocity)

    return lambda state: from_peer(jax.block_until_ready(run(to_peer(state))))


def peer_gradient(points, steps, batch):
    """As our_gradient."""
    import jax
    import jax.numpy as jnp

    step = jax.vmap(peer_step(points, 0.64 / points, "euler"))
    start = to_peer(initial(points, batch))

    def loss(velocity):
        total = 0.0
        for _ in range(steps):
            velocity = step(velocity)
            total += sum(jnp.mean(a**2) for a in velocity) / 2
        return total / steps

    run = jax.jit(jax.grad(loss))
    return lambda: jax.block_until_ready(run(start))


def steps_and_gradients():
    """Time per step and per gradient, in turn."""
    rows = []
    if "step" in FLAGS.parts:
        piso = [(128, 1, 8), (128, 1, 4), (32, 1, 4), (32, 8, 4)]
        cases = [(*case, "piso") for case in piso]
        cases += [(points, batch, 1, "midpoint") for points, batch in ((128, 1), (32, 1), (32, 8))]
        for points, batch, sweeps, scheme in cases:
            state, dt = initial(points, batch), 0.64 / points
            ours = our_run(points, dt, sweeps, STEPS, scheme)
            peer = peer_run(points, dt, "euler", STEPS)
            case = f"{points}², {STEPS} steps, {scheme}, {sweeps} sweeps"
            pair = (lambda f=ours, s=state: f(s)), (lambda f=peer, s=state: f(s))
            more = {"batch": batch, "threads": FLAGS.threads}
            rows.append(compare("kolmogorov", case, *pair, FLAGS.pairs, **more))
    if "gradient" in FLAGS.parts:
        pair = our_gradient(32, 4, 8), peer_gradient(32, 4, 8)
        case = "gradient of 4 steps, 32²"
        rows.append(compare("kolmogorov", case, *pair, FLAGS.pairs, batch=8, threads=FLAGS.threads))
    if rows:
        show(rows, ("tensorflow", "jax", "jax-cfd"), FLAGS.json)


def work_precision():
    """Seconds for one time unit and relative error of the velocity at its end, on 32² cells."""
    import numpy as np

    from tfunroll.ops.resampling import coarsen, refine

    spun_up = our_run(128, 0.005, 8, 2000)(initial(128))  # ten time units, so that it is turbulent
    start = refine(spun_up.astype(np.float64), FLAGS.truth // 128).numpy().astype(np.float32)
    dt = 0.3 / FLAGS.truth
    steps = round(1 / dt)
    truth = coarsen(peer_run(FLAGS.truth, 1 / steps, "rk4", steps)(start), FLAGS.truth // 32)
    wanted = truth.numpy()[..., :2]

    cases = [
        (f"PISO, {sweeps} sweeps", points, steps, our_run(points, 1 / steps, sweeps, steps))
        for points, counts in ((32, (50, 100, 200)), (64, (100, 200, 400)), (128, (200, 400, 800)))
        for steps in counts
        for sweeps in (2, 4)
    ]
    cases += [
        ("midpoint", points, steps, our_run(points, 1 / steps, 1, steps, "midpoint"))
        for points, counts in ((32, (17, 25, 50)), (64, (34, 50, 100)), (128, (68, 100, 200)))
        for steps in counts
    ]
    cases += [
        (f"jax-cfd, {scheme}", points, steps, peer_run(points, 1 / steps, scheme, steps))
        for points, counts in ((32, (25, 50, 100)), (64, (50, 100, 200)), (128, (100, 200, 400)))
        for steps in counts
        for scheme in ("euler", "rk4")
    ]
    rows = []
    for name, points, steps, run in cases:
        state = coarsen(start, FLAGS.truth // points).numpy()
        end = coarsen(run(state), points // 32).numpy()[..., :2]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            run(state)
            seconds.append(time.perf_counter() - began)
        error = np.sqrt(np.sum((end - wanted) ** 2) / np.sum(wanted**2))
        rows.append((name, points, steps, 1e3 * min(seconds), error))
    rows.sort(key=lambda row: row[-1])
    print(tabulate(rows, ("solver", "cells", "steps", "ms", "error"), floatfmt=".3g"))


def memory():
    """Time of the gradient and memory of its buffers (XLA's), stored and rematerialised."""
    rows = []
    for steps in (1, 2, 4, 8, 16, 32):
        row = [steps]
        for remat in (0, 1):
            with tempfile.TemporaryDirectory() as folder:
                environment = {**os.environ, "XLA_FLAGS": f"--xla_dump_to={folder}"}
                command = [sys.executable, __file__, f"--unroll={steps}:{remat}"]
                command += [f"--threads={FLAGS.threads}", f"--reynolds={FLAGS.reynolds}"]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                )
                reports = pathlib.Path(folder).glob("*memory-usage-report.txt")
                used = [
                    int(r.read_text().split("Total bytes used: ")[1].split()[0]) for r in reports
                ]
            row += [float(done.stdout.split()[-1]), max(used) / 2**20]
        rows.append(row)
    columns = ("steps", "ms", "MiB", "ms, rematerialised", "MiB, rematerialised")
    print(tabulate(rows, columns, floatfmt=".3g"))


def one_unroll(steps, remat):
    """Prints the milliseconds of one gradient."""
    gradient = our_gradient(32, steps, 8, bool(remat))
    gradient()
    times = []
    for _ in range(10):
        began = time.perf_counter()
        gradient()
        times.append(time.perf_counter() - began)
    print(1e3 * min(times))


def main(_):
    limit_threads(FLAGS.threads)
    if FLAGS.unroll:
        one_unroll(*map(int, FLAGS.unroll.split(":")))
        return
    steps_and_gradients()
    if "work" in FLAGS.parts:
        work_precision()
    if "memory" in FLAGS.parts:
        memory()


if __name__ == "__main__":
    app.run(main)
