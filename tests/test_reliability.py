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


@pytest.mark.slow
def test_kill_9_at_random_instants_changes_nothing(tiny_data_dir, tmp_path, capsys):
    random.seed(0)
    with (tmp_path / "log").open("w+") as log:
        began = time.monotonic()
        assert start(tiny_data_dir, tmp_path / "whole", log).wait(300) == 0
        whole = time.monotonic() - began
        out, starts, finished = tmp_path / "killed", 0, False
        while not finished:
            process, starts = start(tiny_data_dir, out, log), starts + 1
            try:
                finished = process.wait(random.uniform(0.3, 0.7) * whole) == 0
                assert finished, log.seek(0) or log.read()
            except subprocess.TimeoutExpired:
                if starts <= KILLS:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                else:
                    finished = process.wait(300) == 0
        text = (tmp_path / "log").read_text()
    assert starts > 2, "the kills came too late"
    assert not re.search("Traceback", text)
    np.testing.assert_array_equal(values(out), values(tmp_path / "whole"))
    with capsys.disabled():
        print(f"\n{starts - 1} kills, then equal to the uninterrupted run")
