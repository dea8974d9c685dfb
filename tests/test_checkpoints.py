import resource

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.checkpoints import CheckpointError, Checkpoints, restore_weights


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


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_newest_is_skipped_with_a_warning(tmp_path, variables, capsys, suffix, damage):
    save(tmp_path, variables, 1)
    save(tmp_path, variables, 2)
    path = tmp_path / f"ckpt-2{suffix}"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    else:
        path.unlink()
    assert restored(tmp_path, variables) == 1
    if (damage, suffix) != ("missing", ".index"):
        assert "ckpt-2.index is damaged" in capsys.readouterr().out
    assert restore_weights(tmp_path, variables[:1])
    assert float(variables[0][0, 0]) == 1


def test_a_damaged_list_of_checkpoints_does_not_matter(tmp_path, variables):
    save(tmp_path, variables, 3)
    (tmp_path / "checkpoint").write_bytes(b"\x00garbage")
    assert restored(tmp_path, variables) == 3
    save(tmp_path, variables, 4)
    assert restored(tmp_path, variables) == 4


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
