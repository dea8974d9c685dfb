"""How far rollouts leave the range of their reference, in ranges: where does divergence begin?

python benchmarks/divergence.py --run=RUN         # networks and solvers of a run
python benchmarks/divergence.py --system=wake     # the coarse solver, and the flow itself later
"""

import pathlib

import numpy as np
import tensorflow as tf
from absl import app, flags

from tfunroll import systems
from tfunroll.evaluation.evaluator import Evaluator
from tfunroll.runs.folder import network_folder, read_config
from tfunroll.runs.jobs import load_data
from tfunroll.runs.models import load_weights
from tfunroll.runs.plan import Plan
from tfunroll.stepping.unrolling import rollout

RUN = flags.DEFINE_string("run", "", "folder of a trained run")
SYSTEM = flags.DEFINE_enum("system", "wake", ["wake", "kolmogorov"], "where no run is given")
CASES = {"wake": ((100.0, 200.0, 1000.0), 1200, 400), "kolmogorov": ((600.0, 1000.0), 3000, 250)}


def show(name: str, u: np.ndarray, r: np.ndarray) -> None:
    """Quantiles over rollouts, and the share beyond some thresholds."""
    axes = tuple(range(1, r.ndim - 1))
    low, high = r.min(axes, keepdims=True), r.max(axes, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.max(np.maximum(u - high, low - u) / (high - low), tuple(range(1, u.ndim)))
    beyond = np.where(np.isfinite(beyond), beyond, np.inf)
    shares = ", ".join(f"{np.mean(beyond > w):.0%} > {w}" for w in (0.1, 0.2, 0.3, 0.5, 1, 2))
    print(f"{name:32s} {shares}; most {beyond.max():.2f}", flush=True)


def of_run(out: pathlib.Path) -> None:
    plan = Plan(config := read_config(out))
    dataset, stepper = load_data(config), plan.stepper(plan.net(0))
    evaluator = Evaluator(stepper, plan.system, dataset, plan.settings(dataset))
    system, measured = plan.system, plan.system.measured
    references = evaluator._references[..., measured]

    def show_all(name):
        rolled = evaluator._roll(evaluator._initial, evaluator._params)[0].numpy()
        for test_set, cases in evaluator.cases.groupby("test_set"):
            show(f"{name} {test_set}", rolled[cases.index][..., measured], references[cases.index])

    groups = evaluator.cases.groupby(["test_set", "physics"]).groups.values()
    pairs = [(i, j) for group in groups for i in group for j in group if i != j]
    ours, others = (list(side) for side in zip(*pairs, strict=True))
    show(f"another reference of {system.name}", references[others], references[ours])
    for modality in config.modalities:
        for seed in config.seeds:
            load_weights(network_folder(config, modality, seed), stepper.net)
            show_all(f"{modality} {seed}")


def of_system(name: str) -> None:
    values, spin_up, frames = CASES[name]
    system = systems.get(name)
    params = {next(iter(system.params)): tf.constant(values)}
    fine, coarse = system.reference(), system.coarse()

    def roll(solver, state, length, view):
        step = solver.bind(params)
        run = tf.function(lambda s: rollout(step, s, length, view), jit_compile=True)
        return run(state)

    initial = system.initial_state({k: v.numpy() for k, v in params.items()}, 0)
    state = fine.prolong(tf.constant(initial, tf.float32))
    for _ in range(spin_up // 200):
        state = roll(fine, state, 200, tf.identity)[:, -1]
    first = roll(fine, state, frames, fine.restrict).numpy()[..., :2]
    later = roll(fine, roll(fine, state, 200, tf.identity)[:, -1], frames, fine.restrict)
    alone = roll(coarse, fine.restrict(state), frames, tf.identity)
    show("the same flow later", later.numpy()[..., :2], first)
    show("coarse solver", alone.numpy()[..., :2], first)
    show("20 % too strong", 1.2 * first, first)


def main(_) -> None:
    if RUN.value:
        of_run(pathlib.Path(RUN.value))
    else:
        of_system(SYSTEM.value)


if __name__ == "__main__":
    app.run(main)
