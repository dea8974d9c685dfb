"""For which domain sizes 48 points hold the Kuramoto-Sivashinsky equation, against 192 points.

python benchmarks/ks_resolution.py --sizes=6.8,11.2,13
"""

import argparse

import numpy as np
import tensorflow as tf
from tabulate import tabulate
from tfunroll.datasets.kuramoto_sivashinsky.simulated import truncate

from tfunroll.metrics.lyapunov import growth_rates
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import ks

FINE, DT = 192, 0.1
COLUMNS = ("D", "beyond 24", "energy, 192", "48", "λ1, 192", "48", "a frame's error", "decades")


def stepper(points, frames, sizes):
    """u [batch, points, 1] -> its next frames and the growth rates between them."""
    solver = KuramotoSivashinsky(points, "etdrk2", DT, round(1 / DT))

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        step = solver.bind({"domain_size": tf.constant(sizes)})
        states = rollout(step, state, frames)
        return states, growth_rates(step, states, solver.frame_time)

    return lambda state: [x.numpy() for x in run(tf.constant(state))]


def rows(sizes: np.ndarray, frames: int, trajectories: int) -> list[tuple]:
    """A row of COLUMNS per size: share of u² that 48 points cannot hold, mean of u²/2 and
    growth rate on both grids, error of one frame on 48 points from the fine states, and the largest
    difference of the spectra's logarithms. nan: blew up.
    """
    each = np.repeat(sizes, trajectories)
    start = ks.initial_state({"domain_size": each}, 0, points=FINE)
    start = stepper(FINE, 200, each)(start)[0][:, -1]
    fine, fine_rates = stepper(FINE, frames, each)(start)
    coarse, rates = stepper(ks.POINTS, frames, each)(truncate(start, ks.POINTS))
    exact = truncate(fine, ks.POINTS)
    chosen = np.arange(0, frames - 1, 10)
    stepped = stepper(ks.POINTS, 1, np.repeat(each, len(chosen)))
    after = stepped(exact[:, chosen].reshape(-1, ks.POINTS, 1))[0].reshape(exact[:, chosen].shape)
    missed = after - exact[:, chosen + 1]
    found = []
    for i, size in enumerate(sizes):
        one = slice(i * trajectories, (i + 1) * trajectories)
        spectra = [
            np.mean(np.abs(np.fft.rfft(u[one, ..., 0])) ** 2, (0, 1)) for u in (fine, exact, coarse)
        ]
        beyond = spectra[0][ks.POINTS // 2 :].sum() / spectra[0][1:].sum()
        held = spectra[1][1:] > 1e-6 * spectra[1].max()
        decades = np.abs(np.log10(spectra[2][1:][held] / spectra[1][1:][held])).max()
        error = np.sqrt(np.mean(missed[one] ** 2) / np.mean(exact[one] ** 2))
        energies = (np.mean(u[one] ** 2) / 2 for u in (fine, coarse))
        growth = (np.mean(r[one]) for r in (fine_rates, rates))
        (a, b), (c, d) = energies, growth
        found.append((size, beyond, a, b, c, d, error, decades))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="3,5,6.8,8,9,10.4,11.2,12,13,16")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--trajectories", type=int, default=4)
    given = parser.parse_args()
    values = np.array([float(size) for size in given.sizes.split(",")])
    found = rows(values, given.frames, given.trajectories)
    form = ("g", ".0e", ".3f", ".3f", ".3f", ".3f", ".1e", ".2f")
    print(tabulate(found, COLUMNS, floatfmt=form))
