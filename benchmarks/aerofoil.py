"""The compressible solver under XLA: nanoseconds per cell and right-hand side, on one thread.

Beside them stands what memory alone would take: the bytes that a right-hand side must move (state
in and out, geometry in), over the bandwidth of a copy that this machine reaches in the same run.
"""

import os
import time

from absl import app, flags

flags.DEFINE_list("sizes", ["64x24", "128x48", "256x96"], "meshes: cells around x layers")
flags.DEFINE_list("batches", ["1", "4", "16"], "samples, on the first mesh")
flags.DEFINE_integer("substeps", 20, "per call; a call takes three right-hand sides each")
flags.DEFINE_integer("repeats", 5, "calls, of which the fastest counts")
FLAGS = flags.FLAGS
GEOMETRY = 1 + 4 + 8  # numbers per cell: volume, two area vectors, two sets of gradient weights


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


def main(_):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tabulate import tabulate

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


if __name__ == "__main__":
    app.run(main)
