"""A trained network with its stepper: described beside its checkpoints, and loaded."""

import json
import pathlib

import numpy as np

from tfunroll import systems
from tfunroll.core import InputError, Stepper
from tfunroll.files import write_json
from tfunroll.nets import keras
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.features import Features
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.fit import CHECKPOINTS

FILE = "model.json"
# settings that shape a network
NETWORK = tuple(name for name in RunConfig.names("network") if name != "initial")


def save_description(folder: pathlib.Path, config: RunConfig, features: Features, net) -> None:
    """Writes what ``load`` needs besides the checkpoint."""
    description = {
        "config": json.loads(config.to_json()),
        "features": features.to_json(),
        "num_weights": net.count_params(),
    }
    write_json(folder / FILE, description)


def describe(path: str | pathlib.Path) -> tuple[RunConfig, Features]:
    """Configuration and features of the network in RUN/<modality>/<seed>.

    Raises:
      InputError: if the folder holds no trained network, or one of other channels than its system
        has now, or of own data that have changed since.
    """
    try:
        description = json.loads((pathlib.Path(path) / FILE).read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(
            f"path={str(path)!r} holds no trained network ({FILE}); a network's folder is "
            "RUN/<modality>/<seed>"
        ) from None
    config = RunConfig.from_json(description["config"])
    features = Features.from_json(description["features"])
    now = systems.get(config.system).features(config.mode)
    for name in ("in_channels", "out_channels"):
        saved, wanted = getattr(features, name), getattr(now, name)
        if saved != wanted:
            raise InputError(
                f"path={str(path)!r}: the network has {name}={saved}, system={config.system} with "
                f"mode={config.mode} needs {wanted}"
            )
    if features.std and not _same_scales(features, now):
        raise InputError(
            f"path={str(path)!r}: the network was trained on states of std={features.std}, but "
            f"those of system={config.system} have {now.std}: put its data back"
        )
    return config, features


def _same_scales(features: Features, now: Features) -> bool:
    """Whether mean and std are those of the same data, but for rounding."""
    off = np.subtract(features.mean, now.mean) if now.std else np.inf
    return np.allclose(features.std, now.std or np.inf, 1e-5) and bool(
        np.all(np.abs(off) <= 1e-5 * np.array(features.std))
    )


def check_start(path: pathlib.Path, config: RunConfig) -> None:
    """InputError unless the network in ``path`` has the weights that ``config``'s network has."""
    start, features = describe(path)
    now = systems.get(config.system).features(config.mode)
    pairs = {name: (getattr(start, name), getattr(config, name)) for name in NETWORK}
    for name in ("in_channels", "out_channels"):
        pairs[name] = getattr(features, name), getattr(now, name)
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise InputError(f"start_from: its networks have {name}={theirs}, this run {ours}")


def load_weights(path: str | pathlib.Path, net: keras.Model) -> None:
    """Gives a network the weights of the training in ``path``.

    Raises: InputError: if there are none, or those of another network.
    """
    weights = Weights(net)
    weights.write(Checkpoints(pathlib.Path(path) / CHECKPOINTS).weights(weights.part()))


def load(path: str | pathlib.Path) -> Stepper:
    """Loads a trained network as a stepper, ready to bind to parameters.

    Args:
      path: RUN/<modality>/<seed>.
    Returns:
      the stepper; ``stepper.bind(params)`` is state -> state one frame later, and ``stepper.net``
      the Keras model.
    Raises:
      InputError: if the folder holds no trained network that fits its system.
    """
    config, features = describe(path)
    plan = Plan(config)
    net = plan.net(seed=0)
    load_weights(path, net)
    return plan.stepper(net, features)
