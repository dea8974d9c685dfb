"""Tools that check solvers and data; nothing that trains or evaluates needs them.

cylinder: the cylinder far from all sides, where the literature has its numbers.
impostors: rollouts that are not the reference, to see what the metrics can tell.
steady: steady compressible flows, by time steps of each cell's own.
stationarity, unsteadiness: whether stored flows have settled, which flows oscillate.
"""
