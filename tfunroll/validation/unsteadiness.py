"""Which flows oscillate, and how fast: lift over time on one mesh, for several Mach numbers.

python -m tfunroll.validation.unsteadiness --mach=0.5,0.75 --incidence=8
python -m tfunroll.validation.unsteadiness --mach=0.5,0.75 \
    --cells=192 --layers=64 --first=0.0025
python -m tfunroll.validation.unsteadiness --mach=0.5 --grid=c --cells=96 --cut=32
"""

import argparse
import pathlib

import numpy as np
import tensorflow as tf
from scipy.interpolate import interp1d
from tabulate import tabulate

from tfunroll.datasets.generation import read_arrays, write_arrays
from tfunroll.solvers.compressible import Compressible
from tfunroll.systems import aerofoil

FRAME = 0.05
COLUMNS = ("Mach", "mean Cd", "mean Cl", "Cl rms", "St")


def main(given) -> None:
    family = {"cut": given.cut, "incidence": given.incidence} if given.grid == "c" else {}
    if family and given.start:
        raise SystemExit("--start interpolates between O-grids alone: leave it out with --grid=c")
    mesh = aerofoil.mesh(given.cells, given.layers, given.first, given.radius, **family)
    mach = np.array([float(m) for m in given.mach.split(",")])
    values = {
        "mach": mach,
        "reynolds": given.reynolds + 0 * mach,
        "incidence": given.incidence + 0 * mach,
    }
    state = aerofoil.initial_state(values, given.seed, mesh).astype(np.float32)
    path = pathlib.Path(given.out) if given.out else None
    saved = read_arrays(path) if path else None
    forces = list(saved["forces"]) if saved else []
    if saved:
        state = saved["state"]
    elif given.start:
        state = developed(given.start, mesh)[: len(mach)]
    probe = Compressible(mesh, 1.0)
    substeps = int(np.ceil(FRAME / (given.courant * probe.stable_dt(state, values).min())))
    solver = Compressible(mesh, FRAME / substeps, substeps)
    params = {n: tf.constant(v, tf.float32) for n, v in values.items()}

    @tf.function(jit_compile=True, autograph=False)
    def advance(state):
        state = solver.bind(params)(state)
        return state, solver.forces(state, params)

    print(mesh.quality(), f"dt = {solver.dt:.3g}", flush=True)
    frames = round(given.time / FRAME)
    while len(forces) < frames:
        state, force = advance(tf.constant(state))
        forces.append(force.numpy())
        if not np.isfinite(forces[-1]).all():
            raise SystemExit(f"blew up at t = {len(forces) * FRAME:.2f}: {forces[-1]}")
        if len(forces) % 20 == 0 and path:
            write_arrays(path, {"forces": np.array(forces), "state": np.asarray(state)})
        if len(forces) % 100 == 0:
            print(
                f"t = {len(forces) * FRAME:.2f}, (Cd, Cl) = {np.round(forces[-1], 4).tolist()}",
                flush=True,
            )
    history = np.array(forces)[round(given.drop / FRAME) :]
    rows = []
    for b, m in enumerate(mach):
        cd, cl = history[:, b].T
        rows.append((m, cd.mean(), cl.mean(), cl.std(), frequency(cl)))
    print(tabulate(rows, COLUMNS, floatfmt=".4f"))


def developed(path: str, mesh) -> np.ndarray:
    """The last state in a file of --out, of the default mesh, on another one of the same family.

    Linear in the number of the cell around the body and in the logarithm of the distance from it:
    it spares most of the transient.
    """
    state, old = read_arrays(pathlib.Path(path))["state"], aerofoil.mesh()

    def places(m):
        heights = np.linalg.norm(m.centres - (m.nodes[0, 1:] + m.nodes[0, :-1]) / 2, axis=-1)
        return (np.arange(m.shape[1]) + 0.5) / m.shape[1], np.log(heights[:, m.shape[1] // 4])

    (i_old, j_old), (i_new, j_new) = places(old), places(mesh)
    along_i = interp1d(
        np.concatenate([i_old[-1:] - 1, i_old, i_old[:1] + 1]),
        np.concatenate([state[:, :, -1:], state, state[:, :, :1]], 2),
        axis=2,
    )(i_new)
    clipped = np.clip(j_new, j_old[0], j_old[-1])
    return interp1d(j_old, along_i, axis=1)(clipped).astype(np.float32)


def frequency(signal: np.ndarray) -> float:
    """Dominant frequency of a force, in U/c: the peak of its windowed spectrum."""
    signal = (signal - signal.mean()) * np.hanning(len(signal))
    power = np.abs(np.fft.rfft(signal, 8 * len(signal)))
    return float(np.fft.rfftfreq(8 * len(signal), FRAME)[power.argmax()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mach", default="0.5,0.75")
    parser.add_argument("--incidence", type=float, default=8.0)
    parser.add_argument("--reynolds", type=float, default=1e4)
    parser.add_argument("--grid", choices="oc", default="o", help="family of the mesh")
    parser.add_argument("--cells", type=int, default=aerofoil.CELLS, help="around the body")
    parser.add_argument("--cut", type=int, default=32, help="cells along the cut of --grid=c")
    parser.add_argument("--layers", type=int, default=aerofoil.LAYERS)
    parser.add_argument("--first", type=float, default=aerofoil.FIRST)
    parser.add_argument("--radius", type=float, default=aerofoil.RADIUS)
    parser.add_argument("--courant", type=float, default=0.85, help="share of the stable dt")
    parser.add_argument("--time", type=float, default=35.0)
    parser.add_argument("--drop", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", help="file of --out of the default mesh, to begin with")
    parser.add_argument("--out", help="file that keeps the history, to go on from")
    main(parser.parse_args())
