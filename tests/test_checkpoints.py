import json
import re
import resource

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.checkpoints import (
    FINISHED,
    CheckpointError,
    Checkpoints,
    DamagedError,
    is_whole,
    restore_weights,
)
from tfunroll.core import InputError


@pytest.fixture
def variables():
    return [tf.Variable(np.zeros((50, 50), np.float32)), tf.Variable(0, dtype=tf.int64)]


def save(folder, variables, number):
    checkpoints = Checkpoints(folder, variables)
    for variable in variables:
        variable.assign(tf.fill(variable.shape, tf.cast(number, variable.dtype)))
    checkpoints.save(number)


def restored(folder, variables):
    """The number that comes back, None if nothing does."""
    for variable in variables:
        variable.assign(tf.zeros_like(variable))
    if not Checkpoints(folder, variables).restore():
        return None
    assert len({float(np.unique(v.numpy()).item()) for v in variables}) == 1
    return int(variables[1])


def test_newest_comes_back_and_two_are_kept(tmp_path, variables):
    for number in (1, 2, 10):
        save(tmp_path, variables, number)
    assert restored(tmp_path, variables) == 10
    assert sorted(p.name for p in tmp_path.glob("*.index")) == ["ckpt-10.index", "ckpt-2.index"]


def test_nothing_there(tmp_path, variables):
    assert restored(tmp_path, variables) is None
    assert not restore_weights(tmp_path, variables[:1])


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    else:
        path.unlink()


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_training_goes_on_from_the_one_before_a_damaged_one(
    tmp_path, variables, capsys, suffix, how
):
    save(tmp_path, variables, 1)
    save(tmp_path, variables, 2)
    damage(tmp_path / f"ckpt-2{suffix}", how)
    assert not is_whole(tmp_path, 2)
    assert is_whole(tmp_path, 1)
    assert restored(tmp_path, variables) == 1
    if (how, suffix) != ("missing", ".index"):
        assert re.search("ckpt-2 is damaged .*; trying the one before", capsys.readouterr().out)
    with pytest.raises(DamagedError, match="ckpt-2 is damaged"):
        Checkpoints(tmp_path, variables).restore(2)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_finished_network_is_its_last_checkpoint_or_none(tmp_path, variables, suffix):
    folder = tmp_path / "checkpoints"
    save(folder, variables, 1)
    save(folder, variables, 2)
    (tmp_path / FINISHED).write_text(json.dumps({"updates": 2}))
    assert restore_weights(folder, variables[:1])
    assert float(variables[0][0, 0]) == 2
    for how in ("flipped", "missing"):
        damage(folder / f"ckpt-2{suffix}", how)
        with pytest.raises(DamagedError, match="ckpt-2 is damaged .*train.py --resume trains"):
            restore_weights(folder, variables[:1])


def test_all_damaged_is_no_fresh_start(tmp_path, variables):
    for number in (1, 2):
        save(tmp_path, variables, number)
    for number in (1, 2):
        damage(tmp_path / f"ckpt-{number}.index", "truncated")
    with pytest.raises(DamagedError, match="ckpt-1 is damaged .*no other is left: delete"):
        Checkpoints(tmp_path, variables).restore()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda v: [*v, tf.Variable(0.0)], "it holds 2 variables, needed are 3"),
        (lambda v: v[:1], "it holds 2 variables, needed are 1"),
        (
            lambda v: [tf.Variable(np.zeros((50, 51), np.float32), name="kernel"), v[1]],
            r"its kernel:0 is float32 \[50, 50\], needed is float32 \[50, 51\]",
        ),
        (
            lambda v: [v[0], tf.Variable(0.0, name="update")],
            r"its update:0 is int64 \[\], needed is float32 \[\]",
        ),
    ],
)
def test_one_of_another_network_is_refused_naming_what_differs(
    tmp_path, variables, change, difference
):
    save(tmp_path, variables, 1)
    save(tmp_path, variables, 2)
    others = change(variables)
    before = [v.numpy() for v in others]
    with pytest.raises(InputError, match=f"ckpt-2 does not fit .*: {difference}") as caught:
        Checkpoints(tmp_path, others).restore()
    assert not isinstance(caught.value, DamagedError)
    for variable, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_file_that_names_the_newest_is_not_needed(tmp_path, variables):
    save(tmp_path, variables, 3)
    for content in (b"\x00garbage", b"\xff\xfe", b"", b'model_checkpoint_path: "none"'):
        (tmp_path / "checkpoint").write_bytes(content)  # TensorFlow's name for such a file
        assert restored(tmp_path, variables) == 3
    save(tmp_path, variables, 4)
    assert restored(tmp_path, variables) == 4


def test_what_a_damaged_one_and_kills_left_goes_with_the_next_save(tmp_path, variables):
    for number in (1, 2):
        save(tmp_path, variables, number)
    damage(tmp_path / "ckpt-2.data-00000-of-00001", "flipped")
    (tmp_path / "ckpt-9_temp").mkdir()
    (tmp_path / "ckpt-7.data-00000-of-00001").touch()
    Checkpoints(tmp_path, variables).restore()
    save(tmp_path, variables, 1)
    assert {p.name.split(".")[0] for p in tmp_path.iterdir()} == {"ckpt-1"}


def test_a_full_disk_leaves_the_one_before(tmp_path, variables):
    save(tmp_path, variables, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as a full disk: writes fail
    try:
        with pytest.raises(CheckpointError, match="checkpoint 2 cannot be written"):
            save(tmp_path, variables, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert restored(tmp_path, variables) == 1
    save(tmp_path, variables, 3)
    assert restored(tmp_path, variables) == 3
