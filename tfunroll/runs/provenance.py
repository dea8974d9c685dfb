"""evaluation.json: what the results of a folder were made with."""

import json
import pathlib
from dataclasses import replace

from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.runs.environment import environment

FILE = "evaluation.json"
SETTINGS = RunConfig.names("evaluation")


def record(config: RunConfig, dataset) -> dict[str, object]:
    """SETTINGS of a resolved configuration, data and environment, as JSON values.

    "data": Dataset.record, with the fingerprint; "environment": code version, precision, device.
    """
    settings = {name: getattr(config, name) for name in SETTINGS}
    return {**settings, "data": dataset.record(), "environment": environment(config)}


def read(out: pathlib.Path) -> dict[str, object]:
    """What ``record`` gave for a folder's results, and "run", the run's folder if it is another.

    Raises:
      InputError: if there is none, as in folders of earlier versions.
    """
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        found = {"ensemble": False} | found  # those of before there were any lack it
        RunConfig.from_json({name: found[name] for name in SETTINGS})  # TypeError for another type
        return {name: found[name] for name in ("data", "environment")} | found
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"run={str(out)!r} has no readable {FILE}; scripts/evaluate.py --run={out} makes its "
            "results anew"
        ) from None


def as_evaluated(config: RunConfig) -> RunConfig:
    """A configuration with the settings that its folder's results were made with, if it has any."""
    if not (pathlib.Path(config.out) / FILE).exists():
        return config
    found = read(pathlib.Path(config.out))
    settings = RunConfig.from_json({name: found[name] for name in SETTINGS})
    return replace(config, **{name: getattr(settings, name) for name in SETTINGS})
