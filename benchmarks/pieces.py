"""Training on own data in memory and in pieces: processor time per update and to load.

    python benchmarks/pieces.py

Travelling waves, 24 trajectories × 500 frames × 512 points (25 MB, float32, .npy) at a limit of a
third of that, a ResNet of (8, 2), batches of 16, WIG over two steps; the least of five calls.
"""

import json
import pathlib
import tempfile
import time

import numpy as np

import tfunroll as tu
from tfunroll.training.trainer import Updates

TRAJECTORIES, FRAMES, POINTS = 24, 500, 512


def make(folder: pathlib.Path) -> pathlib.Path:
    """The description of the waves."""
    x, t = 2 * np.pi * np.arange(POINTS) / POINTS, 0.1 * np.arange(FRAMES)
    speed = np.linspace(1, 2, TRAJECTORIES)
    phase = x - speed[:, None, None] * t[:, None] + 1.234 * np.arange(TRAJECTORIES)[:, None, None]
    np.save(folder / "waves.npy", np.sin(phase)[..., None].astype(np.float32))
    fields = {"states": "waves.npy", "boundary": "periodic", "params": {"speed": speed.tolist()}}
    path = folder / "waves.json"
    path.write_text(json.dumps(fields))
    return path


def measure(path: pathlib.Path, memory: float | None) -> tuple[float, float]:
    """Processor seconds to load, and per update."""
    began = time.process_time()
    data = tu.data.load(own=path, report=False, memory=memory)
    loading = time.process_time() - began
    net = tu.nets.ResNet(width=8, depth=2).build_for(data.system, mode="prediction")
    stepper = tu.Prediction(net, residual=True, scale=data.system.prediction_scale)
    stage = tu.Stage(tu.WIG(2), 1000, rate=1e-4, batch_size=16)
    updates = Updates(tu.Trainer(stepper, data.train, stage, callbacks=[]), stage)
    times = []
    for _ in range(6):
        began = time.process_time()
        updates(50)
        times.append((time.process_time() - began) / 50)
    return loading, min(times[1:])


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = make(pathlib.Path(folder))
        third = (path.parent / "waves.npy").stat().st_size / 3
        for name, memory in (("in memory", None), ("in pieces", third)):
            loading, update = measure(path, memory)
            print(f"{name}: {1e3 * update:.2f} ms per update, {loading:.2f} s to load")


if __name__ == "__main__":
    main()
