"""Time per network and update for K seeds side by side in one program, against K one after another.

"ours" is an update of K networks in one program divided by K, "peer" an update of one network.
"""

from absl import app, flags
from side_by_side import compare, limit_threads, show

flags.DEFINE_list("seeds", ["1", "2", "4", "8"], "networks side by side")
flags.DEFINE_list("nets", ["demo", "large", "2d"], "demo (16, 4), large (26, 8), 2d: 32², (9, 4)")
flags.DEFINE_integer("updates", 20, "updates per timed call")
FLAGS = flags.FLAGS
SIZES = {"demo": (16, 4), "large": (26, 8), "2d": (9, 4)}


def updates_of(name, seeds):
    """The function of some updates of WIG, m = 4, batch 16 (2-D: 4), of several seeds."""
    import numpy as np

    from tfunroll import systems
    from tfunroll.data import Dataset, Trajectories
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.plan import Plan
    from tfunroll.stepping.unrolling import WIG
    from tfunroll.training.schedule import Stage
    from tfunroll.training.trainer import Updates

    width, depth = SIZES[name]
    system = systems.get("kolmogorov" if name == "2d" else "ks")
    parameter = next(iter(system.params))
    values = np.array(system.splits["train"][:4], np.float32)
    state = np.asarray(system.initial_state({parameter: values}, 0), np.float32)
    # a network that starts at zero and hardly moves, so that nothing diverges
    states = np.repeat((state if name == "2d" else 1e-5 * state)[:, None], 200, 1)
    split = Trajectories(states, {parameter: values}, tuple("abcd"), np.zeros(4), {})
    dataset = Dataset("still", "", {"train": split, "validation": split}, 1.0, "")
    config = RunConfig(system=system.name, width=width, depth=depth, initial="zero").resolved()
    stage = Stage(WIG(4), 1000, 1e-12, batch_size=4 if name == "2d" else 16)
    updates = Updates(Plan(config).trainer(dataset), stage, seeds)
    return lambda: updates(FLAGS.updates)


def main(_):
    limit_threads(FLAGS.threads)
    rows = []
    for name in FLAGS.nets:
        alone = updates_of(name, 0)
        for count in map(int, FLAGS.seeds):
            together = updates_of(name, list(range(count)))
            more = {"batch": 4 if name == "2d" else 16, "threads": FLAGS.threads}
            case = f"{name} {SIZES[name]}, K = {count}"
            row = compare("seeds", case, together, alone, FLAGS.pairs, **more, calls=FLAGS.updates)
            rows.append({**row, "ours": row["ours"] / count, "ratio": row["ratio"] / count})
    show(rows, ("tensorflow", "keras"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
