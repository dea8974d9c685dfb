"""The config `published`: the paper's own arrays from TFDS's manual directory."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfunroll.datasets.kuramoto_sivashinsky import published

from tfunroll import datasets
from tfunroll.core import InputError


def _write_published(folder, frames=40):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in published.TRAIN_FILES:
        np.savez(folder / name, rng.normal(size=(6, frames, 48)))
    for files in published.TEST_FILES.values():
        for name in files:
            np.savez(folder / name, rng.normal(size=(20, frames, 48)))


def test_published_names():
    names = {name for files in published.TEST_FILES.values() for name in files}
    assert names == {f"ks-testdata{d}.npz" for d in ("0_85", "0_93", "1_15", "1_40")}


def test_published_arrays_become_a_dataset(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    _write_published(manual)
    builder = datasets.build("ks", "published", tmp_path)
    splits = {s: list(tfds.as_numpy(builder.as_dataset(split=s))) for s in builder.info.splits}
    assert {s: (len(e), len(e[0]["state"])) for s, e in splits.items()} == {
        "train": (36, 36),
        "validation": (36, 4),
        "test_interpolation": (40, 40),
        "test_extrapolation": (40, 40),
    }
    source = np.load(manual / "ks-dataset-2.npz")["arr_0"].astype(np.float32)
    train, validation = splits["train"][12], splits["validation"][12]
    np.testing.assert_array_equal(train["state"][..., 0], source[0, :36])
    np.testing.assert_array_equal(validation["state"][..., 0], source[0, 36:])
    assert train["params"]["domain_size"] == 8
    assert validation["start_time"] == 36


def _nan():
    states = np.zeros((6, 40, 48))
    states[3, 2, 1] = np.nan
    return states


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "is missing; put"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cannot be read"),
        (lambda path: np.savez(path, np.zeros((6, 40, 32))), r"shape \(6, 40, 32\)"),
        (lambda path: np.savez(path, states=np.zeros((6, 40, 48))), "arr_0"),
        (lambda path: np.savez(path, np.zeros((6, 5, 48))), "at least 20 frames"),
        (lambda path: np.savez(path, np.full((6, 40, 48), "x")), "real numbers"),
        (lambda path: np.savez(path, _nan()), "NaN"),
    ],
)
def test_published_mistakes_name_the_file(tmp_path, spoil, message):
    manual = tmp_path / "downloads" / "manual"
    _write_published(manual)
    spoil(manual / "ks-dataset-3.npz")
    with pytest.raises(InputError, match=message) as raised:
        datasets.build("ks", "published", tmp_path)
    assert "ks-dataset-3.npz" in str(raised.value)
    assert str(manual) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_published_without_manual_folder_says_where(tmp_path):
    with pytest.raises(InputError, match=r"manual.*ks-dataset-0\.npz"):
        datasets.build("ks", "published", tmp_path)
