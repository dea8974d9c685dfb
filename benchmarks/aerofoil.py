"""The compressible solver: what it costs per cell, how that grows, and a race against pyro.

    python benchmarks/aerofoil.py

--parts=growth: processor time per cell and right-hand side around an aerofoil, and beside it what
memory alone would take: the bytes that a right-hand side must move (state in and out, geometry in)
over the bandwidth of a copy in the same run.

The peers are pyro (extra bench: NumPy, its Riemann solvers compiled by numba) and, where it is
installed, PyClaw (pip install clawpack compiles Fortran for ten minutes and needs gfortran), both
float64, on the isentropic vortex of vortex.py. --parts=rate: the time of a right-hand side against
pyro's compressible_rk, which is of the same kind (unlimited linear slopes, HLLC, SSPRK3), with the
same sub-step. --parts=work: the time to t = 2 against the error of density, at the Courant number
that suits each, pyro's and PyClaw's other schemes included. Our mesh is a curved one that happens
to be square, theirs Cartesian by construction. Compilation is in no figure.
"""

import os
import time
from importlib.util import find_spec

from absl import app, flags
from side_by_side import compare, limit_threads, show
from tabulate import tabulate
from vortex import SIZE, TIME, claw_solver, our_solver, pyro_solver, vortex

flags.DEFINE_list("parts", ["growth", "rate", "work"], "what to measure")
flags.DEFINE_list("sizes", ["64x24", "128x48", "256x96"], "meshes: cells around x layers")
flags.DEFINE_list("batches", ["1", "4", "16"], "samples, on the first mesh")
flags.DEFINE_integer("substeps", 20, "per call; a call takes three right-hand sides each")
flags.DEFINE_integer("repeats", 5, "calls, of which the fastest counts")
flags.DEFINE_list("points", ["64", "128", "256"], "cells per axis of --parts=rate")
FLAGS = flags.FLAGS
GEOMETRY = 1 + 4 + 8  # numbers per cell: volume, two area vectors, two sets of gradient weights
# solver, its arguments, cells per axis; Courant numbers are the largest, in steps of 0.2 (pyro) or
# 0.1 (PyClaw), whose error on 128² cells is that of smaller ones. compressible_fv4 fails without
# its flattening.
KIN = ("compressible_rk", {"temporal_method": "TVD3", "limiter": 0, "use_flattening": 0}, 1.4)
PYRO = {
    "pyro, compressible_rk": (KIN, (32, 64, 128)),
    "pyro, compressible": (
        ("compressible", {"limiter": 0, "use_flattening": 0}, 1.0),
        (32, 64, 128),
    ),
    "pyro, compressible_fv4": (
        ("compressible_fv4", {"temporal_method": "RK4"}, 2.0),
        (32, 64, 128),
    ),
}
CLAW = {
    "PyClaw, classic": (("classic", 0.9), (32, 64, 128, 256)),
    "PyClaw, SharpClaw": (("sharp", 0.8), (32, 64, 128)),
}


def nanoseconds(cells, layers, batch, viscous=True, gradient=False):
    """Of processor time per cell and right-hand side."""
    import numpy as np
    import tensorflow as tf

    from tfunroll.solvers.compressible import Compressible
    from tfunroll.systems import aerofoil

    mesh = aerofoil.mesh(cells, layers, 0.5 / cells, 15.0)
    values = {"mach": np.full(batch, 0.6), "reynolds": np.full(batch, 1e4)}
    values["incidence"] = np.linspace(0, 8, batch)
    state = aerofoil.free_stream(values, mesh).astype(np.float32)
    dt = 0.5 * Compressible(mesh, 1.0).stable_dt(state, values).min()
    solver = Compressible(mesh, dt, FLAGS.substeps, viscous)
    params = {n: tf.constant(v, tf.float32) for n, v in values.items()}

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        if not gradient:
            return solver.bind(params)(state)
        with tf.GradientTape() as tape:
            tape.watch(state)
            loss = tf.reduce_sum(solver.bind(params)(state))
        return tape.gradient(loss, state)

    state = tf.constant(state)
    run(state).numpy()
    times = []
    for _ in range(FLAGS.repeats):
        start = time.process_time()
        result = run(state).numpy()
        times.append(time.process_time() - start)
    assert np.isfinite(result).all()
    return 1e9 * min(times) / (3 * FLAGS.substeps * batch * cells * layers)


def bandwidth(numbers=2**21):
    """Bytes per nanosecond of a copy between arrays larger than the caches."""
    import numpy as np

    source, target = np.ones(numbers * 8, np.float32), np.zeros(numbers * 8, np.float32)
    times = []
    for _ in range(FLAGS.repeats):
        start = time.process_time()
        np.copyto(target, source)
        times.append(time.process_time() - start)
    return 2 * source.nbytes / (1e9 * min(times))


