"""The commands of the shell: each a module that defines its flags and ``main``.

``tfunroll train`` and ``python -m tfunroll train`` are ``scripts/train.py``, and so on.
"""

import ast
import importlib
import pathlib
import sys

from tfunroll.runs import cli

COMMANDS = ("train", "evaluate", "plot", "export", "data", "publish", "study", "impostors")


def main(command: str = "") -> None:
    """Runs a command with the flags of sys.argv; without a name, the one that they begin with."""
    if not command:
        given = sys.argv[1] if len(sys.argv) > 1 else "--help"
        if given in (*cli.HELP, "help"):
            print(_overview())
            return
        if given not in COMMANDS:
            cli.end(f"{given!r} is no command; allowed: {', '.join(COMMANDS)}", 2)
        command = given
        sys.argv[:2] = [f"{sys.argv[0]} {command}"]
    module = importlib.import_module(f"tfunroll.commands.{command}")  # defines the flags
    cli.main(module.main, module.__doc__)


def _overview() -> str:
    """Every command with the first line of its docstring, which is read, as flags are global."""
    lines = ["tfunroll COMMAND [flags]; tfunroll COMMAND --help lists them", ""]
    for name in COMMANDS:
        source = (pathlib.Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(source))
        lines.append(f"  {name:<10}{doc.splitlines()[0]}")
    return "\n".join(lines)
