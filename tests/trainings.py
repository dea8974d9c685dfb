"""Small data and trainings for tests: seconds each, real in every part."""

import numpy as np
import tensorflow as tf

from tfunroll import nets, systems
from tfunroll.data import Dataset, Trajectories
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.runs.models import save_description
from tfunroll.runs.plan import Plan
from tfunroll.stepping.steppers import ParallelCorrection
from tfunroll.stepping.unrolling import rollout
from tfunroll.training.callbacks import Callback
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.trainer import Trainer

KS = systems.get("ks")
SIZES = np.array([7.2, 8.0, 9.6])
SOLVER = KS.coarse()


def trajectories(seed, frames=40):
    """Three of KS, ids a to c."""
    u = tf.constant(KS.initial_state({"domain_size": SIZES}, seed))
    states = rollout(KS.reference().bind({"domain_size": tf.constant(SIZES)}), u, 60 + frames)
    return Trajectories(
        states=states[:, 60:].numpy().astype(np.float32),
        params={"domain_size": SIZES.astype(np.float32)},
        ids=("a", "b", "c"),
        start_times=np.zeros(3),
        diagnostics={},
    )


def dataset():
    """Splits train and validation."""
    splits = {"train": trajectories(0), "validation": trajectories(1)}
    return Dataset("kuramoto_sivashinsky", "tiny", splits, 1.0, "")


def small_net(dtype="float32", seed=0, initial="glorot"):
    """A ResNet of one block."""
    return nets.build(
        "resnet", KS.domain, 2, 1, width=4, depth=1, seed=seed, dtype=dtype, initial=initial
    )


def small_trainer(data, schedule, dtype="float32", **more):
    """A Trainer of a parallel correction of KS by ``small_net``."""
    stepper = ParallelCorrection(SOLVER, small_net(dtype), KS.features("correction"))
    return Trainer(stepper, data.splits["train"], schedule, **{"callbacks": [], **more})


def trainer_of(config, data, *callbacks, modality=None):
    """The Trainer that a configuration makes, with the schedule of a modality: its only one."""
    plan = Plan(config.resolved())
    schedule = plan.schedule(modality or config.modalities[0])
    return plan.trainer(data, [*plan.callbacks(data), *callbacks]).with_schedule(schedule)


def trained_folder(folder, **options):
    """A network's folder, as a run leaves it."""
    config = RunConfig(**{"width": 4, "depth": 1, **options}).resolved()
    net = Plan(config).net(3)
    save_description(folder, config, systems.get(config.system).features(config.mode), net)
    Checkpoints(folder / "checkpoints").save(1, {"net": Weights(net).part()})
    return config


class Recorder(Callback):
    """Keeps what is recorded; one list for all copies of it."""

    def __init__(self):
        self.rows, self.reasons, self.reported = {}, [], []

    def begin(self, fit):
        self._seen = fit.states_before

    def called(self, fit):
        self.reported.append(fit.states_done - self._seen)
        self._seen = fit.states_done

    def recorded(self, fit, scalars):
        self.rows.setdefault(fit.update, {}).update(scalars)

    def skipped(self, fit, reason):
        self.reasons.append(reason)

    def of(self, name):
        """Update -> value of a quantity."""
        return {update: row[name] for update, row in self.rows.items() if name in row}
