"""Files are whole or absent, whatever happens while they are written."""

import errno
import json
import os
import stat

import pytest

from tfunroll import files
from tfunroll.files import replacing, write_json


def test_the_new_file_appears_at_the_end_with_usual_rights(tmp_path):
    path = tmp_path / "new" / "a.npz"
    with replacing(path) as new:
        assert new.parent == path.parent
        assert new.suffix == ".npz"  # numpy would append another
        new.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted():
        with replacing(path) as new:
            new.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whose block ended last


def test_json_is_not_touched_by_values_that_cannot_be_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"α": [1, 2]})
    with pytest.raises(TypeError):
        write_json(path, {"α": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"α": [1, 2]}


def test_a_lock_is_one_process_s_or_shared(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as other:
        files.lock(one)
        with pytest.raises(BlockingIOError):
            files.lock(other, wait=False)
        files.unlock(one)
        files.lock(other, shared=True, wait=False)
        files.lock(one, shared=True, wait=False)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_work_goes_on_with_a_warning(number, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with (tmp_path / "lock").open("w") as one:
        with pytest.warns(UserWarning, match="file system without locks"):
            files.lock(one)
        files.unlock(one)


def test_another_error_of_a_lock_is_not_hidden(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with (tmp_path / "lock").open("w") as one, pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.lock(one)
