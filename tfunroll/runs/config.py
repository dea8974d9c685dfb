"""RunConfig: everything a training run is told, checked before work starts.

Each field is one flag of ``scripts/train.py`` (tfunroll/cli.py makes the flags from the fields), so
a setting is written down once.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from tfunroll.core import MODALITIES, InputError, check_choice, check_solver
from tfunroll.files import expand, typed

if TYPE_CHECKING:  # TensorFlow takes seconds to import; flags and --help need not wait for it
    from tfunroll.stepping.unrolling import Unrolling
    from tfunroll.systems import System
    from tfunroll.training.ladders import Ladder, Rule

MOST = 2**31 - 1  # of whole numbers; TensorFlow counts with such
PRECISIONS = ("float32", "float64", "mixed_bfloat16")
JIT = ("auto", "on", "off")
AUTO = "auto:"  # begins an automatic curriculum
DEMO_CURRICULUM = "1:2000,4:800,4:700:1e-4"


def _flag(default, group: str, help_text: str, **more):
    """A setting and all that anything needs to know of it.

    Args:
      group: of --help: task, network, training, evaluation, run.
      more: "least": the least number; "choices": a function of no arguments -> the allowed texts;
        "of": type of a list's elements; "identity": False where two runs that differ in it alone
        have the same results; "path": True for the name of a file or folder; "most": the greatest
        number.
    """
    of = type(default[0]) if isinstance(default, tuple) and default else None
    known = {"least": None, "choices": None, "of": of, "identity": True, "path": False}
    known["most"] = MOST
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
        if max(self.steps, self.updates) > MOST:
            raise InputError(f"steps={self.steps}, updates={self.updates} must be at most {MOST}")
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
    data: str = _flag(
        "",
        "task",
        "own data: path of their description (docs/data.md), which may name the system",
        path=True,
    )
    data_memory: float = _flag(
        0.0,
        "task",
        "GB that own data may take; larger ones are read in pieces; a quarter of the memory if 0",
        least=0,
        identity=False,
    )
    keep_steady: bool = _flag(False, "task", "train on flows that are labelled as steady, too")
    data_dir: str = _flag(
        "",
        "task",
        "where datasets live; TFDS's default folder if empty",
        identity=False,
        path=True,
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

    net: str = _flag(
        "resnet",
        "network",
        "resnet, unet, attention_unet, fno, graph, transformer or path/to/module.py:NET",
    )
    size: str = _flag("", "network", "weight count by label: 1k, 32k, 0.1M, 0.2M, 0.5M, 1M or 5M")
    width: int = _flag(0, "network", "channels inside, in place of the size's", least=0, most=8192)
    depth: int = _flag(0, "network", "blocks or levels, in place of the size's", least=0, most=1024)
    widths: tuple[int, ...] = _flag(
        (), "network", "resnet: channels per block, comma list", of=int, most=8192
    )
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
        "auto:1..16:6000[:…] doubles the steps at plateaus; "
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
        16, "training", "samples per update; ONE takes this times the horizon", least=1, most=2**16
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
    ladder: str = _flag(
        "",
        "training",
        "refine the solver while training goes on: knob:first..last[:increment], such as "
        "pressure:2..40:2; see docs/ladders.md",
    )
    ladder_step: float = _flag(
        0.98, "training", "a plateau: the validation error over the one before in its window"
    )
    ladder_stop: float = _flag(
        0.9, "training", "goes up if the last step up brought the error below this part"
    )
    ladder_memory: int = _flag(8, "training", "validations that are averaged", least=1)
    ladder_window: int = _flag(3, "training", "validations that a plateau is seen in", least=2)
    ladder_finish: float = _flag(
        0.1, "training", "part of the updates, the last ones, with the solver in full"
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
    start_from: str = _flag("", "training", "run folder: start from its ONE networks", path=True)

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

    out: str = _flag(
        "", "run", "folder to write; a new one under runs/ if empty", identity=False, path=True
    )
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
        from tfunroll.nets import building
        from tfunroll.stepping import levels
        from tfunroll.training import averages, subspaces

        paths = {f.name for f in fields(self) if f.metadata["path"]}
        expanded = {name: expand(name, getattr(self, name)) for name in paths}
        name = replace(self, **expanded)._system_name()
        system = systems.get(name)
        config = replace(
            self,
            **expanded,
            system=systems.full_name(name),
            net=(net := building.full_name(self.net)),
            initial=self.initial or building.best(net),
            correction=self.correction or next(iter(system.corrections), ""),
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

    def _system_name(self) -> str:
        """The system; where none but the default is given, the one of the data, if they are own.

        That is what their description names, or, where it names none, these data alone.
        """
        from tfunroll import arrays

        default = type(self)().system
        if self.system != default or not self.data or not pathlib.Path(self.data).exists():
            return self.system
        return arrays.named_system(self.data) or self.data

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
        if self.automatic:
            return self._automatic_stages(text)
        return [self._stage(part) for part in text.split(",")]

    @property
    def automatic(self) -> bool:
        """Whether stages end at plateaus; ``updates`` of each are then those of all together."""
        return self.curriculum.startswith(AUTO)

    def _automatic_stages(self, text: str) -> list[Stage]:
        horizons, colon, rest = text.removeprefix(AUTO).partition(":")
        try:
            first, last = map(int, horizons.split(".."))
        except ValueError:
            first, last = 0, 0
        if not colon or not 1 <= first < last:
            raise InputError(
                f"curriculum={text!r} is not auto:first..last:updates[:learning rate[:warm-up]], "
                "first < last, such as auto:1..16:6000"
            )
        steps = [first]
        while steps[-1] < last:
            steps.append(min(2 * steps[-1], last))
        return [self._stage(f"{m}:{rest}") for m in steps]

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

    def curriculum_text(self) -> str:
        """The curriculum as --curriculum takes it, each stage with its rate."""
        return ",".join(
            f"{stage.steps}:{stage.updates}:{stage.learning_rate:g}"
            + f":{stage.warmup}" * bool(stage.warmup)
            for stage in self.stages()
        )

    def describe_stages(self) -> str:
        """The curriculum in words, a line per stage: horizon, updates, learning rate."""
        if self.automatic:
            stages = self.stages()
            first, last = stages[0], stages[-1]
            return (
                f"automatic curriculum: horizon {first.steps} doubled at plateaus up to "
                f"{last.steps}, {first.updates} updates, learning rate {first.learning_rate:g} at "
                "the beginning of each stage"
            )
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

    def made_ladder(self) -> "Ladder | None":
        """What refines the solver; None without one."""
        from tfunroll.training import ladders

        if not self.ladder:
            return None
        rule, more = self.ladder_rule(), {"finish": self.ladder_finish, "updates": self.in_all()}
        return ladders.Ladder(*ladders.read(self.ladder), **asdict(rule), **more)

    def in_all(self) -> int:
        """Updates of all stages of a network."""
        each = [stage.updates for stage in self.stages()]
        return each[0] if self.automatic else sum(each)

    def ladder_rule(self) -> "Rule":
        """When ladders, and an automatic curriculum, go up."""
        from tfunroll.training.ladders import Rule

        return Rule(self.ladder_step, self.ladder_stop, self.ladder_memory, self.ladder_window)

    def shared_stages(self) -> int:
        """Leading stages with a horizon of one step: the same for every modality of a seed."""
        if self.automatic:  # when the first ends depends on the modality
            return 0
        stages = self.stages()
        count = 0
        while count < len(stages) and stages[count].steps == 1:
            count += 1
        return count if len(self.modalities) > 1 else 0

    def _check(self, system: "System") -> None:
        from tfunroll import user_modules
        from tfunroll.nets import building
        from tfunroll.stepping import levels
        from tfunroll.stepping.unrolling import Unrolling
        from tfunroll.training.ladders import Horizons

        own_net = user_modules.is_path(self.net)
        for f in fields(self):
            if not (own_net and f.name == "initial"):
                self._check_field(f)
        if own_net:
            sizes = ("size", "width", "depth", "widths", "modes")
            building.check_own(self.net, {n: getattr(self, n) for n in sizes}, self.initial)
        if self.correction or system.corrections:
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
        if self.automatic:
            if self.ladder:
                raise InputError(
                    f"ladder={self.ladder!r} and curriculum={self.curriculum!r}: a run has one "
                    "ladder"
                )
            horizons = Horizons(len(self.stages()), self.ladder_rule())
            horizons.check_validations(self.in_all(), self.validate_every)
        if ladder := self.made_ladder():
            refined = reference if self.mode == "prediction" else corrected
            ladder.check(refined, ladder.updates, self.validate_every)
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
        if self.stochastic and self.ladder:
            raise InputError(f"ladder={self.ladder}: a stochastic stepper has none; leave one out")
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
            if isinstance(each, int | float) and each > f.metadata["most"]:
                raise InputError(f"{f.name}={each} must be at most {f.metadata['most']}")

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
    def from_json(values: Mapping[str, object], where: str) -> "RunConfig":
        """The inverse of ``to_json``, from its parsed values; unknown ones are ignored.

        Settings that do not name their initial weights are older than the choice: Glorot's.

        Args: where: the file, for the one line of an error.
        Raises: InputError: for a value of another type.
        """
        known = {f.name for f in fields(RunConfig)}
        values = {k: v for k, v in translated(values).items() if k in known}
        text = json.dumps({"initial": "glorot"} | values)
        return typed(text, RunConfig, where)

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
