"""What all commands share: flags made from RunConfig, a grouped --help, one-line errors."""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import MISSING, fields

from absl import app, flags, logging

from tfunroll.core import IncompleteError, InputError, check_keras_backend
from tfunroll.files import expand
from tfunroll.runs import programs
from tfunroll.streams import outlive_readers

HELP = ("--help", "-help", "-h", "--h")

_GROUPS: dict[str, list[str]] = {}
_PATHS: list[str] = []  # flags that name a file or a folder


def define(group: str, name: str, default, help_text: str, path: bool = False) -> None:
    """Defines an absl flag of the default's type and lists it under ``group`` in --help.

    Args: path: of a file or folder, in which ~ is the home folder.
    """
    _GROUPS.setdefault(group, []).append(name)
    if path:
        _PATHS.append(name)
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
        define(f.metadata["group"], f.name, f.default, f.metadata["help"], f.metadata["path"])


def config_from_flags():
    """The RunConfig that the flags say."""
    from tfunroll.runs.config import RunConfig

    return RunConfig.from_flags({name: flags.FLAGS[name].value for name in RunConfig.names()})


def main(run: Callable[[], None], doc: str) -> None:
    """Parses the flags, runs, and ends with one line and a status where something went wrong.

    The statuses are listed in docs/reliability.md: 2 for a user's mistake, that of an
    IncompleteError for what failed or was stopped, and a traceback for a bug alone.

    Args: doc: what --help begins with.
    """
    outlive_readers()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    programs.keep()
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
        left = flags.FLAGS(argv)
        for name in _PATHS:
            flags.FLAGS[name].value = expand(name, flags.FLAGS[name].value)
        return left
    except flags.Error as error:
        end(f"{' '.join(str(error).split())}; see --help", 2)
    except InputError as error:
        end(error, 2)


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
