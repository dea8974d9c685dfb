"""What a ladder of solver iterations saves: the heat equation, and a solver's share of an update.

"heat": a network that learns one step of the heat equation with the solver in the loss alone, which
is where PRDP (arXiv:2502.19611) saves most,

    u_t = u_xx,  u = 0 at the ends, 30 points,   loss ‖S_K(net(u_0)) − u_2‖²,

S_K: K Jacobi sweeps of implicit Euler, with an adjoint of K sweeps. Fixed K, and a ladder of 1 to
25. "share": the time of an update of Kolmogorov flow (WIG, m = 4, 32²) by the iterations of its
pressure: where the solver takes less than a third, a ladder cannot pay.
"""

import copy
import json
import time

from absl import app, flags
from side_by_side import limit_threads

flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "heat: networks")
flags.DEFINE_list("fixed", ["1", "2", "3", "4", "6", "8", "10", "25"], "heat: fixed K")
flags.DEFINE_list("counts", ["1", "4", "16", "60"], "share: iterations of the pressure")
flags.DEFINE_list("parts", ["heat", "share"], "any of heat, share")
flags.DEFINE_list("ladder", [], "heat: step, stop, memory, window of the rule; PRDP's if empty")
FLAGS = flags.FLAGS
POINTS, RATIO, FULL = 30, 0.96, 25  # ν dt / h²: Jacobi's spectral radius is 0.654
EPOCH, EPOCHS, BATCH = 8, 100, 25  # updates of an epoch, after each of which it is validated
EQUAL = 1.1  # errors within this factor count as equal


def heat():
    """What trains a network for one seed by fixed sweeps, or by a ladder: see ``train``."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tfunroll as tu
    from tfunroll.data import Trajectories
    from tfunroll.ops.loops import iterate
    from tfunroll.ops.poisson import with_adjoint
    from tfunroll.stepping.losses import Loss, mean_squared_error

    class Heat(tu.Solver):
        """(1 + 2r) u − r (its neighbours) = the state before, by Jacobi sweeps from zero."""

        channels, dt, frame_time = 1, 1.0, 1.0

        def __init__(self, sweeps):
            self.sweeps, self.knobs = sweeps, {"sweeps": (1, sweeps)}

        def bind(self, params):
            def sweep(u, known):
                padded = tf.pad(u, [[0, 0], [1, 1], [0, 0]])
                return (known + RATIO * (padded[:, 2:] + padded[:, :-2])) / (1 + 2 * RATIO)

            def solve(known):
                zero = tf.zeros_like(known)
                return iterate(sweep, self.sweeps, zero, [known], most=self.knobs["sweeps"][1])

            return with_adjoint(solve, solve)  # symmetric, and from zero: the same sweeps

    class Mixed(Loss):
        """The distance of one solver step from the unrolled state to the frame after that."""

        def __init__(self, solver):
            self.solvers = (solver,)

        def at(self, knob, count):
            return Mixed(self.solvers[0].at(knob, count))

        def bind(self, params):
            step = self.solvers[0].bind(params)
            return lambda k, before, after, target: mean_squared_error(step(after), target)

    x = np.arange(1, POINTS + 1)[:, None] / (POINTS + 1)
    neighbours = np.eye(POINTS, k=1) + np.eye(POINTS, k=-1)
    exact = np.linalg.inv((1 + 2 * RATIO) * np.eye(POINTS) - RATIO * neighbours)

    def trajectories(seed, count, powers):
        """Sums of five sines, [trajectory, frame, point, 1]: the frames of these times."""
        amplitudes = np.random.default_rng(seed).uniform(-1, 1, (count, 5))
        start = amplitudes @ np.sin(np.pi * x * np.arange(1, 6)).T
        frames = [start @ np.linalg.matrix_power(exact, n) for n in powers]
        states = np.stack(frames, 1)[..., None].astype(np.float32)
        names, zeros = tuple(map(str, range(count))), np.zeros(count, np.float32)
        return Trajectories(states, {"none": zeros}, names, zeros, {})

    def net(seed):
        keras.utils.set_random_seed(seed)
        hidden = [keras.layers.Dense(64, "relu") for _ in range(3)]
        ends = keras.layers.Flatten(), keras.layers.Dense(POINTS)
        shape = keras.layers.Reshape((POINTS, 1))
        made = keras.Sequential([keras.Input((POINTS, 1)), ends[0], *hidden, ends[1], shape])
        made.compile()
        return made

    validation, test = trajectories(1, 50, (0, 1, 2)), trajectories(2, 50, (0, 1, 2))
    features = tu.Features({}, 1, 1)

    made = tu.Trainer(
        tu.Prediction(net(0), features),
        trajectories(0, 200, (0, 2)),
        tu.Schedule((tu.Stage(tu.ONE, EPOCH * EPOCHS, 1e-3, batch_size=BATCH),), 0.94, 100),
        loss=Mixed(Heat(FULL)),
        callbacks=[tu.callbacks.Validation(validation, EPOCH, 2), tu.Ladder("sweeps", 1, FULL)],
    )

    def trainer(first, **ladder):
        """The same with another ladder, for the compiled graph serves all rungs of all."""
        other = copy.copy(made)
        other.ladder = tu.Ladder("sweeps", first, FULL, finish=0, **ladder)
        other.ladder.prepare(made)
        other.callbacks = [made.callbacks[0], other.ladder]
        return other

    def train(made, seed):
        """Final two-step error on the test set, and Ladder.report."""
        began = time.process_time()
        trained = made.fit(seed)
        step = made.at(tf.constant(trained.weights)).bind({})
        found = step(step(tf.constant(test.states[:, 0]))).numpy() - test.states[:, 2]
        error = np.sqrt((found**2).sum() / (test.states[:, 2] ** 2).sum())
        return {"error": float(error), "seconds": time.process_time() - began, **trained.ladder}

    return trainer, train


def table_of_heat(seeds):
    """Rows of results: one per fixed number of sweeps, and the ladder."""
    import numpy as np

    trainer, train = heat()
    cases = {f"K = {k}": {"first": int(k), "step": float("inf")} for k in FLAGS.fixed}
    names = ("step", "stop", "memory", "window")
    rule = zip(names, (*map(float, FLAGS.ladder[:2]), *map(int, FLAGS.ladder[2:])), strict=False)
    cases[f"ladder 1..{FULL}"] = {"first": 1, **dict(rule)}
    rows = []
    for name, options in cases.items():
        made = trainer(**options)
        runs = [train(made, seed) for seed in seeds]
        errors = np.array([run["error"] for run in runs])
        work = [sum(run["iterations"].values()) for run in runs]
        rows.append(
            {
                "case": name,
                "error": float(np.exp(np.log(errors).mean())),
                "least": float(errors.min()),
                "most": float(errors.max()),
                "iterations": float(np.mean(work)),
                "reached": [run["reached"] for run in runs],
                "seconds": float(np.mean([run["seconds"] for run in runs])),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def show_heat(rows):
    """The table, and the ladder's saving against the last rung and the best fixed one."""
    print("case            error (least to most)        iterations  CPU s   rung at the end")
    for row in rows:
        spread = f"{row['error']:.3g} ({row['least']:.3g} to {row['most']:.3g})"
        reached = ", ".join(map(str, sorted(set(row["reached"]))))
        numbers = f"{row['iterations']:>10,.0f} {row['seconds']:6.2f}"
        print(f"{row['case']:15} {spread:28} {numbers}   {reached}")
    *fixed, ladder = rows
    equal = [row for row in fixed if row["error"] <= EQUAL * ladder["error"]]
    print(f"saved against K = {FULL}: {1 - ladder['iterations'] / fixed[-1]['iterations']:.0%}")
    if equal:
        best = min(equal, key=lambda row: row["iterations"])
        saved = 1 - ladder["iterations"] / best["iterations"]
        print(f"against the cheapest fixed one of equal error, {best['case']}: {saved:.0%}")
    else:
        print("no fixed K has as small an error")


