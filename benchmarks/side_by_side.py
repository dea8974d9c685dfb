"""What the benchmarks share: interleaved timing of ours and a peer, a table, JSON lines.

Ours and the peer run in turn in one process; the median of the pairwise ratios is what counts, so
that a machine whose speed drifts changes both.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

from absl import flags
from tabulate import tabulate

flags.DEFINE_integer("threads", 1, "CPU threads; 0 for all")
flags.DEFINE_integer("pairs", 15, "timed pairs per case")
flags.DEFINE_string("json", "", "file to append one JSON line per case to")

COLUMNS = ("benchmark", "case", "ours", "peer", "ratio", "unit", "dtype", "batch", "threads")


def limit_threads(threads: int) -> None:
    """Pins this process to so many cores; call it before NumPy, TensorFlow and JAX are imported."""
    if threads:
        cores = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, cores)
        for library in ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OPENBLAS_NUM", "OMP_NUM"):
            os.environ[f"{library}_THREADS"] = str(threads)


def compare(
    benchmark: str,
    case: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int,
    dtype: str = "float32",
    batch: int = 1,
    threads: int = 1,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Times two functions in turn (each must end with its result computed), in milliseconds.

    Args:
      calls: how often each does its work when called once; times are per such piece of work.
      clock: time.process_time leaves other work on the machine out of it.
    """
    for function in (ours, peer):
        function()
        function()
    times = []
    for _ in range(pairs):
        pair = []
        for function in (ours, peer):
            began = clock()
            function()
            pair.append(1e3 * (clock() - began) / calls)
        times.append(pair)
    return {
        "benchmark": benchmark,
        "case": case,
        "ours": statistics.median(t[0] for t in times),
        "peer": statistics.median(t[1] for t in times),
        "ratio": statistics.median(t[0] / t[1] for t in times),
        "unit": "ms",
        "dtype": dtype,
        "batch": batch,
        "threads": threads or os.cpu_count(),
    }


def show(rows: list[dict], packages: tuple[str, ...], path: str) -> None:
    """Prints the table; appends the rows, with versions, to ``path`` if it is given."""
    print(tabulate([[row[c] for c in COLUMNS] for row in rows], COLUMNS, floatfmt=".3g"))
    if path:
        versions = {name: version(name) for name in packages}
        with open(path, "a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**row, "versions": versions}) + "\n")
        print(f"\nwritten:\n  {path}")
