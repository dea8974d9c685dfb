"""The isentropic vortex in a periodic box of square cells, by our solver and by its peers.

Every solver starts from the exact means over the cells, and its density is compared with them.
"""

import contextlib
import tempfile

import numpy as np

SIZE, TIME, WIND = 10.0, 2.0, (1.0, 0.5)
CONSERVED = ("density", "x-momentum", "y-momentum", "energy")  # pyro's names


@contextlib.contextmanager
def scratch():
    """Another working directory: both peers leave a file where they start."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def vortex(points, at=0.0, strength=5.0):
    """Exact means over the cells (Gauss, 4 x 4 points) of ρ, ρu, ρv, E: [4, y, x] (Yee 1999)."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    places = SIZE / points * (np.arange(points)[:, None] + 0.5 + nodes / 2)
    x, y = ((places - wind * at) % SIZE - SIZE / 2 for wind in WIND)
    x, y = x[None, :, None, :], y[:, None, :, None]
    speed = strength / (2 * np.pi) * np.exp((1 - x**2 - y**2) / 2)
    temperature = 1 - 0.4 / (2 * 1.4) * speed**2
    r, u, v = temperature**2.5, WIND[0] - speed * y, WIND[1] + speed * x
    energy = r * temperature / 0.4 + r * (u**2 + v**2) / 2
    return np.einsum("kyxab,a,b->kyx", np.stack([r, r * u, r * v, energy]), weights, weights) / 4


def our_solver(points, dtype, sensor=None, steps=None, dt=None):
    """A call from the vortex to TIME, or over so many steps: density, number of steps."""
    import tensorflow as tf

    from tfunroll.ops.gas import conservative, primitive
    from tfunroll.ops.meshes import PERIODIC, Mesh
    from tfunroll.solvers.compressible import Compressible

    line = np.linspace(0, SIZE, points + 1)
    mesh = Mesh(np.stack(np.meshgrid(line, line), -1), (True, True))
    box = ((PERIODIC, PERIODIC),) * 2
    start = tf.transpose(primitive(tf.constant(vortex(points)[:, None])), [1, 2, 3, 0])
    if steps is None:
        limit = Compressible(mesh, 1.0, 1, False, box).stable_dt(start.numpy(), {}).min()
        steps = int(np.ceil(TIME / limit))
        dt = TIME / steps
    solver = Compressible(mesh, dt, steps, False, box, sensor)
    start = tf.cast(start, dtype)
    params = {"mach": 0.5, "reynolds": 1.0, "incidence": 0.0}  # count for nothing in a box
    params = {name: tf.constant([value], dtype) for name, value in params.items()}

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        return conservative(tf.transpose(solver.bind(params)(state), [3, 0, 1, 2]))[0, 0]

    return lambda: (run(start).numpy(), steps)


def pyro_solver(points, solver, options, courant, steps=None, dt=-1.0):
    """As our_solver, by pyro."""
    from pyro.pyro_sim import Pyro

    values = {f"compressible.{name}": value for name, value in options.items()}
    values |= {"compressible.riemann": "HLLC", "compressible.cvisc": 0.0, "eos.gamma": 1.4}
    values |= {f"mesh.{s}boundary": "periodic" for s in ("xl", "xr", "yl", "yr")}
    values |= {f"mesh.{name}": points for name in ("nx", "ny")}
    values |= {f"mesh.{name}": SIZE for name in ("xmax", "ymax")}
    values |= {"driver.init_tstep_factor": 1.0, "driver.cfl": courant, "driver.fix_dt": dt}
    values |= {"driver.tmax": 1e9 if steps else TIME, "driver.max_steps": steps or 10**9}
    made = Pyro(solver)
    start = dict(zip(CONSERVED, vortex(points), strict=True))

    def fill(data, _=None):
        for name, field in start.items():
            data.get_var(name).v()[:, :] = field.T  # [x, y]
        data.fill_BC_all()

    made.add_problem("vortex", fill)
    with scratch():
        made.initialize_problem("vortex", inputs_dict=values)

    def run():
        sim = made.get_sim()
        sim.cc_data.t, sim.n = 0.0, 0
        fill(sim.cc_data)
        while not sim.finished():
            made.single_step()
        return made.get_var("density").v().T.copy(), sim.n

    return run


def claw_solver(points, kind, courant):
    """As our_solver, by PyClaw: classic (one step, second order) or sharp (WENO5, SSPRK3)."""
    import logging

    with scratch():
        from clawpack import pyclaw, riemann

    logging.getLogger("pyclaw").setLevel(logging.ERROR)
    domain = pyclaw.Domain([0.0, 0.0], [SIZE, SIZE], [points, points])
    start = vortex(points).swapaxes(1, 2)  # [k, x, y]

    def solver():  # anew for every run: SharpClaw's arrays are global
        if kind == "classic":
            made = pyclaw.ClawSolver2D(riemann.euler_4wave_2D)
            made.limiters = pyclaw.limiters.tvd.MC
            made.dimensional_split, made.transverse_waves = False, 2
        else:
            made = pyclaw.SharpClawSolver2D(riemann.euler_4wave_2D)
            made.weno_order, made.time_integrator = 5, "SSP33"
        made.all_bcs = pyclaw.BC.periodic
        made.cfl_desired, made.cfl_max = courant, courant + 0.1
        made.dt_initial = 0.2 * SIZE / points
        return made

    def run():
        solution = pyclaw.Solution(4, domain)
        solution.problem_data |= {"gamma": 1.4, "gamma1": 0.4}
        solution.q[...] = start
        made = pyclaw.Controller()
        made.solution, made.solver, made.tfinal = solution, solver(), TIME
        made.num_output_times, made.output_format, made.verbosity = 1, None, 0
        steps = made.run()["numsteps"]
        return made.solution.q[0].T.copy(), steps

    return run
