"""Where a run happens: device, versions and precision."""

import functools
import pathlib
import platform
import subprocess

import numpy as np
import tensorflow as tf

import tfunroll
from tfunroll import machine
from tfunroll.nets import keras  # checked to run on TensorFlow
from tfunroll.runs.config import RunConfig


def environment(config: RunConfig) -> dict[str, str]:
    """Device, versions, commit and precision, for the record of a run."""
    return {
        "device": ", ".join(machine.gpus()) or f"CPU, {machine.cores()} cores",
        "precision": config.precision,
        "tfunroll": tfunroll.__version__,
        "commit": commit(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def describe_environment(config: RunConfig) -> str:
    """The environment in one line, which each run prints first."""
    env = environment(config)
    versions = ", ".join(f"{k} {env[k]}" for k in ("tfunroll", "tensorflow", "keras", "numpy"))
    return f"{env['device']}; {env['precision']}; {versions}; python {env['python']}"


@functools.cache
def commit() -> str:
    """The commit of the checkout this package runs from, "-dirty" if edited; empty for none."""
    root = pathlib.Path(tfunroll.__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", root, "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system that hangs
        return ""
    return done.stdout.strip()
