"""Imports run one way: the layout of the house, read from its sources."""

import ast
import importlib
import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).parents[1]

# Each module of tfunroll stands in one layer; it may import its own layer and those before it.
LAYERS = [
    {
        "core",
        "files",
        "machine",
        "streams",
        "options",
        "novelty",
        "failures",
        "workers",
        "user_modules",
    },
    {"ops", "arrays"},
    {"solvers", "nets"},
    {"stepping"},
    {"metrics"},
    {"systems"},
    {"datasets"},
    {"data"},
    {"training", "evaluation", "plots"},
    {"validation", "runs"},
    {"study"},
    {"commands", "__main__"},
    {"scripts"},
]
APART = [{"solvers", "nets"}]  # one layer, but never importing each other
# These see networks as plain callables: no Keras, no tfunroll.nets.
NETLESS = {"core", "files", "machine", "streams", "datasets"}.union(*LAYERS[1:6]) - {"nets"}


def imports(tree):
    """Dotted names of everything a file imports; `from a import b` counts as a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources():
    """(module of the layers, path) of every source file but tfunroll/__init__.py."""
    for path in (ROOT / "tfunroll").rglob("*.py"):
        module = path.relative_to(ROOT / "tfunroll").parts[0].removesuffix(".py")
        if module != "__init__":
            yield module, path
    for folder in ("datasets", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            yield folder, path


def violations(module, tree, modules):
    """What a file of ``module`` imports against the rules; ``modules``: names of all modules."""
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    if module not in layer:
        return [f"module {module} is new: list it in a layer of LAYERS in tests/test_layering.py"]
    bad = []
    for name in imports(tree):
        top, *rest = name.split(".")
        if top == "keras" and module in NETLESS:
            bad.append("imports keras")
        if top != "tfunroll" or not rest or rest[0] not in modules:
            continue
        other = rest[0]
        apart = any({module, other} <= pair and module != other for pair in APART)
        if layer.get(other, 0) > layer[module] or apart or (other == "nets" and module in NETLESS):
            bad.append(f"{module} must not import tfunroll.{other}")
    return bad


def test_imports_run_one_way():
    modules = {module for module, _ in sources()}
    found = {
        str(path.relative_to(ROOT)): bad
        for module, path in sources()
        if (bad := violations(module, ast.parse(path.read_text(encoding="utf-8")), modules))
    }
    assert not found, found


def test_the_rules_find_violations():
    modules = set().union(*LAYERS)

    def check(module, code):
        return violations(module, ast.parse(code), modules)

    assert check("ops", "from tfunroll.solvers import etd")
    assert check("solvers", "def f():\n    import tfunroll.nets.layers")
    assert check("nets", "from tfunroll import solvers")
    assert check("systems", "from tfunroll.nets import build")
    assert check("systems", "from tfunroll.validation import cylinder")
    assert check("datasets", "import keras")
    assert check("training", "from tfunroll import runs")
    assert "list it in a layer of LAYERS" in check("gadget", "")[0]
    assert not check("training", "import keras\nfrom tfunroll import data, nets, unrolling")
    assert not check("scripts", "from tfunroll import cli, __version__")


def test_every_import_resolves():
    """Those inside functions too, which only some call would meet."""
    wanted = set()
    for folder in ("tfunroll", "datasets", "scripts", "benchmarks", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("tfunroll."):
                    wanted |= {(node.module, alias.name, str(path)) for alias in node.names}
    assert len(wanted) > 500
    for module, name, path in wanted:
        found = hasattr(importlib.import_module(module), name)
        assert found or importlib.util.find_spec(f"{module}.{name}"), f"{path}: {module}.{name}"
