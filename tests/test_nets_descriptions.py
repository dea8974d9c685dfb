"""Networks described and built for a System."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import tensorflow as tf
from contracts import SMALL

from tfunroll import nets, systems
from tfunroll.core import InputError
from tfunroll.nets.building import best

KS, FLOW = systems.get("ks"), systems.get("kolmogorov")
OF = {
    "resnet": nets.ResNet,
    "unet": nets.UNet,
    "attention_unet": nets.AttentionUNet,
    "fno": nets.FNO,
    "graph": nets.GraphNet,
    "transformer": nets.Transformer,
}
every_net = pytest.mark.parametrize("name", nets.NETS)


def test_every_architecture_has_a_description():
    assert {name: made.NAME for name, made in OF.items()} == {name: name for name in nets.NETS}


@every_net
@pytest.mark.parametrize(("system", "mode"), [(KS, "correction"), (FLOW, "prediction")])
def test_a_described_network_is_the_one_of_build(name, system, mode, tmp_path):
    options = {**SMALL[name], "initial": "glorot"}
    net = OF[name](**options).build_for(system, mode, seed=3, dtype="float64")
    features = net.features
    assert features.out_channels == system.features(mode).out_channels
    channels = features.in_channels, features.out_channels
    wanted = nets.build(name, system.domain, *channels, **options, seed=3, dtype="float64")
    assert type(net) is type(wanted)
    assert net.get_config() | {"name": ""} == wanted.get_config() | {"name": ""}
    for ours, theirs in zip(net.weights, wanted.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    x = tf.random.stateless_normal((2, *system.domain.shape, channels[0]), [1, 2], dtype=tf.float64)
    np.testing.assert_array_equal(net(x), wanted(x))

    net.save(tmp_path / "net.keras")
    loaded = nets.keras.models.load_model(tmp_path / "net.keras")
    assert net.features is features
    assert loaded.features is None
    np.testing.assert_array_equal(loaded(x), net(x))


@every_net
def test_the_default_start_is_the_best_known(name):
    assert OF[name]().build_for(KS).initial == best(name)
    assert nets.build(name, KS.domain, 2, 1).initial == best(name)
    assert OF[name](initial="fan_in").build_for(KS).initial == "fan_in"


def test_sizes_and_widths():
    assert nets.ResNet(width=26, depth=8).build_for(KS).count_params() == 33_125
    assert nets.ResNet(size="32k").build_for(KS).count_params() == 33_125
    assert nets.ResNet(widths=(3, 5)).build_for(FLOW).widths == (3, 5)
    assert nets.FNO(modes=3).build_for(KS).modes == 3


@every_net
def test_descriptions_are_plain_values(name):
    made = OF[name](width=4)
    assert made == copy.deepcopy(made) == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(OF[name](width=4))
    with pytest.raises(FrozenInstanceError):
        made.width = 5
    assert all(field.default in (None, ()) for field in fields(made))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nets.ResNet(modes=3),
            "modes: ResNet has no such argument; allowed: width, depth, ",
        ),
        (lambda: nets.ResNet(16, 4), "ResNet: arguments go by name"),
        (lambda: nets.ResNet(width="16").build_for(KS), "width='16' must be a whole number"),
        (lambda: nets.ResNet(width=2.5).build_for(KS), "width=2.5 must be a whole number"),
        (lambda: nets.ResNet(depth=0).build_for(KS), "depth=0 must be at least 1"),
        (lambda: nets.ResNet(widths=4).build_for(KS), "widths=4 must be a list of whole numbers"),
        (lambda: nets.ResNet(widths=(4,), depth=2).build_for(KS), "widths: give either"),
        (lambda: nets.UNet(depth=7).build_for(KS), r"depth=7 is too much .*allowed: up to 5"),
        (lambda: nets.FNO(modes=99).build_for(KS), r"modes=99 is too much .*allowed: up to 24"),
        (lambda: nets.Transformer(width=9).build_for(KS), "width=9 of a transformer must be even"),
        (lambda: nets.GraphNet(size="33k").build_for(KS), "size='33k' is unknown"),
        (lambda: nets.UNet(initial="orthogonal").build_for(KS), "initial='orthogonal' is unknown"),
        (lambda: nets.UNet().build_for(KS, "guess"), "mode='guess' is unknown"),
        (lambda: nets.UNet().build_for(KS, dtype="float16"), "dtype='float16' is unknown"),
        (lambda: nets.UNet().build_for(KS, seed=-1), "seed=-1 must be a whole number, at least 0"),
        (
            lambda: nets.UNet().build_for("ks"),
            r"system='ks'; needed: a System, such as systems.get",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
