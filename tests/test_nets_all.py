"""What every architecture of ours must do besides its contract: boundaries, shifts, XLA, sizes."""

import numpy as np
import pytest
import tensorflow as tf
from contracts import SMALL, shaken

from tfunroll import nets
from tfunroll.core import Domain, InputError
from tfunroll.nets import sizes

P, Z, R = ("periodic",) * 2, ("zero",) * 2, ("replicate",) * 2
RING = Domain((16,), (P,))
TORUS = Domain((16, 8), (P, P))
DUCT = Domain((9, 12), (Z, R))  # walls below and above, inflow and outflow; an odd axis
O_GRID = Domain((12, 7), (P, ("zero", "replicate")))  # round the aerofoil, wall to far field
# Shifts that leave a periodic network's output shifted: 1 cell, the coarsest level's, a patch.
STRIDES = {"unet": 4, "attention_unet": 4, "transformer": 4}

every_net = pytest.mark.parametrize("name", nets.NETS)


def build(name, domain=RING, dtype="float64", seed=0, **options):
    options = {**SMALL[name], "initial": "glorot", **options}
    return nets.build(name, domain, 2, 1, **options, seed=seed, dtype=dtype)


def random_input(domain=RING, dtype="float64", batch=2):
    return tf.constant(np.random.default_rng(1).normal(size=(batch, *domain.shape, 2)), dtype)


@every_net
@pytest.mark.parametrize("domain", [RING, DUCT])
def test_gradient_by_the_input_equals_finite_differences(name, domain):
    net, x = shaken(build(name, domain)), random_input(domain)
    direction = tf.constant(np.random.default_rng(2).normal(size=x.shape))

    def loss(x):
        return tf.reduce_sum(tf.sin(3 * net(x)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    exact = tf.reduce_sum(tape.gradient(value, x) * direction)
    h = 1e-6
    difference = (loss(x + h * direction) - loss(x - h * direction)) / (2 * h)
    np.testing.assert_allclose(exact, difference, rtol=2e-6)


@every_net
@pytest.mark.parametrize("domain", [RING, TORUS])
def test_shifts_of_a_periodic_field_shift_the_output(name, domain):
    net, x = shaken(build(name, domain)), random_input(domain)
    axes = list(range(1, 1 + len(domain.shape)))
    shift = [STRIDES.get(name, 1)] * len(axes)
    wanted = tf.roll(net(x), shift, axes)
    np.testing.assert_allclose(net(tf.roll(x, shift, axes)), wanted, atol=1e-13)
    assert np.abs(wanted - net(x)).max() > 1e-3


@every_net
def test_a_constant_field_stays_constant_where_the_boundary_repeats_it(name):
    domain = Domain((8, 12), (P, R))
    y = shaken(build(name, domain))(tf.ones((1, 8, 12, 2), tf.float64)).numpy()
    if name == "graph":  # along x, cells beside the boundary have fewer neighbours
        y = y[:, :, :1]
    if name == "transformer":  # the cells of a patch differ, and so do the patches along x
        y = y[:, ::4, :1]
    np.testing.assert_allclose(y, y.flat[0], rtol=1e-12)


@every_net
@pytest.mark.parametrize(
    ("dtype", "domain"),
    [
        ("float32", RING),
        pytest.param("float64", DUCT, marks=pytest.mark.slow),
        pytest.param("float32", O_GRID, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", TORUS, marks=pytest.mark.slow),
    ],
)
def test_xla_compiles_forward_and_gradient(name, dtype, domain):
    net = shaken(build(name, domain, dtype, depth=1))
    x = random_input(domain, "float64" if dtype == "float64" else "float32")

    def run(x):
        variables = [v.value for v in net.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch([x, *variables])
            y = net(x)
            loss = tf.reduce_mean(tf.cast(y, x.dtype) ** 2)
        return y, *tape.gradient(loss, [x, *variables])

    tolerance = {"float32": 1e-5, "float64": 1e-12, "mixed_bfloat16": 0.1}[dtype]
    for plain, compiled in zip(run(x), tf.function(run, jit_compile=True)(x), strict=True):
        assert compiled.dtype == x.dtype
        assert tf.norm(compiled - plain) <= tolerance * tf.norm(plain)


@every_net
def test_network_and_layers_can_be_made_again_from_their_configuration(name):
    layers = [x for x in build(name)._flatten_layers() if hasattr(x, "get_config")]
    assert len(layers) > 2
    for layer in layers:
        config = layer.get_config()
        assert type(layer).from_config(config).get_config() == config


@every_net
@pytest.mark.parametrize(
    "label",
    [
        *("1k", "32k"),
        *(pytest.param(label, marks=pytest.mark.slow) for label in (*sizes.TARGETS,)[3:]),
    ],
)
@pytest.mark.parametrize(
    ("domain", "channels"),
    [(Domain((48,), (P,)), (2, 1)), (Domain((32, 32), (P, P)), (4, 2))],
    ids=["ks", "32x32"],
)
def test_size_labels_say_the_weight_count(name, label, domain, channels):
    net = nets.build(name, domain, *channels, size=label)
    assert net.count_params() == pytest.approx(sizes.TARGETS[label], rel=sizes.TOLERANCE)


@every_net
def test_the_default_is_about_as_large_for_all(name):
    assert nets.build(name, Domain((48,), (P,)), 2, 1).count_params() == pytest.approx(
        6000, rel=0.2
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "unet", "depth": 5}, r"depth=5 .* \(16,\) .*allowed: up to 4"),
        ({"name": "fno", "modes": 9}, r"modes=9 .* allowed: up to 8"),
        ({"name": "fno", "modes": 0}, "modes=0 must be at least 1"),
        ({"name": "resnet", "modes": 3}, "modes=3: only net=fno"),
        ({"name": "transformer", "width": 9}, "width=9 .* even; nearest: 10"),
        ({"name": "transformer", "domain": Domain((3,), (P,))}, "needs 4 points per axis"),
        ({"name": "unet", "widths": (4, 4)}, "widths: only net=resnet"),
        ({"name": "resnet", "widths": (4, 0)}, "widths=0 must be at least 1"),
        ({"name": "resnet", "widths": (4,), "depth": 2}, "widths: give either"),
        (
            {"name": "transformer", "in_channels": 400, "size": "1k"},
            r"size=1k: no width of net=transformer has 1,000 .* nearest: --width=2 with 3,",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        nets.build(**{"domain": RING, "in_channels": 2, "out_channels": 1, **options})
