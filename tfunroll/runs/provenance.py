"""evaluation.json: what the results of a folder were made with."""

import pathlib
from dataclasses import fields, replace
from typing import NotRequired

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll import files
from tfunroll.core import InputError
from tfunroll.data import DataRecord
from tfunroll.runs.config import RunConfig
from tfunroll.runs.environment import environment

FILE = "evaluation.json"
SETTINGS = RunConfig.names("evaluation")


# SETTINGS with their types; "data": with the fingerprint; "environment": code version, precision,
# device; "run": the run's folder where the evaluation was written to another.
Record = TypedDict(
    "Record",
    {f.name: f.type for f in fields(RunConfig) if f.name in SETTINGS}
    | {"ensemble": NotRequired[bool]}  # of earlier versions there were none
    | {"data": DataRecord, "environment": dict[str, str], "run": NotRequired[str]},
)


def record(config: RunConfig, dataset) -> Record:
    """Of a resolved configuration and its data."""
    settings = {name: getattr(config, name) for name in SETTINGS}
    return {**settings, "data": dataset.record(), "environment": environment(config)}


def read(out: pathlib.Path) -> Record:
    """What ``record`` gave for a folder's results, and "run", the run's folder if it is another.

    Raises:
      InputError: if there is none, as in folders of earlier versions.
    """
    try:
        return {"ensemble": False} | files.read_json(out / FILE, Record)
    except InputError as error:
        raise InputError(f"{error}; scripts/evaluate.py --run={out} makes it anew") from None


def as_evaluated(config: RunConfig) -> RunConfig:
    """A configuration with the settings that its folder's results were made with, if it has any."""
    if not (pathlib.Path(config.out) / FILE).exists():
        return config
    found = read(pathlib.Path(config.out))
    return replace(config, **{name: found[name] for name in SETTINGS}).resolved()