def growth():
    speed = bandwidth()
    sizes = [tuple(map(int, size.split("x"))) for size in FLAGS.sizes]
    cases = [(*size, 1) for size in sizes]
    cases += [(*sizes[0], int(b)) for b in FLAGS.batches if int(b) > 1]
    rows = []
    for cells, layers, batch in cases:
        floor = 4 * (8 + GEOMETRY / batch) / speed
        full = nanoseconds(cells, layers, batch)
        euler = nanoseconds(cells, layers, batch, viscous=False)
        rows.append((f"{cells} x {layers}", batch, full, euler, floor, full / floor))
    back = nanoseconds(*sizes[0], 1, gradient=True)
    head = ("cells", "batch", "viscous [ns]", "Euler [ns]", "memory [ns]", "viscous / memory")
    print(tabulate(rows, head, floatfmt=".3g"))
    print(f"gradient of {FLAGS.substeps} sub-steps, {FLAGS.sizes[0]}: {back:.3g} ns")
    print(f"copy: {speed:.3g} GB/s; per cell and right-hand side, processor time of one thread")


def rate():
    """Time per cell and right-hand side, in turn, the same sub-step."""
    rows = []
    for points in map(int, FLAGS.points):
        more = {"steps": FLAGS.substeps, "dt": 0.2 * SIZE / points}
        peer = pyro_solver(points, *KIN, **more)
        for dtype in ("float64", "float32"):
            ours = our_solver(points, dtype, **more)
            case = f"vortex, {points}², ns per cell and right-hand side"
            row = compare("aerofoil", case, ours, peer, FLAGS.pairs, dtype, clock=time.process_time)
            scale = 1e6 / (3 * FLAGS.substeps * points**2)
            row |= {"ours": scale * row["ours"], "peer": scale * row["peer"], "unit": "ns"}
            rows.append(row)
    show(rows, ("tensorflow", "pyro-hydro"), FLAGS.json)


def work():
    """Processor time to TIME and errors; each round runs every case, the fastest round counts."""
    import numpy as np

    ours = (32, 64, 128, 256)
    cases = [(f"ours, {t}", n, our_solver(n, t)) for t in ("float64", "float32") for n in ours]
    cases += [("ours, float32, sensor", n, our_solver(n, "float32", 0.01)) for n in ours]
    cases += [(name, n, pyro_solver(n, *kind)) for name, (kind, ns) in PYRO.items() for n in ns]
    if find_spec("clawpack"):
        cases += [(name, n, claw_solver(n, *kind)) for name, (kind, ns) in CLAW.items() for n in ns]
    else:
        print("without PyClaw: pip install clawpack, with gfortran")
    times = np.full((FLAGS.repeats, len(cases)), np.inf)
    rows = []
    for name, points, run in cases:
        density, steps = run()  # compiles as well
        error = density - vortex(points, TIME)[0]
        rows.append([name, points, steps, np.abs(error).mean(), np.sqrt((error**2).mean())])
    for k in range(FLAGS.repeats):
        for c, (*_, run) in enumerate(cases):
            start = time.process_time()
            run()
            times[k, c] = time.process_time() - start
    curves = {}
    for row, best in zip(rows, times.min(0), strict=True):
        row.insert(3, 1e3 * best)
        curves.setdefault(row[0], []).append((row[4], row[3]))
    for row in rows:  # our time at this error, between our meshes, over the time of the case
        for dtype in ("float64", "float32"):
            errors, costs = np.log(np.array(curves[f"ours, {dtype}"])[::-1]).T
            inside = errors[0] <= np.log(row[4]) <= errors[-1]
            mine = np.exp(np.interp(np.log(row[4]), errors, costs)) / row[3]
            row.append(mine if inside else None)
    head = ("solver", "cells per axis", "steps", "CPU [ms]", "L1 error", "L2 error")
    head += ("ours/this at its L1 error, float64", "float32")
    print(tabulate(rows, head, floatfmt=".3g"))


def main(_):
    limit_threads(FLAGS.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(FLAGS.threads or os.cpu_count()))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MPLBACKEND", "agg")  # pyro imports pyplot
    if "growth" in FLAGS.parts:
        growth()
    if not {"rate", "work"} & set(FLAGS.parts):
        return
    if not find_spec("pyro"):
        print('no peer: pyro is missing; pip install -e ".[bench]"')
        return
    if "rate" in FLAGS.parts:
        rate()
    if "work" in FLAGS.parts:
        work()


if __name__ == "__main__":
    app.run(main)
