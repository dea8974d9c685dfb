import json
import re
import resource

import numpy as np
import pytest

from tfunroll.core import InputError
from tfunroll.training.checkpoints import FINISHED, CheckpointError, Checkpoints, DamagedError


def parts(number=0):
    return {
        "net": {
            "layout": np.array("kernel 50x50; bias 50"),
            "flat": np.full((2550,), number, np.float32),
        },
        "counters": {"update": np.int64(number)},
    }


def save(folder, number):
    Checkpoints(folder).save(number, parts(number))


def restored(folder, like=None):
    """The number that comes back, None if nothing does."""
    found = Checkpoints(folder).restore(parts() if like is None else like)
    if found is None:
        return None
    assert found["net"]["flat"].dtype == np.float32
    np.testing.assert_array_equal(found["net"]["flat"], float(found["counters"]["update"]))
    return int(found["counters"]["update"])


def test_newest_comes_back_and_two_are_kept(tmp_path):
    for number in (1, 2, 10):
        save(tmp_path, number)
    assert restored(tmp_path) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ckpt-10.npz", "ckpt-2.npz"]


def test_numpy_reads_one_by_name(tmp_path):
    save(tmp_path, 3)
    with np.load(tmp_path / "ckpt-3.npz") as arrays:
        assert sorted(arrays) == ["counters/update", "net/flat", "net/layout", "version"]
        assert arrays["counters/update"] == 3


def test_nothing_there(tmp_path):
    assert restored(tmp_path) is None
    with pytest.raises(InputError, match="no checkpoint in"):
        Checkpoints(tmp_path).weights(parts()["net"])


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").rename(path)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "other", "missing"])
def test_training_goes_on_from_the_one_before_a_damaged_one(tmp_path, capsys, how):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / "ckpt-2.npz", how)
    assert not Checkpoints(tmp_path).is_whole(2)
    assert Checkpoints(tmp_path).is_whole(1)
    assert restored(tmp_path) == 1
    if how != "missing":
        assert re.search(r"ckpt-2.npz is damaged .*; trying the one bef", capsys.readouterr().out)
    with pytest.raises(DamagedError, match="ckpt-2.npz is damaged"):
        Checkpoints(tmp_path).restore(parts(), 2)


def test_any_flipped_byte_is_found_or_harmless(tmp_path):
    """Never another number, never another kind of error."""
    save(tmp_path, 7)
    path, rng = tmp_path / "ckpt-7.npz", np.random.default_rng(0)
    whole = path.read_bytes()
    found = 0
    for place in rng.integers(0, len(whole), 300):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            assert restored(tmp_path) == 7
        except InputError:
            found += 1
    assert found > 250


def test_a_finished_network_is_its_last_checkpoint_or_none(tmp_path):
    folder, like = tmp_path / "checkpoints", parts()["net"]
    save(folder, 1)
    save(folder, 2)
    (tmp_path / FINISHED).write_text(json.dumps({"updates": 2}))
    assert Checkpoints(folder).weights(like)[0] == 2
    for how in ("flipped", "missing"):
        damage(folder / "ckpt-2.npz", how)
        with pytest.raises(DamagedError, match="ckpt-2.npz is damaged .*train.py --resume trains"):
            Checkpoints(folder).weights(like)


def test_all_damaged_is_no_fresh_start(tmp_path):
    for number in (1, 2):
        save(tmp_path, number)
    for number in (1, 2):
        damage(tmp_path / f"ckpt-{number}.npz", "truncated")
    with pytest.raises(DamagedError, match="ckpt-1.npz is damaged .*no other is left: delete"):
        restored(tmp_path)


def changed(part, name=None, value=None):
    like = parts()
    if name is None:
        like[part] = value
    elif value is None:
        del like[part][name]
    else:
        like[part][name] = value
    return {k: v for k, v in like.items() if v}


@pytest.mark.parametrize(
    ("like", "difference"),
    [
        (changed("plateau", None, {"best": 0.0}), "part plateau: missing"),
        (changed("counters", None, {}), "part counters: unknown here"),
        (changed("counters", "epoch", np.int64(0)), "part counters: epoch is missing"),
        (changed("net", "flat"), "part net: flat is unknown here"),
        (
            changed("net", "layout", np.array("kernel 50x51; bias 50")),
            "part net: weight 1 is kernel 50x50, needed is kernel 50x51",
        ),
        (
            changed("net", "layout", np.array("kernel 50x50; bias 50; bias 1")),
            "part net: it holds 2 weights, needed are 3",
        ),
        (
            changed("net", "flat", np.zeros(2550)),
            r"part net: flat is float32 \[2550\], needed is float64 \[2550\]",
        ),
    ],
)
def test_one_of_another_training_is_refused_naming_the_part(tmp_path, like, difference):
    save(tmp_path, 1)
    save(tmp_path, 2)
    with pytest.raises(InputError, match=f"ckpt-2.npz does not fit .*: {difference}") as caught:
        Checkpoints(tmp_path).restore(like)
    assert not isinstance(caught.value, DamagedError)


def test_another_version_is_refused(tmp_path):
    save(tmp_path, 1)
    with np.load(tmp_path / "ckpt-1.npz") as arrays:
        values = dict(arrays)
    np.savez(tmp_path / "ckpt-1.npz", **{**values, "version": 3})
    with pytest.raises(InputError, match="has version 3 of its format, needed is 2"):
        restored(tmp_path)


def test_checkpoints_before_version_2_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "ckpt-500.index").touch()
    for read in (lambda: restored(tmp_path), lambda: Checkpoints(tmp_path).weights({})):
        with pytest.raises(InputError, match="earlier version .*train.py --flagfile=RUN/flagfi"):
            read()


def test_what_a_damaged_one_and_kills_left_goes_with_the_next_save(tmp_path):
    for number in (1, 2):
        save(tmp_path, number)
    damage(tmp_path / "ckpt-2.npz", "flipped")
    (tmp_path / ".0123456789ab-ckpt-9.npz").touch()
    restored(tmp_path)
    save(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["ckpt-1.npz"]


def test_a_full_disk_leaves_the_one_before(tmp_path):
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as a full disk: writes fail
    try:
        with pytest.raises(CheckpointError, match="checkpoint 2 cannot be written"):
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert restored(tmp_path) == 1
    save(tmp_path, 3)
    assert restored(tmp_path) == 3
