"""Trajectories of a user's own System, as arrays with the description that --data takes."""

import pathlib

import numpy as np
import tensorflow as tf
from tfunroll.datasets.guards import check_writable

from tfunroll.core import InputError
from tfunroll.files import replacing, write_json
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import System


def generate_own(
    system: System, folder: str | pathlib.Path, trajectories: int = 4, frames: int = 300
) -> pathlib.Path:
    """Steps the reference solver of a System that has no TFDS dataset.

    All trajectories are one batch, in float64, which an external solver shares out to its workers.

    Args:
      folder: takes NAME.json and NAME.npy, replacing what is there.
      trajectories: per value of the parameter. frames: kept of each, after the spin-up.
    Returns:
      the description's path, for --data.
    Raises:
      InputError: the System lacks what it takes; or a trajectory diverges.
    """
    lacking = [f for f in ("reference", "initial_state", "splits") if not getattr(system, f)]
    if lacking:
        raise InputError(
            f"system {system.name} has no {' and no '.join(lacking)}, so its data cannot be "
            "generated; give your own trajectories by --data=description.json"
        )
    if len(system.params) != 1:
        raise InputError(
            f"system {system.name} has the parameters {list(system.params)}; generated is for one "
            "parameter alone: give your own trajectories by --data=description.json"
        )
    if trajectories < 1 or frames < 2:
        raise InputError(f"trajectories={trajectories} must be at least 1, frames={frames} 2")
    folder = pathlib.Path(folder)
    check_writable(folder)
    (name,) = system.params
    starts, values, splits = [], [], {}
    for seed, (split, wanted) in enumerate(system.splits.items()):
        size = np.repeat(np.asarray(wanted, np.float64), trajectories)
        splits[split] = list(range(len(values), len(values) + len(size)))
        values.extend(size)
        starts.append(system.initial_state({name: size}, seed))
    params = {name: np.array(values)}
    system.check_params(params)
    solver = system.reference()
    with solver_errors():
        step = solver.bind({name: tf.constant(params[name])})
        roll = tf.function(rollout, jit_compile=solver.compilable, autograph=False)
        states = roll(step, tf.constant(np.concatenate(starts)), system.spin_up_frames + frames)
    states = states[:, -frames:].numpy().astype(np.float32)
    if (bad := ~np.isfinite(states).reshape(len(states), -1).all(1)).any():
        raise InputError(
            f"system {system.name}: the reference diverges for {name}={values[int(bad.argmax())]:g}"
        )
    with replacing(folder / f"{system.name}.npy") as new, new.open("wb") as file:
        np.save(file, states)
    description = {
        "system": system.name,
        "states": f"{system.name}.npy",
        "params": {name: values},
        "frame_time": system.frame_time,
        "splits": splits,
    }
    path = folder / f"{system.name}.json"
    write_json(path, description)
    return path
