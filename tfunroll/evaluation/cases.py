"""The cases of an evaluation: which stretches of which test trajectories are stepped."""

import numpy as np
import pandas as pd

from tfunroll.core import InputError

NO_PARAMS = "no parameters"  # in tables and titles, of data without any


def all_cases(dataset, settings) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """All test trajectories × start frames.

    Returns: their columns of results.csv, "params.NAME" among them; states [case, 1 + long_horizon,
      *space, channel]; their parameters, each [case].
    """
    tables, states, params = [], [], []
    for name in settings.test_sets:
        data = dataset.splits[name]
        starts = start_frames(data.states.shape[1], settings)
        count = len(data.states)
        states += [data.states[:, s : s + 1 + settings.long_horizon] for s in starts]
        params += [data.params] * len(starts)
        physics = [
            ";".join(f"{key}={values[i]:g}" for key, values in data.params.items()) or NO_PARAMS
            for i in range(count)
        ]
        flags = data.diagnostics.get("chaotic") if data.diagnostics else None
        for s in starts:
            tables.append(
                pd.DataFrame(
                    {
                        "dataset": f"{dataset.name}/{dataset.config}",
                        "test_set": name,
                        "trajectory": list(data.ids),
                        "start_frame": s,
                        "physics": physics,
                        "chaotic": True if flags is None else _flag_at(flags, s),
                        **{f"params.{name}": p for name, p in data.params.items()},
                    }
                )
            )
    names = params[0]
    return (
        pd.concat(tables, ignore_index=True),
        np.concatenate(states),
        {name: np.concatenate([p[name] for p in params]) for name in names},
    )


def start_frames(frames: int, settings) -> np.ndarray:
    """The first frames of the cases of a trajectory, spread evenly; InputError if it is short."""
    last = frames - 1 - settings.long_horizon
    if last < 0:
        raise InputError(
            f"long_horizon={settings.long_horizon} is longer than the test trajectories of "
            f"{frames} frames allow; at most {frames - 1}"
        )
    if settings.starts > last + 1:
        raise InputError(
            f"starts={settings.starts} with long_horizon={settings.long_horizon}: test "
            f"trajectories of {frames} frames have at most {last + 1} start frames"
        )
    return np.linspace(0, last, settings.starts).round().astype(int)


def _flag_at(flags: np.ndarray, frame: int) -> np.ndarray:
    return flags[:, min(frame // 100, flags.shape[1] - 1)].astype(bool)
