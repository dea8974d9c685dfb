"""The wheel: what setup.py lists, what the file holds, and that it imports from anywhere."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def listed_packages():
    """What setup.py gives to setup."""
    given = {}
    code = (ROOT / "setup.py").read_text(encoding="utf-8").replace("from setuptools", "# ")
    exec(code, {"setup": lambda **more: given.update(more), "__file__": str(ROOT / "setup.py")})
    assert given["packages"] == list(given["package_dir"])
    return given["package_dir"]


def test_setup_lists_every_package():
    found = {}
    for folder, package in (("tfunroll", "tfunroll"), ("datasets", "tfunroll.datasets")):
        for path in (ROOT / folder).rglob("*.py"):
            directory = path.parent.relative_to(ROOT)
            found[".".join([package, *directory.parts[1:]])] = directory.as_posix()
    assert listed_packages() == found
    for directory in found.values():
        assert (ROOT / directory / "__init__.py").exists(), f"{directory} lacks __init__.py"


def test_version_is_written_alike():
    namespace = {}
    exec((ROOT / "tfunroll" / "__init__.py").read_text(encoding="utf-8"), namespace)
    assert f'version="{namespace["__version__"]}"' in (ROOT / "setup.py").read_text("utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("tfunroll", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (source / "out").glob("*.whl")
    return path


def test_wheel_content(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"tfunroll"}  # above all no top-level `datasets`
    for folder, package in (("tfunroll", "tfunroll"), ("datasets", "tfunroll/datasets")):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in (".py", ".md", ".bib", ".txt", ".toml")
                and "__pycache__" not in path.parts
            ):
                assert f"{package}/{path.relative_to(ROOT / folder).as_posix()}" in names
    card = "tfunroll/datasets/kuramoto_sivashinsky"
    assert {f"{card}/README.md", f"{card}/CITATIONS.bib"} <= names
    assert any(name.endswith("LICENSE") for name in names)


def test_wheel_imports_from_a_foreign_directory(wheel, tmp_path):
    unpacked, elsewhere = tmp_path / "unpacked", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(unpacked)
    elsewhere.mkdir()
    code = (
        "import importlib.util, pathlib, sys, tfunroll, tfunroll.datasets, tfunroll.nets\n"
        "for module in (tfunroll, tfunroll.datasets, tfunroll.nets):\n"
        "    assert pathlib.Path(module.__file__).is_relative_to(sys.argv[1]), module.__file__\n"
        "spec = importlib.util.find_spec('datasets')\n"
        "assert spec is None or sys.argv[1] not in str(spec.origin)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(unpacked)],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_installed_package_trains_and_exports_elsewhere(wheel, tmp_path):
    """By the command `tfunroll`, from a fresh environment that borrows the libraries of this."""
    env, folder = tmp_path / "env", tmp_path / "a folder [of mine]"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (site,) = env.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", env / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--ignore-installed", wheel], check=True)
    folder.mkdir()

    def tfunroll(*arguments):
        command = [env / "bin" / "tfunroll", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sizes = ("--updates=5", "--steps=2", "--seeds=0", "--size=1k", "--modalities=WIG")
    assert "written:" in tfunroll("train", *sizes, "--data_dir=data", "--out=run")
    assert "written:" in tfunroll("export", "--run=run/WIG/0", "--out=exported")
    assert (folder / "exported" / "saved_model.pb").exists()
