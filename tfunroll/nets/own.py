"""A user's own network: NET(domain, in_channels, out_channels, seed) -> a Keras model, in a file.

    def NET(domain, in_channels, out_channels, seed):
        inputs = keras.Input((*domain.shape, in_channels))
        x = keras.layers.Conv1D(16, 5, padding="same", activation="gelu")(inputs)
        return keras.Model(inputs, keras.layers.Conv1D(out_channels, 5, padding="same")(x))

The model maps [batch, *space, in_channels] to [batch, *space, out_channels]. While the function
runs, Keras's default dtype is that of the run, and initializers without a seed follow from
``seed``, so that it need not pass on either.
"""

import contextlib
import random

import keras
import numpy as np
import tensorflow as tf

from tfunroll import user_modules
from tfunroll.core import Domain, InputError
from tfunroll.files import why
from tfunroll.nets.weights import Weights

ATTRIBUTE = "NET"
SHAKEN = 0.05  # size of the random change of the weights at which gradients are looked at


def make(
    name: str, domain: Domain, in_channels: int, out_channels: int, seed: int, dtype: str
) -> keras.Model:
    """The model, built.

    Args: name: "path/to/module.py:NET"; see user_modules. dtype: of nets.DTYPES.
    Raises: InputError: no such function, or one that raises or returns no trainable Keras model.
    """
    function = user_modules.get("net", name, ATTRIBUTE)
    if not callable(function):
        raise InputError(
            f"net={name!r} is a {type(function).__name__}; needed: a function of (domain, "
            "in_channels, out_channels, seed) that returns a Keras model"
        )
    inputs = tf.zeros((1, *domain.shape, in_channels), _inside(dtype))
    try:
        with _defaults(dtype, seed):
            net = function(domain, in_channels, out_channels, seed)
            if isinstance(net, keras.Model) and not net.built:
                net(inputs)
    except InputError as error:
        raise InputError(f"net={name!r}: {error}") from None
    except Exception as error:
        raise InputError(f"net={name!r}: {type(error).__name__}: {why(error)}") from None
    if not isinstance(net, keras.Model):
        raise InputError(f"net={name!r} returned a {type(net).__name__}; needed: a keras.Model")
    try:
        weights = Weights(net)
    except InputError as error:
        raise InputError(f"net={name!r}: {error}") from None
    if weights.dtype != _inside(dtype):
        raise InputError(
            f"net={name!r} has weights in {weights.dtype}, precision={dtype} needs "
            f"{_inside(dtype)}: name no dtype in its layers"
        )
    return net


def check(
    name: str,
    domain: Domain,
    in_channels: int,
    out_channels: int,
    dtype: str = "float32",
    jit: bool = False,
) -> None:
    """Tries a network out, as solvers of a user's own are when they are made.

    Args: jit: whether XLA has to compile it.
    Raises: InputError: for another shape or dtype of the output, values that are not finite, a
      weight that no gradient reaches, an output that differs the second time or depends on the
      batch's other samples, weights that differ for equal seeds or are equal for different ones.
    """
    arguments = name, domain, in_channels, out_channels
    nets = [make(*arguments, seed, dtype) for seed in (1, 1, 2)]
    first, again, other = (Weights(net).read().numpy() for net in nets)
    if first.shape != again.shape or (first != again).any():
        raise InputError(f"net={name!r}: the same seed gave other weights the second time")
    if first.shape == other.shape and (first == other).all():
        raise InputError(
            f"net={name!r}: seeds 1 and 2 gave the same weights; draw them from ``seed``, or by "
            "initializers without one"
        )
    weights, rng = Weights(nets[0]), np.random.default_rng(0)
    shape = (3, *domain.shape, in_channels)
    u, noise = (tf.constant(rng.normal(size=shape), weights.dtype) for _ in range(2))
    flat = weights.read() + SHAKEN * tf.constant(rng.normal(size=weights.size), weights.dtype)

    @tf.function(jit_compile=jit, autograph=False)
    def tried(u):
        parts = [v.value for v in nets[0].trainable_variables]
        with tf.GradientTape() as tape:
            y = nets[0](u, training=False)
            loss = tf.reduce_mean(tf.square(tf.cast(y, weights.dtype) + 1))
        slopes = tape.gradient(loss, parts)
        reached.extend(slope is not None for slope in slopes)
        return y, [slope for slope in slopes if slope is not None]

    reached: list[bool] = []
    try:
        untrained = nets[0](u, training=False)
        _check_output(name, untrained, (*shape[:-1], out_channels), dtype)
        weights.write(flat)
        y, slopes = tried(u)
        twice, beside = tried(u)[0], tried(tf.concat([u[:1], noise[1:]], 0))[0]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"net={name!r}: {type(error).__name__}: {why(error)}") from None
    for variable, found in zip(nets[0].trainable_variables, reached, strict=False):
        if not found:
            raise InputError(f"net={name!r}: no gradient reaches its weight {variable.path}")
    if not all(np.isfinite(slope).all() for slope in slopes):
        raise InputError(f"net={name!r}: its gradient is not finite")
    if not any(np.any(slope) for slope in slopes):
        raise InputError(f"net={name!r}: its gradient is zero: no input changes what it does")
    y, twice, beside = (np.asarray(tf.cast(t, tf.float64)) for t in (y, twice, beside))
    rounding = 1e3 * np.finfo(weights.dtype).eps * max(np.abs(y).max(), 1)
    if (apart := np.abs(twice - y).max()) > rounding:
        raise InputError(
            f"net={name!r} is not deterministic: the same input twice gave answers {apart:.2g} "
            "apart"
        )
    if (apart := np.abs(beside[0] - y[0]).max()) > rounding:
        raise InputError(
            f"net={name!r} mixes the samples of a batch: a sample's answer differs by {apart:.2g} "
            "beside others"
        )


def _check_output(name, y, shape, dtype) -> None:
    if tuple(getattr(y, "shape", ())) != shape:
        found = f"shape {tuple(y.shape)}" if hasattr(y, "shape") else f"a {type(y).__name__}"
        raise InputError(f"net={name!r} returned {found} for a batch of 3; needed: {shape}")
    if y.dtype.name != dtype and dtype != "mixed_bfloat16":
        raise InputError(f"net={name!r} returned {y.dtype.name}; precision={dtype} needs {dtype}")
    if not np.isfinite(tf.cast(y, tf.float64)).all():
        raise InputError(f"net={name!r} returned NaN or infinity for an input of order one")


def _inside(dtype: str) -> str:
    """Of weights and inputs."""
    return "float32" if dtype == "mixed_bfloat16" else dtype


@contextlib.contextmanager
def _defaults(dtype: str, seed: int):
    """Keras's defaults while a user's function runs; as they were, afterwards."""
    before = keras.config.floatx(), keras.config.dtype_policy(), random.getstate()
    keras.config.set_floatx(_inside(dtype))
    keras.config.set_dtype_policy(dtype)
    random.seed(seed)  # Keras draws seeds of initializers that have none from here
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        random.setstate(before[2])
