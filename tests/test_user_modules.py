"""Objects of a user's own Python files: found, run once, known by the hash of their text."""

import dataclasses
import hashlib
import sys

import pytest

from tfunroll import user_modules
from tfunroll.core import InputError

POSTPONED = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Size:
    width: int | None = 3
    note: dataclasses.InitVar[str] = ""

THING = Size()
"""


def written(folder, text, name="mine.py"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_dataclass_with_postponed_annotations(tmp_path):
    """Which looks its module up in sys.modules."""
    path = written(tmp_path, POSTPONED)
    thing = user_modules.get("net", f"{path}:THING", "NET")
    assert [f.name for f in dataclasses.fields(thing)] == ["width"]  # the InitVar was recognised
    assert sys.modules[type(thing).__module__].THING is thing


def test_a_file_hides_no_module_of_its_name(tmp_path):
    path = written(tmp_path, "NET = 1", "calendar.py")
    assert user_modules.get("net", path, "NET") == 1
    import calendar

    assert calendar.isleap(2024)


def test_it_runs_once_and_again_when_its_text_is_another(tmp_path, monkeypatch):
    path = written(tmp_path, "NET = object()")
    first = user_modules.full_name("net", path, "NET", hashed=True)
    digest = hashlib.sha256(b"NET = object()").hexdigest()[:16]
    assert first == f"{path}:NET#sha256={digest}"
    thing = user_modules.get("net", first, "NET")
    assert user_modules.get("net", first, "NET") is thing
    written(tmp_path, "NET = 2")
    second = user_modules.full_name("net", path, "NET", hashed=True)
    assert user_modules.get("net", second, "NET") == 2
    assert user_modules.get("net", first, "NET") is thing  # what runs goes on
    assert user_modules.full_name("net", first, "NET", hashed=True) == first
    monkeypatch.setattr(user_modules, "_running", {})  # as in another process
    with pytest.raises(InputError, match=f"the file has changed .sha256 was {digest}, is "):
        user_modules.full_name("net", first, "NET", hashed=True)


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "nets", "NET = 1")
    assert user_modules.full_name("net", "nets/mine.py", "NET") == f"{tmp_path}/nets/mine.py:NET"
    assert user_modules.short_name("nets/mine.py:BIG#sha256=0123") == "mine.py:BIG"
    assert user_modules.short_name("resnet") == "resnet"
    assert user_modules.short_name("ks:points=64") == "ks:points=64"
    beside = user_modules.relative_to(tmp_path / "nets", "mine.py:NET")
    assert beside == f"{tmp_path}/nets/mine.py:NET"
    assert user_modules.relative_to(tmp_path / "nets", "nets/mine.py:NET") == "nets/mine.py:NET"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("\x00", "null bytes"),
        ("OTHER = 1", "the module has no NET"),
        (None, "no such file; expected path/to/module.py:NET"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(text, message, tmp_path):
    path = written(tmp_path, text) if text is not None else str(tmp_path / "none.py")
    before = set(sys.modules)
    with pytest.raises(InputError, match=message) as error:
        user_modules.get("net", path, "NET")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"net='{path}")
    if text != "OTHER = 1":  # which ran
        assert not [name for name in set(sys.modules) - before if name.startswith("mine")]
