"""The datasets built by Apache Beam: the examples of the plain build, from the same cache."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tfunroll import datasets
from tfunroll.core import InputError

pytest.importorskip("apache_beam")

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "generate_data.py"


def flat(example):
    """Name -> array of a nested example."""
    return {
        f"{outer}/{inner}": array
        for outer, value in example.items()
        for inner, array in (value.items() if isinstance(value, dict) else [("", value)])
    }


def test_beam_gives_the_examples_of_the_plain_build_and_shares_its_cache(tiny_data_dir, tmp_path):
    plain = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    beam_cache = datasets.builder_class("ks").of("tiny", tmp_path).cache_dir
    shutil.copytree(plain.cache_dir, beam_cache)
    kept, missing = sorted(beam_cache.iterdir())[2:], sorted(beam_cache.iterdir())[:2]
    for path in missing:
        path.unlink()
    written = {path: path.stat().st_mtime_ns for path in kept}
    built = datasets.build("ks", "tiny", tmp_path, beam_options="")
    assert sorted(beam_cache.iterdir()) == [*missing, *kept]  # Beam has made what was missing
    assert {path: path.stat().st_mtime_ns for path in kept} == written
    for split in plain.info.splits:
        for ours, theirs in zip(built.examples(split), plain.examples(split), strict=True):
            ours, theirs = flat(ours), flat(theirs)
            assert ours.keys() == theirs.keys()
            for name, array in ours.items():
                np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    for name in ("dataset_info.json", "features.json", "metadata.json"):
        assert (built.data_path / name).read_text() == (plain.data_path / name).read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--runner=Nope", "Unexpected pipeline runner: Nope"),
        ("--direct_num_workers=x", "invalid int value: 'x'"),
        ("--nonsense=3", "--nonsense=3"),
        ("junk", "junk"),
        ("'--runner", "No closing quotation"),
    ],
)
def test_unknown_flags_of_beam(tmp_path, flags, message):
    with pytest.raises(InputError, match="beam_options=") as raised:
        datasets.build("ks", "tiny", tmp_path, beam_options=flags)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_script_builds_with_worker_processes(tiny_data_dir, tmp_path):
    options = "--direct_num_workers=2 --direct_running_mode=multi_processing"
    command = [sys.executable, SCRIPT, "--beam", f"--beam_options={options}", "--data_dir=here"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = datasets.builder_class("ks").of("tiny", tmp_path / "here")
    plain = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    for ours, theirs in zip(built.examples("train"), plain.examples("train"), strict=True):
        np.testing.assert_array_equal(ours["state"], theirs["state"])