def table_of_shares(counts):
    """Seconds of an update by iterations of the pressure, and the part that grows with them."""
    import numpy as np

    from tfunroll import systems
    from tfunroll.data import Dataset, Trajectories
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.plan import Plan
    from tfunroll.stepping.unrolling import WIG
    from tfunroll.training.schedule import Stage
    from tfunroll.training.trainer import Updates

    system, most = systems.get("kolmogorov"), max(counts)
    reynolds = np.array(system.splits["train"][:4], np.float32)
    state = system.initial_state({"reynolds": reynolds}, 0).astype(np.float32)
    step = system.coarse().bind({"reynolds": reynolds})
    frames = [state]
    for _ in range(40):
        frames.append(step(frames[-1]).numpy())
    split = Trajectories(np.stack(frames, 1), {"reynolds": reynolds}, tuple("abcd"), reynolds, {})
    dataset = Dataset("short", "", {"train": split, "validation": split}, 1.0, "")
    coarse, ladder = f"piso:cg={most}", f"pressure:{min(counts)}..{most}"
    flags = {"system": "kolmogorov", "coarse": coarse, "ladder": ladder, "batch_size": 4}
    config = RunConfig(**flags, modalities=("WIG",), curriculum="4:100000").resolved()
    updates = Updates(Plan(config).trainer(dataset), Stage(WIG(4), 100000, 1e-12, batch_size=4))
    updates(1, min(counts))
    seconds = {}
    for count in counts:
        calls = []
        for _ in range(3):
            began = time.process_time()
            updates(5, count)
            calls.append((time.process_time() - began) / 5)
        seconds[count] = min(calls)
    first, last = min(counts), max(counts)
    each = (seconds[last] - seconds[first]) / (last - first)
    return [{"case": f"K = {k}", "seconds": s, "share": each * k / s} for k, s in seconds.items()]


def main(_):
    limit_threads(FLAGS.threads)
    result = {}
    if "heat" in FLAGS.parts:
        result["heat"] = table_of_heat([int(seed) for seed in FLAGS.seeds])
        show_heat(result["heat"])
    if "share" in FLAGS.parts:
        result["share"] = table_of_shares([int(count) for count in FLAGS.counts])
        for row in result["share"]:
            print(f"{row['case']:8} {1e3 * row['seconds']:8.1f} ms, iterations {row['share']:.0%}")
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    app.run(main)
