"""What a study is: a TOML file that expands to runs.

    title = "…"                        # of tables and figures
    question = "…"
    [presets.m4]                       # settings that belong together, by name
    curriculum = "1:2000,4:1000"
    [mini]                             # a variant; all but `cells` are settings common to its runs
    system = "ks"
    seeds = [0, 1, 2, 3, 4]
    [[mini.cells]]                     # a block of the matrix: each list is an axis
    mode = ["correction", "prediction"]
    size = ["demo", "32k"]
    preset = ["m4"]

A setting is a field of RunConfig, so a flag of scripts/train.py. A list stands for an axis, except
for a field that is a list itself (modalities, seeds, metrics): there a list of lists does. A cell's
own settings replace its preset's, those the variant's. Each point of the matrix is one run, with
all its modalities and seeds, in a folder that scripts/evaluate.py and scripts/plot.py read too.
"""

import hashlib
import itertools
import json
import pathlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields

from tfunroll.core import InputError, check_choice
from tfunroll.runs.config import RunConfig, translated

FOLDER = pathlib.Path(__file__).parent / "studies"
VARIANTS = ("mini", "small", "paper")
ELSEWHERE = RunConfig.names(identity=False)  # said when a study is started

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Study:
    """A variant of a study.

    Attributes:
      name, variant: as in flags.
      title, question: in words.
      runs: id -> settings of RunConfig that differ from its defaults, in the matrix's order. An id
        is a readable name and a hash of these settings: it depends on nothing else, so adding
        cells to a study leaves the others' ids, and so their results, as they are.
    """

    name: str
    variant: str
    title: str
    question: str
    runs: Mapping[str, Settings]

    def config(self, run_id: str, **more) -> RunConfig:
        """The configuration of a run; ``more``: the fields named in ELSEWHERE."""
        return RunConfig(**self.runs[run_id], **more)

    def varying(self) -> list[str]:
        """Settings in which runs differ, in the order of RunConfig's fields."""
        configs = [self.config(run_id) for run_id in self.runs]
        order = [f.name for f in fields(RunConfig)]
        return [name for name in order if len({getattr(c, name) for c in configs}) > 1]


def names() -> list[str]:
    """The studies that come with tfunroll."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, variant: str) -> Study:
    """Reads a study: one of ``names()``, or the path of a TOML file.

    Raises:
      InputError: for an unknown study, variant or setting, an impossible or repeated run, or a
        matrix without runs.
    """
    path, content = _read(name)
    tables = {k: v for k, v in content.items() if isinstance(v, dict) and k != "presets"}
    check_choice("variant", variant, tables)
    where = f"study={path.stem!r}, variant={variant!r}"
    runs = _expand(tables[variant], content.get("presets", {}), where)
    question = content.get("question", "")
    return Study(path.stem, variant, content.get("title", path.stem), question, runs)


def variants(name: str) -> list[str]:
    """Those of VARIANTS that a study has."""
    return [variant for variant in VARIANTS if variant in _read(name)[1]]


def _read(name: str) -> tuple[pathlib.Path, dict]:
    path = pathlib.Path(name)
    if path.suffix != ".toml":
        check_choice("study", name, names())
        path = FOLDER / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"study={name!r} cannot be read: {error.strerror}") from None
    try:
        return path, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"study={name!r} is not TOML: {error}") from None


def shard(runs: list[str], text: str) -> list[str]:
    """The runs of shard ``i/n``, i from 1 to n: every n-th one, so that shards cost about alike."""
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        raise InputError(f"shard={text!r} is not i/n, such as 2/4") from None
    if not (n >= 1 and 1 <= i <= n):
        raise InputError(f"shard={text!r} is outside its range; allowed: 1/{max(n, 1)} to {n}/{n}")
    return runs[i - 1 :: n]


def chosen(study: Study, part: str = "", only: str = "") -> list[str]:
    """Ids of the runs of a shard, of those in the comma list ``only``, or of all."""
    if part and only:
        raise InputError("run: give either --shard or --run")
    if only:
        wanted = only.split(",")
        for run_id in wanted:
            check_choice("run", run_id, study.runs)
        return [run_id for run_id in study.runs if run_id in wanted]
    return shard(list(study.runs), part) if part else list(study.runs)


def _expand(variant: dict, presets: dict, where: str) -> dict[str, Settings]:
    common = {k: v for k, v in variant.items() if k != "cells"}
    runs: dict[str, Settings] = {}
    for cell in variant.get("cells", []):
        axes = {k: v if _is_axis(k, v) else [v] for k, v in cell.items()}
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            preset = point.pop("preset", None)
            if preset is not None and preset not in presets:
                allowed = ", ".join(sorted(presets)) or "none"
                raise InputError(f"{where}: preset={preset!r} is unknown; allowed: {allowed}")
            settings = _checked({**common, **presets.get(preset, {}), **point}, where)
            run_id = _run_id(settings, where)
            if run_id in runs:
                raise InputError(f"{where}: the matrix names the run {run_id} twice")
            runs[run_id] = settings
    if not runs:
        raise InputError(
            f"{where}: the matrix is empty; it needs [[{where.split(chr(39))[3]}.cells]]"
        )
    return runs


def _is_axis(name: str, value) -> bool:
    if not isinstance(value, list):
        return False
    default = {f.name: f.default for f in fields(RunConfig)}.get(name)
    return not isinstance(default, tuple) or any(isinstance(v, list) for v in value)


def _checked(settings: dict, where: str) -> Settings:
    """The settings in RunConfig's types, without those that are its defaults."""
    defaults = {f.name: f.default for f in fields(RunConfig) if f.default is not MISSING}
    checked = {}
    for name, value in translated(settings).items():
        if name not in defaults or name in ELSEWHERE:
            raise InputError(f"{where}: {name!r} is not a setting of a run; see train.py --help")
        default = defaults[name]
        value = tuple(value) if isinstance(value, list) else value
        if type(default) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            wanted = type(default).__name__.replace("tuple", "list")
            raise InputError(f"{where}: {name}={value!r} must be of type {wanted}")
        if value != default:
            checked[name] = value
    return checked


def _run_id(settings: Settings, where: str) -> str:
    config = RunConfig(**settings)
    try:
        longest = max(stage.steps for stage in config.stages())
        config.resolved()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    size = f"{config.width}x{config.depth}" if config.width or config.depth else config.size
    system = re.sub(r"\W+", "_", config.system)  # an own one is named by its path
    words = (system, config.mode, config.net, size or "demo", f"m{longest}")
    content = json.dumps(settings, sort_keys=True, default=list)
    return "-".join([*words, hashlib.sha256(content.encode()).hexdigest()[:8]])
