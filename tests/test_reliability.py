"""Runs that are killed at random instants, and resumed, against the uninterrupted run."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
KILLS = 8


def start(data_dir, out, log):
    flags = [
        *(f"--data_dir={data_dir}", f"--out={out}", "--seeds=0,1", "--width=4", "--depth=1"),
        *("--curriculum=1:600,2:300,3:200", "--checkpoint_every=50", "--validate_every=100"),
        *("--jit=off", "--starts=1", "--long_horizon=30", "--workers=2"),
    ]
    if (out / "config.json").exists():
        flags.append("--resume")
    script = ROOT / "scripts" / "train.py"
    return subprocess.Popen([sys.executable, script, *flags], stdout=log, stderr=log)


def values(out):
    table = pd.read_csv(out / "results.csv")
    return table[table.net.notna() & ~table.run_id.str.contains("baselines")].value.to_numpy()


def run_with_kills(data_dir, out, log, seconds):
    """Starts the run, kills it after random fractions of ``seconds``, resumes it; counts kills."""
    for kills in range(KILLS):
        process = start(data_dir, out, log)
        try:
            assert process.wait(random.uniform(0.3, 0.7) * seconds) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert start(data_dir, out, log).wait(300) == 0
    return KILLS


@pytest.mark.slow
def test_kill_9_at_random_instants_changes_nothing(tiny_data_dir, tmp_path, capsys):
    random.seed(0)
    with (tmp_path / "log").open("w+") as log:
        began = time.monotonic()
        assert start(tiny_data_dir, tmp_path / "whole", log).wait(300) == 0
        seconds = time.monotonic() - began
        for attempt in range(3):  # a machine that got faster meanwhile is killed earlier
            out = tmp_path / f"killed{attempt}"
            kills = run_with_kills(tiny_data_dir, out, log, seconds / 2**attempt)
            if kills > 1:
                break
    assert kills > 1, "the kills came too late"
    assert not re.search("Traceback", (tmp_path / "log").read_text())
    np.testing.assert_array_equal(values(out), values(tmp_path / "whole"))
    with capsys.disabled():
        print(f"\n{kills} kills, then equal to the uninterrupted run")
