"""RunConfig: everything a training run is told, checked before work starts.

Each field is one flag of ``scripts/train.py`` (tfunroll/cli.py makes the flags from the fields), so
a setting is written down once.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from tfunroll.core import MODALITIES, InputError, check_choice, check_solver

if TYPE_CHECKING:  # TensorFlow takes seconds to import; flags and --help need not wait for it
    from tfunroll.stepping.unrolling import Unrolling
    from tfunroll.systems import System

PRECISIONS = ("float32", "float64", "mixed_bfloat16")
JIT = ("auto", "on", "off")
DEMO_CURRICULUM = "1:2000,4:800,4:700:1e-4"


def _flag(default, group: str, help_text: str, **more):
    """A setting and all that anything needs to know of it.

    Args:
      group: of --help: task, network, training, evaluation, run.
      more: "least": the least number; "choices": a function of no arguments -> the allowed texts;
        "of": type of a list's elements; "identity": False where two runs that differ in it alone
        have the same results.
    """
    of = type(default[0]) if isinstance(default, tuple) and default else None
    known = {"least": None, "choices": None, "of": of, "identity": True}
    assert more.keys() <= known.keys()
    return field(default=default, metadata={"group": group, "help": help_text, **known, **more})


def _losses():
    from tfunroll.stepping.losses import LOSSES

    return LOSSES


def _initial():
    from tfunroll.nets import INITIAL

    return INITIAL


def _routes():
    from tfunroll.stepping.unrolling import ROUTES

    return ROUTES


def _modes():
    from tfunroll.systems.base import MODES

    return MODES


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
    data_dir: str = _flag(
        "", "task", "where datasets live; TFDS's default folder if empty", identity=False
    )
    mode: str = _flag(
        "correction", "task", "correction (network beside a solver) or prediction", choices=_modes
    )
    correction: str = _flag(
        "", "task", "parallel, sequential or graded; the system's first if empty"
    )
    coarse: str = _flag(
        "", "task", "coarse solver, such as piso:sweeps=2; the system's first if empty"
    )
    residual: bool = _flag(False, "task", "prediction: the network gives the change of the state")

    net: str = _flag("resnet", "network", "resnet, unet, attention_unet, fno, graph or transformer")
    size: str = _flag("", "network", "weight count by label: 1k, 32k, 0.1M, 0.2M, 0.5M, 1M or 5M")
    width: int = _flag(0, "network", "channels inside, in place of the size's", least=0)
    depth: int = _flag(0, "network", "blocks or levels, in place of the size's", least=0)
    widths: tuple[int, ...] = _flag((), "network", "resnet: channels per block, comma list", of=int)
    modes: int = _flag(0, "network", "fno: wavenumbers per axis, in place of the size's", least=0)

    stochastic: bool = _flag(
        False, "network", "additive noise of learned amplitude in every step; needs --loss=crps"
    )
    initial: str = _flag(
        "",
        "network",
        "initial weights: glorot, fan_in, zero, glorot_zero; the network's best if empty",
        choices=_initial,
    )

    modalities: tuple[str, ...] = _flag(
        MODALITIES, "training", "any of ONE,NOG,WIG", choices=lambda: MODALITIES
    )
    steps: int = _flag(0, "training", "horizon m: steps unrolled per sample", least=0)
    updates: int = _flag(0, "training", "optimizer updates", least=0)
    curriculum: str = _flag(
        "",
        "training",
        "stages steps:updates[:learning rate[:warm-up]],…  in place of --steps and --updates; "
        f"with none of the three: {DEMO_CURRICULUM}",
    )
    cut_every: int = _flag(0, "training", "WIG: cut gradients every k steps; 0 never", least=0)
    through: str = _flag(
        "all",
        "training",
        "WIG: what a step passes on of the gradient through time: all, solver, network, identity",
        choices=_routes,
    )
    pushforward: int = _flag(
        0, "training", "first steps of the horizon that are cut, without loss", least=0
    )
    batch_size: int = _flag(
        16, "training", "samples per update; ONE takes this times the horizon", least=1
    )
    learning_rate: float = _flag(5e-4, "training", "of Adam, where the curriculum names none")
    decay_rate: float = _flag(
        0.9, "training", "learning-rate factor every decay_every updates of a stage"
    )
    decay_every: int = _flag(
        2000, "training", "updates per learning-rate decay; 0 for none", least=0
    )
    plateau: int = _flag(
        0, "training", "halve a stage's rate after this many validations without gain", least=0
    )
    loss: str = _flag(
        "supervised",
        "training",
        "supervised, physics (residual, no reference), or crps (of --stochastic)",
        choices=_losses,
    )
    members: int = _flag(
        4, "training", "stochastic: rollouts of each sample, in training and evaluation", least=2
    )
    level_weights: str = _flag(
        "uniform",
        "training",
        "of unrolled levels in the supervised loss: uniform, last or discount:factor=0.9",
    )
    average: str = _flag(
        "0",
        "training",
        "mean of the weights, kept as the network: decay of a moving one, such as 0.999; swa or "
        "swa:part=0.25, of the last updates; 0 none",
    )
    subspace: str = _flag(
        "",
        "training",
        "train a line, simplex:ends=3 or modalities (a line from ONE) of networks, whose middle "
        "is the network; also with repulsion=1",
    )
    rematerialise: bool = _flag(
        False, "training", "recompute each step in the backward pass: less memory, more time"
    )
    noise: float = _flag(
        0.0, "training", "input noise, as a fraction of each channel's rms", least=0
    )
    seeds: tuple[int, ...] = _flag((0, 1, 2, 3), "training", "comma list, one network each")
    precision: str = _flag(
        "float32",
        "training",
        "float32, float64, or mixed_bfloat16 (the network alone in bfloat16)",
        choices=lambda: PRECISIONS,
    )
    jit: str = _flag("auto", "training", "XLA: auto, on or off", choices=lambda: JIT)
    start_from: str = _flag("", "training", "run folder whose ONE networks are the start")

    horizon: int = _flag(0, "evaluation", "frames of the error metrics; the system's if 0", least=0)
    long_horizon: int = _flag(
        0, "evaluation", "frames of the time metrics; the system's if 0", least=0
    )
    starts: int = _flag(2, "evaluation", "start frames per test trajectory", least=1)
    metrics: tuple[str, ...] = _flag((), "evaluation", "comma list; the system's if empty", of=str)
    ensemble: bool = _flag(
        False, "evaluation", "evaluate the seeds of each modality as one ensemble, too"
    )
    refined: tuple[int, ...] = _flag(
        (), "evaluation", "baselines: reference, refined n times", of=int, least=1
    )

    out: str = _flag("", "run", "folder to write; a new one under runs/ if empty", identity=False)
    resume: bool = _flag(False, "run", "continue the run in --out", identity=False)
    workers: int = _flag(
        0, "run", "processes side by side; one per core if 0", least=0, identity=False
    )
    checkpoint_every: int = _flag(500, "run", "updates between checkpoints", least=1)
    validate_every: int = _flag(500, "run", "updates between validations", least=1)

    # ------------------------------------------------------------------ what the fields mean

    def resolved(self) -> "RunConfig":
        """The same with the system's defaults filled in; InputError for anything impossible."""
        from tfunroll import options, systems
        from tfunroll.nets.initial import best
        from tfunroll.stepping import levels
        from tfunroll.training import averages, subspaces

        system = systems.get(self.system)
        config = replace(
            self,
            system=systems.full_name(self.system),
            initial=self.initial or best(self.net),
            correction=self.correction or next(iter(system.corrections)),
            coarse=options.write(*system.coarse_options(self.coarse)),
            level_weights=levels.str_of(levels.read(self.level_weights)),
            average=averages.plain(str(self.average)),
            subspace=subspaces.plain(self.subspace),
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
        from tfunroll.stepping.unrolling import of_modality

        return of_modality(
            modality, stage.steps, self.cut_every or None, self.pushforward, self.through
        )

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
        from tfunroll.stepping import levels
        from tfunroll.stepping.unrolling import Unrolling

        for f in fields(self):
            self._check_field(f)
        check_choice("correction", self.correction, system.corrections)
        if not self.modalities:
            raise InputError(f"modalities is empty; allowed: {', '.join(MODALITIES)}")
        if len(set(self.modalities)) < len(self.modalities):
            raise InputError(f"modalities={','.join(self.modalities)} names one twice")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError("seeds must be different whole numbers of at least 0")
        if self.ensemble and len(self.seeds) < 2 and not self.subspace:
            raise InputError(
                f"ensemble: seeds={self.seeds[0]} is one member; it needs two seeds at least"
            )
        if self.subspace and self.start_from:
            raise InputError(
                f"start_from={self.start_from!r}: the ends of subspace={self.subspace} would start "
                "from one network, and repulsion does not part what is equal; leave one of them out"
            )
        if self.subspace.startswith("modalities") and "ONE" in self.modalities:
            raise InputError(
                f"subspace={self.subspace} goes from ONE to another modality; modalities allowed: "
                "NOG, WIG"
            )
        if not 0 < self.decay_rate <= 1:
            raise InputError(f"decay_rate={self.decay_rate} must lie in (0, 1]")
        if self.mode == "prediction" and self.through != "all":
            raise InputError(
                f"through={self.through!r} tells a solver's gradient from the network's, and "
                "mode=prediction has no solver; allowed: all"
            )
        corrected = reference = None
        if self.mode == "correction":
            corrected = system.corrected(self.correction, self.coarse)  # its own checks
        if self.loss == "physics" and self._on_reference_grid(system):
            reference = system.reference()
        for solver in filter(None, (corrected, reference)):
            check_solver(f"a solver of system {system.name}", solver, len(system.channels))
        longest = max(stage.steps for stage in self.stages())
        if longest > 1:  # cut and push-forward must fit the longest horizon
            unrolling = Unrolling(
                longest, self.cut_every or None, self.pushforward, through=self.through
            )
            if "WIG" in self.modalities:
                if corrected and unrolling.asks_solver and not corrected.differentiable:
                    raise InputError(corrected.without_gradient)
                if reference and unrolling.carries and not reference.differentiable:
                    raise InputError(
                        "loss=physics passes the gradients of modalities=WIG through the "
                        "reference solver, which has none; allowed: supervised, or ONE, NOG"
                    )
            levels.relative(levels.read(self.level_weights), unrolling)  # its own checks
        elif self.cut_every > 1 or self.pushforward or self.through != "all":
            raise InputError(
                f"cut_every={self.cut_every}, pushforward={self.pushforward}, "
                f"through={self.through}: need a horizon of more than one step"
            )
        elif self.updates and not self.steps and len(self.modalities) > 1:
            raise InputError(
                f"updates={self.updates} without steps is a horizon of one step, with which "
                f"modalities={','.join(self.modalities)} are one and the same network: give "
                "--steps too"
            )
        if self.loss != "supervised" and self.level_weights != "uniform":
            raise InputError(
                f"level_weights={self.level_weights!r} are those of loss=supervised; allowed with "
                f"loss={self.loss}: uniform"
            )
        if self.stochastic != (self.loss == "crps"):
            raise InputError(
                f"stochastic={self.stochastic}, loss={self.loss}: the CRPS judges the members of a "
                "stochastic stepper, whose noise vanishes under any other loss; give both "
                "--stochastic and --loss=crps, or neither"
            )
        if self.stochastic and self.subspace.startswith("modalities"):
            raise InputError(
                f"subspace={self.subspace} has no CRPS; allowed with stochastic: line, simplex"
            )
        if self.loss == "physics" and not self._on_reference_grid(system):
            raise InputError(
                f"loss=physics needs data on the reference solver's own grid; dataset_config "
                f"allowed: {', '.join(system.on_reference_grid) or 'none'}; own data is not known "
                "to be"
            )

    def _check_field(self, f) -> None:
        value, least, choices = getattr(self, f.name), f.metadata["least"], f.metadata["choices"]
        for each in value if isinstance(value, tuple) else (value,):
            if choices is not None:
                check_choice(f.name, each, choices())
            if least is not None and not each >= least:
                raise InputError(f"{f.name}={each} must be at least {least}")

    # ------------------------------------------------------------------ texts and files

    @staticmethod
    def names(group: str = "", identity: bool | None = None) -> tuple[str, ...]:
        """Of the settings of a group, or of those that belong to a run's identity, or do not."""
        return tuple(
            f.name
            for f in fields(RunConfig)
            if (not group or f.metadata["group"] == group)
            and (identity is None or f.metadata["identity"] == identity)
        )

    @staticmethod
    def from_flags(values: Mapping[str, object]) -> "RunConfig":
        """Of values as absl parses them: lists hold texts.

        Raises: InputError: for a list of numbers that holds something else.
        """
        typed = {}
        for f in fields(RunConfig):
            value = values[f.name]
            if isinstance(f.default, tuple):
                try:
                    value = tuple(f.metadata["of"](element) for element in value)
                except ValueError:
                    raise InputError(f"{f.name}={','.join(value)} must be whole numbers") from None
            typed[f.name] = value
        return RunConfig(**typed)

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
    ``solver_fraction``; it is an option of that solver now. ``average`` was a number.
    """
    values = dict(values)
    fraction = values.pop("solver_fraction", 1.0)
    if fraction != 1:
        values["coarse"] = f"{values.get('coarse', '')}:fraction={fraction!r}"
    average = values.get("average")
    if isinstance(average, int | float) and not isinstance(average, bool):
        values["average"] = repr(average) if average else "0"
    return values
