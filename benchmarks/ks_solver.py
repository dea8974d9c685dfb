"""ETDRK2 sub-steps of KS against exponax: one shared domain size, and one per sample.

exponax fixes the domain size when a stepper is built; per sample it is compared with the same
stepper, which does less. Last, one long rollout that keeps every frame: a single graph call.
"""

from absl import app, flags
from side_by_side import compare, limit_threads, show

flags.DEFINE_integer("substeps", 20, "sub-steps per call; times are per sub-step")
flags.DEFINE_integer("frames", 10_000, "of the long rollout")
FLAGS = flags.FLAGS
PER_FRAME = 2  # sub-steps, in the study


def ours(points, batch, sizes, substeps, per_frame):
    import numpy as np
    import tensorflow as tf

    from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
    from tfunroll.stepping.unrolling import repeat

    solver = KuramotoSivashinsky(points, "etdrk2", 0.5, per_frame)
    u = tf.constant(np.random.default_rng(0).standard_normal((batch, points, 1)), tf.float32)
    size = tf.constant(sizes, tf.float32)

    @tf.function(jit_compile=True, autograph=False)
    def run(u, size):
        return repeat(solver.bind({"domain_size": size}), substeps // per_frame)(0.1 * u)

    return lambda: run(u, size).numpy()


def peer(points, batch, size, substeps):
    import exponax
    import jax
    import jax.numpy as jnp
    import numpy as np

    stepper = exponax.stepper.KuramotoSivashinskyConservative(
        1, 2 * np.pi * size, points, 0.5, order=2, dealiasing_fraction=1.0
    )
    u = jnp.asarray(np.random.default_rng(0).standard_normal((batch, 1, points)), jnp.float32)

    @jax.jit
    def run(u):
        return jax.lax.fori_loop(0, substeps, lambda _, v: jax.vmap(stepper)(v), 0.1 * u)

    return lambda: run(u).block_until_ready()


def our_rollout(frames, batch):
    """One graph call that keeps every frame, [batch, frames, 48, 1]."""
    import numpy as np
    import tensorflow as tf

    from tfunroll.stepping.unrolling import rollout
    from tfunroll.systems import get

    solver, sizes = get("ks").reference(), np.linspace(7, 10, batch)
    u = tf.constant(get("ks").initial_state({"domain_size": sizes}, 0), tf.float32)
    size = tf.constant(sizes, tf.float32)

    @tf.function(jit_compile=True, autograph=False)
    def run(u, size):
        return rollout(solver.bind({"domain_size": size}), u, frames)

    return lambda: run(u, size).numpy()


def peer_rollout(frames, batch):
    import exponax
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tfunroll.systems import get

    stepper = exponax.stepper.KuramotoSivashinskyConservative(
        1, 2 * np.pi * 8.0, 48, 0.5, order=2, dealiasing_fraction=1.0
    )
    start = get("ks").initial_state({"domain_size": np.full(batch, 8.0)}, 0)
    u = jnp.asarray(start.transpose(0, 2, 1), jnp.float32)
    frame = exponax.repeat(stepper, PER_FRAME)
    run = jax.jit(jax.vmap(exponax.rollout(frame, frames)))
    return lambda: run(u).block_until_ready()


def main(_):
    limit_threads(FLAGS.threads)
    import numpy as np

    rows = []
    for points, batch in ((48, 1024), (256, 256)):
        theirs = peer(points, batch, 8.0, FLAGS.substeps)
        many = np.linspace(7, 10, batch)
        for name, sizes in (("shared", [8.0]), ("per sample", many)):
            # within a frame, our states stay in the form that sub-steps work on
            for per_frame in (FLAGS.substeps, PER_FRAME):
                case = f"{points} points, domain size {name}, {per_frame} sub-steps a frame"
                function = ours(points, batch, sizes, FLAGS.substeps, per_frame)
                more = {"batch": batch, "threads": FLAGS.threads, "calls": FLAGS.substeps}
                rows.append(compare("ks_solver", case, function, theirs, FLAGS.pairs, **more))
    pair = our_rollout(FLAGS.frames, 64), peer_rollout(FLAGS.frames, 64)
    name = f"48 points, domain size per sample, rollout of {FLAGS.frames} frames"
    rows.append(compare("ks_solver", name, *pair, 3, batch=64, threads=FLAGS.threads))
    show(rows, ("tensorflow", "jax", "exponax"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
