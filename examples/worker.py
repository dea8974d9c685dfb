"""A worker process of examples/ks_worker.py: steps KS states that come in, until none comes."""

import sys
from types import SimpleNamespace

import numpy as np
from numpy.lib.format import read_array, write_array

POINTS, DT, SUBSTEPS = 48, 0.5, 2


def step(u, size):
    """One frame of u_t + u u_x + u_xx + u_xxxx = 0 on [0, 2π·size) by first-order ETD; u [x]."""
    q = np.fft.rfftfreq(POINTS, 1 / POINTS) / size
    k = np.where(q == q[-1], 0, q)  # the shortest wave has no derivative on the grid
    z = DT * (q**2 - q**4)
    phi1 = np.where(z == 0, 1, np.expm1(z) / np.where(z == 0, 1, z))
    u_hat = np.fft.rfft(u)
    for _ in range(SUBSTEPS):
        u = np.fft.irfft(u_hat, POINTS)
        u_hat = np.exp(z) * u_hat - DT * phi1 * 0.5j * k * np.fft.rfft(u * u)
    return np.fft.irfft(u_hat, POINTS)


# NumPy would seek in a file, which a pipe cannot: it sees reading and writing alone.
requests = SimpleNamespace(read=sys.stdin.buffer.read)
answers = SimpleNamespace(write=sys.stdout.buffer.write)
while sys.stdin.buffer.peek(1):
    state, (size,) = read_array(requests), read_array(requests)
    write_array(answers, step(state[:, 0], size)[:, None])
    sys.stdout.buffer.flush()
