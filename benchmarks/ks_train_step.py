"""One training update on KS (loss, gradient, Adam) against the same in JAX (equinox, optax, jit).

Network (width, depth), horizon and batch per case; XLA on both sides. Also the time to trace and
compile, and the update against its bare matrix products.
"""

import time

from absl import app, flags
from side_by_side import compare, limit_threads, show

CASES = [
    *("26:8:3:16:WIG", "26:8:3:16:NOG", "52:12:3:16:WIG", "26:8:3:128:WIG"),
    *("26:8:8:16:WIG", "26:8:32:16:WIG"),
]
flags.DEFINE_list("cases", CASES, "width:depth:steps:batch:modality, comma list")
flags.DEFINE_integer("stage", 10_000, "updates of the stage: short ones loop over steps")
flags.DEFINE_integer("updates", 10, "updates per timed call; training takes up to a hundred")
FLAGS = flags.FLAGS


def ours(width, depth, steps, batch, modality):
    """(function of one update, seconds to trace and compile) of tfunroll."""
    import numpy as np

    from tfunroll import systems
    from tfunroll.data import Dataset, Trajectories
    from tfunroll.runs.config import RunConfig
    from tfunroll.runs.plan import Plan
    from tfunroll.stepping.unrolling import of_modality
    from tfunroll.training.schedule import Stage
    from tfunroll.training.trainer import Updates

    sizes = np.array(systems.get("ks").splits["train"], np.float32)
    # small states and a network that starts at zero, so that no horizon diverges
    u = 1e-5 * np.random.default_rng(0).standard_normal((6, 200, 48, 1)).astype(np.float32)
    split = Trajectories(u, {"domain_size": sizes}, tuple("abcdef"), np.zeros(6), {})
    dataset = Dataset("random", "tiny", {"train": split, "validation": split}, 1.0, "")
    config = RunConfig(width=width, depth=depth, learning_rate=1e-6, initial="zero").resolved()
    stage = Stage(of_modality(modality, steps), FLAGS.stage, 1e-6, batch_size=batch)
    updates = Updates(Plan(config).trainer(dataset), stage)
    began = time.perf_counter()
    updates(0)
    compiled = time.perf_counter() - began

    def several():
        updates(FLAGS.updates)
        assert int(updates.carry["guard"]["skipped"]) == 0

    return several, compiled


def peer(width, depth, steps, batch, modality):
    """The same in JAX."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    k = np.arange(25)

    class Net(eqx.Module):
        first: eqx.nn.Conv1d
        blocks: list
        last: eqx.nn.Conv1d

        def __init__(self, key):
            keys = iter(jax.random.split(key, 2 * depth + 2))

            def conv(i, o):
                key = next(keys)
                return eqx.nn.Conv1d(i, o, 3, padding=1, padding_mode="CIRCULAR", key=key)

            self.first = conv(2, width)
            self.blocks = [(conv(width, width), conv(width, width)) for _ in range(depth)]
            self.last = conv(width, 1)

        def __call__(self, x):
            x = self.first(x)
            for a, b in self.blocks:
                x = jax.nn.leaky_relu(b(jax.nn.leaky_relu(a(x))) + x)
            return self.last(x)

    def coefficients(size):
        q = jnp.asarray(k, jnp.float32) / size[:, None]
        z = 0.5 * (q**2 - q**4)
        phi = jnp.where(jnp.abs(z) < 1e-6, 1.0, jnp.expm1(z) / jnp.where(z == 0, 1.0, z))
        d = jnp.where(k == 24, 0, q)
        return jnp.exp(z), 0.5 * phi * (-0.5j) * d

    def step(net, u, size, etd):
        v = u
        for _ in range(2):
            v = jnp.fft.irfft(etd[0] * jnp.fft.rfft(v) + etd[1] * jnp.fft.rfft(v * v), n=48)
        scale = jnp.broadcast_to(size[:, None] / 8, u.shape)
        return v + 0.5 * jax.vmap(net)(jnp.stack([u, scale], 1))[:, 0]

    def loss(net, frames, size):
        etd, u, total = coefficients(size), frames[:, 0], 0.0
        for m in range(steps):
            u = step(net, u, size, etd)
            total += jnp.mean((u - frames[:, m + 1]) ** 2)
            if modality == "NOG":
                u = jax.lax.stop_gradient(u)
        return total / steps

    net = Net(jax.random.PRNGKey(0))
    net = eqx.tree_at(lambda n: [n.last.weight, n.last.bias], net, replace_fn=jnp.zeros_like)
    optimizer = optax.adam(1e-6)
    state = optimizer.init(eqx.filter(net, eqx.is_array))
    rng = np.random.default_rng(0)
    frames = 1e-5 * jnp.asarray(rng.standard_normal((batch, steps + 1, 48)), jnp.float32)
    size = jnp.asarray(rng.choice([7.2, 7.6, 8.0, 8.8, 9.6, 10.4], batch), jnp.float32)

    @eqx.filter_jit(donate="all-except-first")
    def update(data, net, state):
        value, gradient = eqx.filter_value_and_grad(loss)(net, *data)
        changes, state = optimizer.update(gradient, state)
        return value, eqx.apply_updates(net, changes), state

    box = [net, state]

    def run(count):
        for _ in range(count):
            value, box[0], box[1] = update((frames, size), *box)
        value.block_until_ready()

    began = time.perf_counter()
    run(1)
    return lambda: run(FLAGS.updates), time.perf_counter() - began


def products(width, depth, steps, batch):
    """The floor: one update's matrix products, in the real shapes, by NumPy's BLAS and no more.

    Three per convolution and step: forward, gradient by the input, gradient by the kernel.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    columns = 50 * batch  # 48 points and a ghost cell on either side
    shapes = [(2, width), *[(width, width)] * (2 * depth), (width, 1)]
    x, d = (rng.standard_normal((3 * width, columns)).astype(np.float32) for _ in range(2))
    kernels = [rng.standard_normal((i, 3 * o)).astype(np.float32) for i, o in shapes]

    def run():
        for _ in range(FLAGS.updates * steps):
            for kernel in kernels:
                inputs, taps = kernel.shape
                kernel.T @ x[:inputs]
                kernel @ d[:taps]
                x[:inputs] @ d[:taps].T

    return run


def main(_):
    limit_threads(FLAGS.threads)
    rows = []
    for case in FLAGS.cases:
        *numbers, modality = case.split(":")
        width, depth, steps, batch = map(int, numbers)
        arguments = (width, depth, steps, batch, modality)
        (update, compile_ours), (update_peer, compile_peer) = ours(*arguments), peer(*arguments)
        name = f"CNN({width},{depth}) m={steps} {modality}"
        more = {"batch": batch, "threads": FLAGS.threads}
        more["calls"] = FLAGS.updates
        rows.append(compare("ks_train_step", name, update, update_peer, FLAGS.pairs, **more))
        compiled = {"case": f"{name}, compile", "ours": compile_ours, "peer": compile_peer}
        rows.append({**rows[-1], **compiled, "ratio": compile_ours / compile_peer, "unit": "s"})
        floor = products(width, depth, steps, batch)
        rows.append(
            compare("ks_train_step", f"{name}, products", update, floor, FLAGS.pairs, **more)
        )
    show(rows, ("tensorflow", "keras", "jax", "equinox", "optax"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
