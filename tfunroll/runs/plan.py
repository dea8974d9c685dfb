"""Plan: a configuration resolved into the objects that it names."""

import functools
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfunroll import nets, systems, user_modules
from tfunroll.core import Stepper
from tfunroll.data import Dataset
from tfunroll.evaluation.evaluator import Settings
from tfunroll.nets import keras, own
from tfunroll.nets.building import best
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.stepping import levels
from tfunroll.stepping.features import Features
from tfunroll.stepping.losses import (
    CRPS,
    H1,
    Loss,
    Mixed,
    PhysicsResidual,
    Spectral,
    Sum,
    Supervised,
    terms,
)
from tfunroll.stepping.steppers import Prediction
from tfunroll.stepping.stochastic import Stochastic
from tfunroll.systems import System
from tfunroll.systems.base import TEST_SPLITS
from tfunroll.training import averages, subspaces
from tfunroll.training.callbacks import Callback, Checkpoint, Validation
from tfunroll.training.emulation import emulate
from tfunroll.training.replay import Replay
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.trainer import Trainer

EMULATOR = 24, 3  # width and depth of the ResNet that emulates a solver
EMULATOR_FILE = "emulator.npz"  # in a run's folder


@dataclass(frozen=True)
class Plan:
    """What a resolved configuration stands for; everything here can be made without it, by hand."""

    config: RunConfig

    @functools.cached_property
    def system(self) -> System:
        """The system of the states."""
        return systems.get(self.config.system)

    @functools.cached_property
    def features(self) -> Features:
        """What the network sees."""
        return self.system.features(self.config.mode)

    @property
    def net_channels(self) -> int:
        """That the network makes; with noise its amplitudes too."""
        return self.features.out_channels * (2 if self.config.stochastic else 1)

    def net(self, seed: int) -> keras.Model:
        """The network with the initial weights of ``seed``."""
        config = self.config
        return nets.build(
            config.net,
            self.system.domain,
            self.features.in_channels,
            self.net_channels,
            size=config.size or None,
            width=config.width or None,
            depth=config.depth or None,
            widths=config.widths,
            modes=config.modes or None,
            seed=seed,
            dtype=config.precision,
            initial=config.initial or best(config.net),
        )

    def check_net(self) -> None:
        """Tries a user's own network out: InputError for one that cannot be trained."""
        config = self.config
        if user_modules.is_path(config.net):
            channels = self.features.in_channels, self.net_channels
            jit = config.jit != "off"
            own.check(config.net, self.system.domain, *channels, config.precision, jit)

    def stepper(self, net: keras.Model, features: Features | None = None) -> Stepper:
        """The stepper around a network; ``features``: those that it was trained with."""
        config = self.config
        stepper = self.system.stepper(
            net,
            features or self.features,
            config.mode,
            config.correction,
            config.coarse,
            config.residual,
        )
        return Stochastic(stepper, config.members) if config.stochastic else stepper

    @functools.cached_property
    def loss(self) -> Loss:
        """What training minimises."""
        make = {
            "supervised": lambda: Supervised(levels=levels.read(self.config.level_weights)),
            "physics": lambda: PhysicsResidual(self.system.reference()),
            "mixed": lambda: Mixed(self.system.reference()),
            "spectral": Spectral,
            "h1": H1,
            "crps": lambda: CRPS(self.config.members),
        }
        each = [(factor, make[name]()) for factor, name in terms(self.config.loss)]
        each = [loss if factor == 1 else factor * loss for factor, loss in each]
        return each[0] if len(each) == 1 else Sum(tuple(each))

    def schedule(self, modality: str) -> Schedule:
        """The stages of a modality."""
        config = self.config
        stages = tuple(
            Stage(
                config.unrolling(modality, stage),
                stage.updates,
                stage.learning_rate,
                stage.warmup,
                config.batch(modality, stage),
                0 if modality == "ONE" else stage.least,
            )
            for stage in config.stages()
        )
        rule = config.ladder_rule() if config.automatic else None
        return Schedule(stages, config.decay_rate, config.decay_every, config.plateau, rule)

    def callbacks(self, dataset: Dataset) -> list[Callback]:
        """Validation, what listens to it, and checkpoints."""
        config = self.config
        split, measured = dataset.splits["validation"], self.system.measured
        ladder = config.made_ladder()
        return [
            Validation(split, config.validate_every, config.horizon, measured),
            *([ladder] if ladder else []),
            Checkpoint(config.checkpoint_every),
        ]

    def trainer(self, dataset: Dataset, callbacks: Sequence[Callback] = ()) -> Trainer:
        """A Trainer with the schedule of the first modality; ``with_schedule`` makes the others."""
        config = self.config
        stepper = self.stepper(self.net(config.seeds[0]))
        if config.through == "emulator" and "WIG" in config.modalities:
            stepper = replace(stepper, emulator=self.emulator(dataset))
        updates = sum(stage.updates for stage in config.stages())
        return Trainer(
            stepper,
            dataset.splits["train"],
            self.schedule(config.modalities[0]),
            loss=self.loss,
            noise=config.noise,
            callbacks=callbacks,
            jit=config.jit != "off",
            rematerialise=config.rematerialise,
            subspace=subspaces.read(config.subspace),
            average=averages.read(config.average, updates),
            replay=Replay.read(config.replay) if config.replay else None,
            initial=lambda seed: Weights(self.net(seed)).read().numpy(),
        )

    def emulator(self, dataset: Dataset) -> Stepper:
        """Of the coarse solver, for --through=emulator; kept in the run's folder."""
        config, system = self.config, self.system
        features = system.features("prediction")
        channels = features.in_channels, features.out_channels
        size = {"width": EMULATOR[0], "depth": EMULATOR[1]}
        net = nets.build("resnet", system.domain, *channels, **size, seed=0, dtype=config.dtype)
        prediction = Prediction(net, features, True, system.prediction_scale or 1.0)
        return emulate(
            system.corrected(config.correction, config.coarse),
            prediction,
            dataset.splits["train"],
            jit=config.jit != "off",
            kept=pathlib.Path(config.out) / EMULATOR_FILE if config.out else None,
        )

    def settings(self, dataset: Dataset) -> Settings:
        """How the configuration evaluates on a dataset; own data may lack test sets.

        Those of one network leave out metrics of ensembles: Settings.of_one.
        """
        config = self.config
        present = tuple(name for name in TEST_SPLITS if name in dataset.splits)
        return Settings(
            horizon=config.horizon,
            long_horizon=config.long_horizon,
            starts=config.starts,
            metrics=config.metrics,
            test_sets=present or ("validation",),
            dtype=config.dtype,
            jit_compile=config.jit != "off",
            coarse=config.coarse,
        )
