"""A network with its stepper: built from a configuration, saved beside its checkpoints, loaded."""

import json
import pathlib

from tfunroll import nets, systems
from tfunroll.checkpoints import restore_weights
from tfunroll.config import RunConfig
from tfunroll.core import InputError, Stepper
from tfunroll.features import Features
from tfunroll.nets import keras

FILE = "model.json"


def build_net(config: RunConfig, seed: int) -> keras.Model:
    """The configuration's network with the initial weights of ``seed``."""
    system = systems.get(config.system)
    features = system.features(config.mode)
    return nets.build(
        config.net,
        system.domain,
        features.in_channels,
        features.out_channels,
        size=config.size or None,
        width=config.width or None,
        depth=config.depth or None,
        widths=config.widths,
        modes=config.modes or None,
        seed=seed,
        dtype=config.precision,
    )


def build_stepper(config: RunConfig, net, features):
    """The configuration's stepper around a network."""
    system = systems.get(config.system)
    return system.stepper(
        net,
        features,
        config.mode,
        config.correction,
        config.coarse,
        config.solver_fraction,
        config.residual,
    )


def save_description(folder: pathlib.Path, config: RunConfig, features: Features, net) -> None:
    """Writes what ``load`` needs besides the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "config": json.loads(config.to_json()),
        "features": features.to_json(),
        "num_weights": net.count_params(),
    }
    (folder / FILE).write_text(json.dumps(description, indent=1))


def load(path: str | pathlib.Path) -> Stepper:
    """Loads a trained network as a stepper, ready to bind to parameters.

    Args:
      path: RUN/<modality>/<seed>.
    Returns:
      the stepper; ``stepper.bind(params)`` is state -> state one frame later, and ``stepper.net``
      the Keras model.
    Raises:
      InputError: if the folder holds no trained network.
    """
    folder = pathlib.Path(path)
    try:
        description = json.loads((folder / FILE).read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(
            f"path={str(path)!r} holds no trained network ({FILE}); a network's folder is "
            "RUN/<modality>/<seed>"
        ) from None
    config = RunConfig.from_json(description["config"])
    net = build_net(config, seed=0)
    if not restore_weights(folder / "checkpoints", [v.value for v in net.variables]):
        raise InputError(f"path={str(path)!r} holds no checkpoint")
    return build_stepper(config, net, Features.from_json(description["features"]))
