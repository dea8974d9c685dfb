"""A trained network with its stepper: described beside its checkpoints, and loaded."""

import pathlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll import files, systems
from tfunroll.core import InputError
from tfunroll.nets import keras
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.runs.trained import TrainedStepper
from tfunroll.stepping.ensembles import Ensemble
from tfunroll.stepping.features import Features, SavedFeatures
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.fit import CHECKPOINTS

FILE = "model.json"
Alpha = float | Sequence[float] | None


class Description(TypedDict):
    """model.json."""

    config: dict[str, Any]
    features: SavedFeatures
    num_weights: int


# settings that shape a network
NETWORK = tuple(name for name in RunConfig.names("network") if name != "initial")


def save_description(folder: pathlib.Path, config: RunConfig, features: Features, net) -> None:
    """Writes what ``load`` needs besides the checkpoint."""
    description: Description = {
        "config": asdict(config),
        "features": features.to_json(),
        "num_weights": net.count_params(),
    }
    files.write_json(folder / FILE, description)


def describe(path: str | pathlib.Path) -> tuple[RunConfig, Features]:
    """Configuration and features of the network in RUN/<modality>/<seed>.

    Raises:
      InputError: if the folder holds no trained network, or one of other channels than its system
        has now.
    """
    try:
        description = files.read_json(pathlib.Path(path) / FILE, Description)
        config = RunConfig.from_json(description["config"], FILE)
        features = Features.from_json(description["features"])
    except InputError as error:
        raise InputError(
            f"path={str(path)!r} holds no trained network ({error}); a network's folder is "
            "RUN/<modality>/<seed>, all seeds together are RUN/<modality>"
        ) from None
    now = systems.get(config.system).features(config.mode)
    for name in ("in_channels", "out_channels"):
        saved, wanted = getattr(features, name), getattr(now, name)
        if saved != wanted:
            raise InputError(
                f"path={str(path)!r}: the network has {name}={saved}, system={config.system} with "
                f"mode={config.mode} needs {wanted}"
            )
    return config, features


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


def load_weights(path: str | pathlib.Path, net: keras.Model, alpha: Alpha = None) -> None:
    """Gives a network the weights of the training in ``path``.

    Args: alpha: of a subspace, its point, see subspaces.mixed.
    Raises: InputError: if there are none, or those of another network.
    """
    weights = Weights(net)
    weights.write(Checkpoints(pathlib.Path(path) / CHECKPOINTS).weights(weights.part(), alpha))


def networks(path: str | pathlib.Path) -> list[pathlib.Path]:
    """The folders of the networks in RUN/<modality>/<seed>, itself, or in RUN/<modality>."""
    path = pathlib.Path(path).expanduser()
    found = [p.parent for p in path.glob(f"*/{FILE}") if p.parent.name.isdecimal()]
    return sorted(found, key=lambda p: int(p.name)) or [path]


def load(
    path: str | pathlib.Path, how: str = "rollouts", alpha: Alpha = None
) -> TrainedStepper | Ensemble:
    """Loads a trained network with its solver, or all seeds of a modality as one stepper.

    Args:
      path: RUN/<modality>/<seed>, or RUN/<modality> for an Ensemble.
      how: of an Ensemble: "rollouts", members apart, or "steps", their mean in every step.
      alpha: of networks trained as a subspace: of a line the share of its second end, in [0, 1],
        of any the coordinates of a point; the middle if None.
    Returns:
      see trained.TrainedStepper: ``rollout(state, params, frames)``, ``bind(params)`` and ``net``,
      the Keras model; or the Ensemble of the seeds.
    Raises:
      InputError: if the folder holds no trained network that fits its system, or a user's own whose
        file is gone or has changed.
    """
    path = pathlib.Path(path).expanduser()
    if (found := networks(path)) != [path]:
        return Ensemble([load(folder, alpha=alpha).stepper for folder in found], how)
    config, features = describe(path)
    plan = Plan(config)
    net = plan.net(seed=0)
    load_weights(path, net, alpha)
    return TrainedStepper(plan.stepper(net, features), plan.system)
