"""Where a run happens: device, versions and precision."""

import os
import platform

import numpy as np
import tensorflow as tf

import tfunroll
from tfunroll.config import RunConfig
from tfunroll.nets import keras  # checked to run on TensorFlow


def environment(config: RunConfig) -> dict[str, str]:
    """Device, versions and precision, for the record of a run."""
    gpus = [tf.config.experimental.get_device_details(d).get("device_name", "GPU")
            for d in tf.config.list_physical_devices("GPU")]  # fmt: skip
    return {
        "device": ", ".join(gpus) or f"CPU, {len(os.sched_getaffinity(0))} cores",
        "precision": config.precision,
        "tfunroll": tfunroll.__version__,
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
