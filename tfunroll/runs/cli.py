"""What all commands share: flags made from RunConfig, a grouped --help, one-line errors."""

import hashlib
import os
import pathlib
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import MISSING, fields
from importlib.metadata import version

from absl import app, flags, logging

from tfunroll import machine
from tfunroll.core import IncompleteError, InputError, check_keras_backend
from tfunroll.streams import outlive_readers

HELP = ("--help", "-help", "-h", "--h")
CACHE_NEEDS = 1e9  # free bytes, below which compiled programs are not kept

_GROUPS: dict[str, list[str]] = {}


def define(group: str, name: str, default, help_text: str) -> None:
    """Defines an absl flag of the default's type and lists it under ``group`` in --help."""
    _GROUPS.setdefault(group, []).append(name)
    if isinstance(default, bool):
        flags.DEFINE_bool(name, default, help_text)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, help_text)
    elif isinstance(default, float):
        flags.DEFINE_float(name, default, help_text)
    elif isinstance(default, tuple):
        flags.DEFINE_list(name, ",".join(map(str, default)), help_text)
    else:
        flags.DEFINE_string(name, default, help_text)


def define_config_flags() -> None:
    """One flag per field of RunConfig."""
    from tfunroll.runs.config import RunConfig

    for f in fields(RunConfig):
        assert f.default is not MISSING
        define(f.metadata["group"], f.name, f.default, f.metadata["help"])


def config_from_flags():
    """The RunConfig that the flags say."""
    from tfunroll.runs.config import RunConfig

    return RunConfig.from_flags({name: flags.FLAGS[name].value for name in RunConfig.names()})


def keep_compiled_programs() -> None:
    """Lets XLA keep what it compiles in the user's cache folder, for later runs and processes.

    Call it before TensorFlow is imported. The folder is named after TensorFlow's version and the
    processor's abilities, for programs run on no other; it may be deleted at any time. Nothing
    happens where TF_XLA_FLAGS names a folder already.
    """
    flags_so_far = os.environ.get("TF_XLA_FLAGS", "")
    if "tf_xla_persistent_cache_directory" in flags_so_far:
        return
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    key = hashlib.sha256(f"{version('tensorflow')} {machine.processor()}".encode()).hexdigest()[:16]
    folder = root / "tfunroll" / "xla" / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < CACHE_NEEDS:
            return
    except OSError:
        return  # compiled anew each time, then
    flag = f"--tf_xla_persistent_cache_directory={folder}"
    os.environ["TF_XLA_FLAGS"] = f"{flags_so_far} {flag}".strip()


def main(run: Callable[[], None], doc: str) -> None:
    """Parses the flags, runs, and ends with one line and a status where something went wrong.

    The statuses are listed in docs/reliability.md: 2 for a user's mistake, that of an
    IncompleteError for what failed or was stopped, and a traceback for a bug alone.

    Args: doc: what --help begins with.
    """
    outlive_readers()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_compiled_programs()
    if any(a in HELP for a in sys.argv[1:]):
        print(_help(doc))
        sys.exit(0)

    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)  # libraries' progress notes would hide ours
        try:
            if len(argv) > 1:
                raise InputError(f"argument {argv[1]!r} is not a flag; see --help")
            check_keras_backend()
            run()
        except InputError as error:
            end(error, 2)
        except IncompleteError as error:
            end(error, error.status)
        except KeyboardInterrupt:
            end("stopped by SIGINT; what was saved before stands", 128 + signal.SIGINT)

    app.run(guarded, flags_parser=_parse)


def end(message, status: int) -> None:
    """Ends the process with a mistake's one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        end(f"{' '.join(str(error).split())}; see --help", 2)


def _help(doc: str) -> str:
    lines = [doc.strip(), ""]
    for group, names in _GROUPS.items():
        lines.append(f"{group}:")
        for name in names:
            flag = flags.FLAGS[name]
            default = flag.value
            if isinstance(default, list):
                default = ",".join(map(str, default))
            shown = "" if default in ("", 0, False, None) else f" [{default}]"
            lines.append(f"  --{name:<18}{flag.help}{shown}")
    lines.append("\nAny flags can stand in a file, one a line: --flagfile=FILE.")
    return "\n".join(lines)
