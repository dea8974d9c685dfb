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
A network or system of one's own, "path/to/module.py:NET", is looked for beside the TOML file first,
then in the working directory.
"""

import hashlib
import itertools
import json
import math
import pathlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll import user_modules
from tfunroll.core import InputError, check_choice
from tfunroll.files import read_bytes, typed, why
from tfunroll.runs.config import RunConfig

FOLDER = pathlib.Path(__file__).parent / "studies"
VARIANTS = ("mini", "small", "paper")
MOST_RUNS = 10_000  # of a block of the matrix: more is a mistake
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
    path, head, tables = _read(name)
    check_choice("variant", variant, tables)
    where = f"study={path.stem!r}, variant={variant!r}"
    runs = _expand(tables[variant], head.get("presets", {}), where, path.parent)
    return Study(path.stem, variant, head.get("title", path.stem), head.get("question", ""), runs)


def variants(name: str) -> list[str]:
    """Those of VARIANTS that a study has."""
    return [variant for variant in VARIANTS if variant in _read(name)[2]]


class Head(TypedDict, total=False):
    """What a study's file holds beside its variants."""

    title: str
    question: str
    presets: dict[str, dict[str, Any]]


def _read(name: str) -> tuple[pathlib.Path, Head, dict[str, dict[str, Any]]]:
    """A study's path, head and variants."""
    path = pathlib.Path(name)
    if path.suffix != ".toml":
        check_choice("study", name, names())
        path = FOLDER / f"{name}.toml"
    where = f"study={name!r}"
    try:
        content = tomllib.loads(read_bytes(path).decode())
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:  # of syntax or encoding; lists in lists in lists
        raise InputError(f"{where} is not TOML: {why(error)}") from None
    head = {k: content.pop(k) for k in Head.__annotations__ if k in content}
    return (
        path,
        typed(_json(head), Head, where),
        typed(_json(content), dict[str, dict[str, Any]], where),
    )


def _json(content) -> str:
    return json.dumps(content, default=str)  # of TOML's dates, which no setting is


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


def _expand(variant: dict, presets: dict, where: str, folder: pathlib.Path) -> dict[str, Settings]:
    common = {k: v for k, v in variant.items() if k != "cells"}
    runs: dict[str, Settings] = {}
    cells = typed(_json(variant.get("cells", [])), list[dict[str, Any]], f"{where}: cells")
    for cell in cells:
        axes = {k: v if _is_axis(k, v) else [v] for k, v in cell.items()}
        if (count := math.prod(map(len, axes.values()))) > MOST_RUNS:
            raise InputError(f"{where}: cells of {count} runs; allowed: up to {MOST_RUNS}")
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            preset = point.pop("preset", None)
            if preset is not None and (not isinstance(preset, str) or preset not in presets):
                allowed = ", ".join(sorted(presets)) or "none"
                raise InputError(f"{where}: preset={preset!r} is unknown; allowed: {allowed}")
            settings = _checked({**common, **presets.get(preset, {}), **point}, where)
            placed = _placed(settings, folder)
            run_id = _run_id(settings, RunConfig(**placed), where)
            if run_id in runs:
                raise InputError(f"{where}: the matrix names the run {run_id} twice")
            runs[run_id] = placed
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
    defaults = {f.name: f.default for f in fields(RunConfig)}
    for name in settings:
        if name not in defaults or name in ELSEWHERE:
            raise InputError(f"{where}: {name!r} is not a setting of a run; see train.py --help")
    config = RunConfig.from_json({"initial": RunConfig.initial} | dict(settings), where)
    values = {name: getattr(config, name) for name in settings}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _placed(settings: Settings, folder: pathlib.Path) -> Settings:
    """The settings with whole paths of a user's own network and system."""
    return settings | {
        name: user_modules.full_name(name, user_modules.relative_to(folder, value), name.upper())
        for name in ("system", "net")
        if user_modules.is_path(value := settings.get(name, ""))
    }


def _run_id(settings: Settings, config: RunConfig, where: str) -> str:
    """Of what is written down, so that a study has the same ids in every folder."""
    try:
        longest = max(stage.steps for stage in config.stages())
        config.resolved()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    size = f"{config.width}x{config.depth}" if config.width or config.depth else config.size
    named = settings.get("system", config.system), user_modules.short_name(config.net)
    system, net = (re.sub(r"\W+", "_", name) for name in named)  # own ones have paths
    size = size or ("own" if user_modules.is_path(config.net) else "demo")
    words = (system, config.mode, net, size, f"m{longest}")
    return "-".join([*words, fingerprint(settings)])


def fingerprint(settings: Settings) -> str:
    """The hash that ends a run's id."""
    content = json.dumps(settings, sort_keys=True, default=list)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
