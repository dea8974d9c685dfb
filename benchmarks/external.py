"""What external solvers cost: a call through each adapter against calling the function directly.

Ours is a step inside a TensorFlow graph, the peer the same function on NumPy (JAX: on JAX) arrays.
Then a solver that takes 5 ms per sample, with two workers against one; a peer of two workers that
share nothing would give the ratio 0.5. Without --threads=2 they would share one core.

Last, a whole training update, with the NumPy solver against the built-in one.
"""

import pathlib
import sys
import time

from absl import app, flags
from side_by_side import compare, limit_threads, show

flags.DEFINE_list("batches", "1,16,256", "samples per call")
FLAGS = flags.FLAGS
EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
SLEEP = 5e-3  # seconds per sample of the slow solver

SLOW_WORKER = """
import sys, time
from types import SimpleNamespace
from numpy.lib.format import read_array, write_array
requests = SimpleNamespace(read=sys.stdin.buffer.read)
answers = SimpleNamespace(write=sys.stdout.buffer.write)
while sys.stdin.buffer.peek(1):
    state, params = read_array(requests), read_array(requests)
    end = time.perf_counter() + 5e-3
    while time.perf_counter() < end: {work}
    write_array(answers, state)
    sys.stdout.buffer.flush()
"""


def direct(name, solver):
    """The example's own function, without any of ours."""
    if name != "ks_worker":
        return solver.step
    # Its function runs in other processes; their exchange of arrays is what is measured here.
    from tfunroll import systems

    return systems.get(f"{EXAMPLES / 'ks_numpy.py'}:SYSTEM").coarse("numpy").step


def calls(name, batch):
    """(ours, peer) of one call of an example's solver."""
    import numpy as np
    import tensorflow as tf

    from tfunroll import systems

    system = systems.get(f"{EXAMPLES / name}.py:SYSTEM")
    solver = system.coarse()
    params = {"domain_size": np.linspace(7, 10, batch)}
    states = system.initial_state(params, 0)
    step = solver.bind({k: tf.constant(v) for k, v in params.items()})
    graph, tensor = tf.function(step, autograph=False), tf.constant(states)
    function = direct(name, solver)

    def peer():
        if solver.per_sample and name != "ks_worker":
            for i in range(batch):
                function(states[i], {k: v[i] for k, v in params.items()})
        else:
            function(states, params)

    return lambda: graph(tensor).numpy(), peer


def slow_solver(workers, processes):
    """A call of 16 samples of 5 ms each, shared out."""
    import numpy as np
    import tensorflow as tf

    from tfunroll.solvers.external import ExternalSolver
    from tfunroll.solvers.worker_pool import WorkerPool

    def sleeping(state, params):
        time.sleep(SLEEP)
        return state.copy()

    states = np.random.default_rng(0).standard_normal((16, 48, 1))
    step = sleeping
    if processes:
        step = WorkerPool([sys.executable, "-c", SLOW_WORKER.format(work=processes)], workers)
    solver = ExternalSolver(step, example=(states, {}), per_sample=True, workers=workers)
    graph, tensor = tf.function(solver.bind({}), autograph=False), tf.constant(states)
    return lambda: graph(tensor).numpy()


def update(system):
    """One NOG update of the demo's network, m = 4, batch 16, of a hundred in one call."""
    import numpy as np

    from tfunroll.data import Dataset, Trajectories
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.plan import Plan
    from tfunroll.training.trainer import Updates

    rng, sizes = np.random.default_rng(0), np.linspace(7, 10, 6, dtype=np.float32)
    states = rng.standard_normal((6, 40, 48, 1)).astype(np.float32)
    whole = Trajectories(states, {"domain_size": sizes}, tuple("abcdef"), np.zeros(6), {})
    dataset = Dataset("random", "states", {"train": whole, "validation": whole}, 1.0, "")
    config = RunConfig(system=system, modalities=("NOG",), curriculum="4:1000:1e-9", horizon=5)
    plan = Plan(config.resolved())
    updates = Updates(plan.trainer(dataset), plan.schedule("NOG").stages[0])
    return lambda: updates(20)


def main(_):
    limit_threads(FLAGS.threads)
    rows, threads = [], FLAGS.threads
    for name in ("ks_numpy", "ks_worker", "ks_jax", "ks_tesseract"):
        for batch in map(int, FLAGS.batches):
            ours, peer = calls(name, batch)
            more = {"dtype": "float64", "batch": batch, "threads": threads}
            row = compare("external", f"{name}, a call", ours, peer, FLAGS.pairs, **more)
            rows.append(row)
            excess = 1e3 * (row["ours"] - row["peer"])
            print(
                f"{name}, batch {batch}: {excess:.0f} µs a call, {excess / batch:.1f} a sample more"
            )
    for case, processes in (
        ("sleeping in threads", None),
        ("sleeping in processes", "time.sleep(1e-3)"),
        ("computing in processes", "pass"),
    ):
        pair = (slow_solver(workers, processes) for workers in (2, 1))
        more = {"dtype": "float64", "batch": 16, "threads": threads}
        case = f"5 ms a sample, {case}: 2 workers (ours), 1 (peer)"
        rows.append(compare("external", case, *pair, FLAGS.pairs, **more))
    numpy = f"{EXAMPLES / 'ks_numpy.py'}:SYSTEM"
    more = {"batch": 16, "threads": threads, "calls": 20}
    case = "NOG update, m = 4: NumPy solver (ours), built-in (peer)"
    rows.append(compare("external", case, update(numpy), update("ks"), FLAGS.pairs, **more))
    show(rows, ("tensorflow", "numpy", "jax", "tesseract-core"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
