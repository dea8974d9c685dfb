"""RunConfig: everything a training run is told, checked before work starts.

Each field is one flag of ``scripts/train.py`` (tfunroll/cli.py makes the flags from the fields), so
a setting is written down once.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from tfunroll.core import MODALITIES, InputError, check_choice, check_solver

if TYPE_CHECKING:  # TensorFlow takes seconds to import; flags and --help need not wait for it
    from tfunroll.systems import System
    from tfunroll.unrolling import Unrolling

PRECISIONS = ("float32", "float64", "mixed_bfloat16")
JIT = ("auto", "on", "off")
DEMO_CURRICULUM = "1:2000,4:800,4:700:1e-4"


def _flag(default, group: str, help_text: str):
    return field(default=default, metadata={"group": group, "help": help_text})


@dataclass(frozen=True)
class Stage:
    """One stage of a curriculum: horizon, updates, learning rate and its warm-up in updates."""

    steps: int
    updates: int
    learning_rate: float
    warmup: int = 0

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps={self.steps} must be at least 1")
        if self.updates < 1:
            raise InputError(f"updates={self.updates} must be at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate={self.learning_rate} must be positive")
        if not 0 <= self.warmup <= self.updates:
            raise InputError(f"warm-up={self.warmup} must lie between 0 and updates={self.updates}")


@dataclass(frozen=True)
class RunConfig:
    """Settings of one run: a system, a network, modalities × seeds, and their evaluation."""

    system: str = _flag(
        "ks", "task", "ks, kolmogorov, wake, aerofoil, ks:points=64 or path/to/module.py:SYSTEM"
    )
    dataset_config: str = _flag("tiny", "task", "dataset config, such as tiny or study")
    data: str = _flag("", "task", "own data: path of its description file (see README)")
    keep_steady: bool = _flag(False, "task", "train on flows that are labelled as steady, too")
    data_dir: str = _flag("", "task", "where datasets live; TFDS's default folder if empty")
    mode: str = _flag("correction", "task", "correction (network beside a solver) or prediction")
    correction: str = _flag(
        "", "task", "parallel, sequential or graded; the system's first if empty"
    )
    coarse: str = _flag(
        "", "task", "coarse solver, such as piso:sweeps=2; the system's first if empty"
    )
    residual: bool = _flag(False, "task", "prediction: the network gives the change of the state")

    net: str = _flag("resnet", "network", "resnet, unet, attention_unet, fno, graph or transformer")
    size: str = _flag("", "network", "weight count by label: 1k, 32k, 0.1M, 0.2M, 0.5M, 1M or 5M")
    width: int = _flag(0, "network", "channels inside, in place of the size's")
    depth: int = _flag(0, "network", "blocks or levels, in place of the size's")
    widths: tuple[int, ...] = _flag((), "network", "resnet: channels per block, comma list")
    modes: int = _flag(0, "network", "fno: wavenumbers per axis, in place of the size's")

    initial: str = _flag(
        "",
        "network",
        "initial weights: glorot, fan_in, zero, glorot_zero, he_zero; the network's best if empty",
    )

    modalities: tuple[str, ...] = _flag(MODALITIES, "training", "any of ONE,NOG,WIG")
    steps: int = _flag(0, "training", "horizon m: steps unrolled per sample")
    updates: int = _flag(0, "training", "optimizer updates")
    curriculum: str = _flag(
        "",
        "training",
        "stages steps:updates[:learning rate[:warm-up]],…  in place of --steps and --updates; "
        f"with none of the three: {DEMO_CURRICULUM}",
    )
    cut_every: int = _flag(0, "training", "WIG: cut gradients every k steps; 0 never")
    pushforward: int = _flag(0, "training", "first steps of the horizon that are cut, without loss")
    batch_size: int = _flag(16, "training", "samples per update; ONE takes this times the horizon")
    learning_rate: float = _flag(5e-4, "training", "of Adam, where the curriculum names none")
    decay_rate: float = _flag(
        0.9, "training", "learning-rate factor every decay_every updates of a stage"
    )
    decay_every: int = _flag(2000, "training", "updates per learning-rate decay; 0 for none")
    plateau: int = _flag(
        0, "training", "halve a stage's rate after this many validations without gain"
    )
    loss: str = _flag("supervised", "training", "supervised, or physics (residual, no reference)")
    rematerialise: bool = _flag(
        False, "training", "recompute each step in the backward pass: less memory, more time"
    )
    noise: float = _flag(0.0, "training", "input noise, as a fraction of each channel's rms")
    seeds: tuple[int, ...] = _flag((0, 1, 2, 3), "training", "comma list, one network each")
    precision: str = _flag(
        "float32", "training", "float32, float64, or mixed_bfloat16 (the network alone in bfloat16)"
    )
    jit: str = _flag("auto", "training", "XLA: auto, on or off")
    start_from: str = _flag("", "training", "run folder whose ONE networks are the start")

    horizon: int = _flag(0, "evaluation", "frames of the error metrics; the system's if 0")
    long_horizon: int = _flag(0, "evaluation", "frames of the time metrics; the system's if 0")
    starts: int = _flag(2, "evaluation", "start frames per test trajectory")
    metrics: tuple[str, ...] = _flag((), "evaluation", "comma list; the system's if empty")
    refined: tuple[int, ...] = _flag((), "evaluation", "baselines: reference, refined n times")

    out: str = _flag("", "run", "folder to write; a new one under runs/ if empty")
    resume: bool = _flag(False, "run", "continue the run in --out")
    workers: int = _flag(0, "run", "processes side by side; one per core if 0")
    checkpoint_every: int = _flag(500, "run", "updates between checkpoints")
    validate_every: int = _flag(500, "run", "updates between validations")

    # ------------------------------------------------------------------ what the fields mean

    def resolved(self) -> "RunConfig":
        """The same with the system's defaults filled in; InputError for anything impossible."""
        from tfunroll import options, systems
        from tfunroll.nets.initial import best

        system = systems.get(self.system)
        config = replace(
            self,
            system=systems.full_name(self.system),
            initial=self.initial or best(self.net),
            correction=self.correction or next(iter(system.corrections)),
            coarse=options.write(*system.coarse_options(self.coarse)),
            horizon=self.horizon or system.horizon,
            long_horizon=self.long_horizon or system.long_horizon,
            metrics=self.metrics or self._default_metrics(system),
        )
        config._check(system)
        return config

    def _default_metrics(self, system: "System") -> tuple[str, ...]:
        defined = self._on_reference_grid(system)
        return tuple(m for m in system.metrics if defined or m != "physics_residual")

    def _on_reference_grid(self, system: "System") -> bool:
        return not self.data and self.dataset_config in system.on_reference_grid

    @property
    def dtype(self) -> str:
        """Of states, solvers and losses; the network alone computes in bfloat16."""
        return "float32" if self.precision == "mixed_bfloat16" else self.precision

    def stages(self) -> list[Stage]:
        """The curriculum."""
        if self.curriculum and (self.steps or self.updates):
            raise InputError("curriculum: give either --curriculum or --steps and --updates")
        text = self.curriculum
        if not text and not (self.steps or self.updates):
            text = DEMO_CURRICULUM
        if not text:
            return [Stage(self.steps or 1, self.updates or 2000, self.learning_rate)]
        return [self._stage(part) for part in text.split(",")]

    def _stage(self, text: str) -> Stage:
        parts = text.strip().split(":")
        try:
            if not 2 <= len(parts) <= 4:
                raise ValueError
            steps, updates = int(parts[0]), int(parts[1])
            rate = float(parts[2]) if len(parts) > 2 else self.learning_rate
            warmup = int(parts[3]) if len(parts) > 3 else 0
        except ValueError:
            raise InputError(
                f"curriculum stage {text!r} is not steps:updates[:learning rate[:warm-up]]"
            ) from None
        return Stage(steps, updates, rate, warmup)

    def describe_stages(self) -> str:
        """The curriculum in words, a line per stage: horizon, updates, learning rate."""
        decay = f" × {self.decay_rate:g} every {self.decay_every} updates" * bool(self.decay_every)
        return "\n".join(
            f"stage {number}: horizon {stage.steps}, {stage.updates} updates, learning rate "
            f"{stage.learning_rate:g}{decay}"
            + f", warm-up {stage.warmup} updates" * bool(stage.warmup)
            + ", halved at plateaus" * bool(self.plateau)
            for number, stage in enumerate(self.stages(), start=1)
        )

    def unrolling(self, modality: str, stage: Stage) -> "Unrolling":
        """How ``modality`` unrolls in ``stage``."""
        from tfunroll.unrolling import of_modality

        return of_modality(modality, stage.steps, self.cut_every or None, self.pushforward)

    def batch(self, modality: str, stage: Stage) -> int:
        """Samples per update: ONE sees as many states per update as the unrolled modalities."""
        return self.batch_size * (stage.steps if modality == "ONE" else 1)

    def shared_stages(self) -> int:
        """Leading stages with a horizon of one step: the same for every modality of a seed."""
        stages = self.stages()
        count = 0
        while count < len(stages) and stages[count].steps == 1:
            count += 1
        return count if len(self.modalities) > 1 else 0

    def _check(self, system: "System") -> None:
        from tfunroll.losses import LOSSES
        from tfunroll.nets import INITIAL
        from tfunroll.systems.base import MODES
        from tfunroll.unrolling import Unrolling

        check_choice("mode", self.mode, MODES)
        check_choice("correction", self.correction, system.corrections)
        check_choice("loss", self.loss, LOSSES)
        check_choice("initial", self.initial, INITIAL)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("jit", self.jit, JIT)
        if not self.modalities:
            raise InputError(f"modalities is empty; allowed: {', '.join(MODALITIES)}")
        for modality in self.modalities:
            check_choice("modalities", modality, MODALITIES)
        if len(set(self.modalities)) < len(self.modalities):
            raise InputError(f"modalities={','.join(self.modalities)} names one twice")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError("seeds must be different whole numbers of at least 0")
        if self.refined and min(self.refined) < 1:
            raise InputError(f"refined={min(self.refined)} must be at least 1")
        for name in ("batch_size", "starts", "checkpoint_every", "validate_every"):
            self._at_least(name, 1)
        for name in (
            *("steps", "updates", "width", "depth", "modes", "workers", "horizon", "long_horizon"),
            *("noise", "cut_every", "pushforward", "decay_every", "plateau"),
        ):
            self._at_least(name, 0)
        if not 0 < self.decay_rate <= 1:
            raise InputError(f"decay_rate={self.decay_rate} must lie in (0, 1]")
        solvers = []
        if self.mode == "correction":
            solvers.append(system.corrected(self.correction, self.coarse))  # its own checks
        if self.loss == "physics" and self._on_reference_grid(system):
            solvers.append(system.reference())
        for solver in solvers:
            check_solver(f"a solver of system {system.name}", solver, len(system.channels))
        longest = max(stage.steps for stage in self.stages())
        if "WIG" in self.modalities and longest > 1 and self.cut_every != 1:
            for solver in solvers:
                if not solver.differentiable:
                    raise InputError(solver.without_gradient)
        if longest > 1:  # cut and push-forward must fit the longest horizon
            Unrolling(longest, self.cut_every or None, self.pushforward)
        elif self.cut_every > 1 or self.pushforward:
            raise InputError(
                f"cut_every={self.cut_every}, pushforward={self.pushforward}: need a horizon "
                "of more than one step"
            )
        elif self.updates and not self.steps and len(self.modalities) > 1:
            raise InputError(
                f"updates={self.updates} without steps is a horizon of one step, with which "
                f"modalities={','.join(self.modalities)} are one and the same network: give "
                "--steps too"
            )
        if self.loss == "physics" and not self._on_reference_grid(system):
            raise InputError(
                f"loss=physics needs data on the reference solver's own grid; dataset_config "
                f"allowed: {', '.join(system.on_reference_grid) or 'none'}; own data is not known "
                "to be"
            )

    def _at_least(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not value >= least:
            raise InputError(f"{name}={value} must be at least {least}")

    # ------------------------------------------------------------------ files

    def to_json(self) -> str:
        """The settings as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(values: dict) -> "RunConfig":
        """The inverse of ``to_json``, from its parsed values; unknown ones are ignored.

        Settings that do not name their initial weights are older than the choice: Glorot's.
        """
        if not isinstance(values, dict):
            raise TypeError(f"settings must be an object, not {type(values).__name__}")
        known = {f.name: type(f.default) for f in fields(RunConfig)}
        values = {"initial": "glorot"} | {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in translated(values).items()
            if k in known
        }
        for name, value in values.items():  # a whole number may stand for a float
            if not isinstance(value, (known[name], int) if known[name] is float else known[name]):
                raise TypeError(f"{name}={value!r} must be of type {known[name].__name__}")
        return RunConfig(**values)

    def flagfile(self) -> str:
        """The settings as lines of an absl flag file: ``--flagfile=`` reruns them."""
        lines = []
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, tuple):
                value = ",".join(map(str, value))
            if f.name != "resume":
                lines.append(f"--{f.name}={value}")
        return "\n".join(lines) + "\n"


def translated(values: dict) -> dict:
    """Settings of earlier versions in today's fields.

    The part of a frame that the coarse solver of KS integrates had a field of its own,
    ``solver_fraction``; it is an option of that solver now.
    """
    values = dict(values)
    fraction = values.pop("solver_fraction", 1.0)
    if fraction != 1:
        values["coarse"] = f"{values.get('coarse', '')}:fraction={fraction!r}"
    return values
