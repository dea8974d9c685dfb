"""Plan: a configuration resolved into the objects that it names."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

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
from tfunroll.stepping.losses import CRPS, Loss, PhysicsResidual, Supervised
from tfunroll.stepping.stochastic import Stochastic
from tfunroll.systems import System
from tfunroll.systems.base import TEST_SPLITS
from tfunroll.training import averages, subspaces
from tfunroll.training.callbacks import Callback, Checkpoint, Validation
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.trainer import Trainer


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

    def net(self, seed: int) -> keras.Model:
        """The network with the initial weights of ``seed``."""
        config = self.config
        return nets.build(
            config.net,
            self.system.domain,
            self.features.in_channels,
            self._out_channels,
            size=config.size or None,
            width=config.width or None,
            depth=config.depth or None,
            widths=config.widths,
            modes=config.modes or None,
            seed=seed,
            dtype=config.precision,
            initial=config.initial or best(config.net),
        )

    @property
    def _out_channels(self) -> int:
        return self.features.out_channels * (2 if self.config.stochastic else 1)

    def check_net(self) -> None:
        """Tries a user's own network out: InputError for one that cannot be trained."""
        config = self.config
        if user_modules.is_path(config.net):
            channels = self.features.in_channels, self._out_channels
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
        if self.config.loss == "physics":
            return PhysicsResidual(self.system.reference())
        if self.config.loss == "crps":
            return CRPS(self.config.members)
        return Supervised(levels=levels.read(self.config.level_weights))

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
        return Trainer(
            self.stepper(self.net(config.seeds[0])),
            dataset.splits["train"],
            self.schedule(config.modalities[0]),
            loss=self.loss,
            noise=config.noise,
            callbacks=callbacks,
            jit=config.jit != "off",
            rematerialise=config.rematerialise,
            subspace=subspaces.read(config.subspace),
            average=averages.read(config.average, config.in_all()),
            initial=lambda seed: Weights(self.net(seed)).read().numpy(),
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
        )
