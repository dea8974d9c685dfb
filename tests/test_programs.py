"""The cache of compiled programs: bounded, whole, and left out where it cannot be."""

import os
import time

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from tfunroll.runs import programs


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def program(folder, name, size, age=0.0):
    """A file of XLA's form, last used ``age`` seconds ago."""
    path = folder / f"{name}.pb"
    path.write_bytes(BytesValue(value=bytes(size)).SerializeToString())
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_flag_names_a_folder_of_this_user():
    programs.keep()
    prefix = "--tf_xla_persistent_cache_directory="
    folder = os.environ["TF_XLA_FLAGS"].removeprefix(prefix)
    assert folder.startswith(os.environ["XDG_CACHE_HOME"])
    assert os.path.isdir(folder)
    programs.keep()  # a second time changes nothing
    assert os.environ["TF_XLA_FLAGS"] == prefix + folder


def test_what_was_cut_short_goes_and_what_is_whole_stays(tmp_path):
    whole, cut = program(tmp_path, "whole", 5000), program(tmp_path, "cut", 5000)
    cut.write_bytes(cut.read_bytes()[:-1])
    begun, left = tmp_path / "new.tmp", tmp_path / "old.tmp"
    for path in (begun, left):
        path.touch()
    os.utime(left, (0, 0))
    programs.tidy(tmp_path)
    assert whole.exists()
    assert begun.exists()  # another process may be writing it
    assert not cut.exists()
    assert not left.exists()


def test_the_oldest_programs_go_beyond_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MOST", 25_000)
    hours = [program(tmp_path, str(age), 10_000, 3600.0 * age) for age in (2, 3, 4, 5)]
    programs.tidy(tmp_path)
    assert [path.exists() for path in hours] == [True, True, False, False]
    recent = [program(tmp_path, f"new{i}", 10_000) for i in range(5)]  # in use, so all stay
    programs.tidy(tmp_path)
    assert all(path.exists() for path in recent)
    assert not any(path.exists() for path in hours)


@pytest.mark.parametrize("home", ["with blank", "file/in", None])
def test_where_nothing_can_be_kept_nothing_is(home, tmp_path, monkeypatch):
    if home is None:
        monkeypatch.delenv("XDG_CACHE_HOME")

        def nowhere():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(programs.pathlib.Path, "home", nowhere)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
    programs.keep()
    assert "TF_XLA_FLAGS" not in os.environ
