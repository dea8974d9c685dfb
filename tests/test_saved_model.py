"""A trained stepper exported, and stepped by a process that cannot import tfunroll."""

import pathlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from trainings import trained_folder

import tfunroll
from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.runs.models import check_start

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "step_saved_model.py"


@pytest.mark.parametrize("net", ["resnet", "graph"])
def test_exported_step_equals_the_stepper(tmp_path, net):
    trained_folder(tmp_path / "net", net=net)
    assert "domain_size" in tfunroll.export(tmp_path / "net", tmp_path / "out")
    model, stepper = tf.saved_model.load(str(tmp_path / "out")), tfunroll.load(tmp_path / "net")
    for batch in (1, 3):
        u = tf.constant(np.random.default_rng(0).normal(size=(batch, 48, 1)), tf.float32)
        params = {"domain_size": tf.constant([7.44, 8.0, 11.2][:batch])}
        np.testing.assert_allclose(
            model.step(u, params), stepper.bind(params)(u), rtol=1e-6, atol=1e-6
        )


def test_a_stepper_with_noise_draws_anew_in_every_step(tmp_path):
    trained_folder(tmp_path / "net", stochastic=True, loss="crps", initial="zero")
    tfunroll.export(tmp_path / "net", tmp_path / "out")
    model, stepper = tf.saved_model.load(str(tmp_path / "out")), tfunroll.load(tmp_path / "net")
    u, params = tf.zeros([200, 48, 1]), {"domain_size": tf.fill([200], 8.0)}
    still = replace(stepper.stepper, amplitude=0.0).bind(params)(u)
    noise = model.step(u, params) - still
    wanted = 0.01 * np.sqrt(stepper.stepper.stepper.scale)  # of an untrained network
    assert np.std(noise) == pytest.approx(wanted, rel=0.05)
    assert np.abs(model.step(u, params) - still - noise).max() > 0.01


def test_the_example_needs_no_tfunroll(tmp_path):
    trained_folder(tmp_path / "net", correction="sequential", coarse="etdrk2", width=2)
    tfunroll.export(tmp_path / "net", tmp_path / "out")
    block = "import sys; sys.modules['tfunroll'] = sys.modules['keras'] = None; "
    code = block + f"sys.argv[1] = {str(tmp_path / 'out')!r}; exec(open({str(EXAMPLE)!r}).read())"
    done = subprocess.run(
        [sys.executable, "-c", code, ""], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "frame 50: rms" in done.stdout


def test_missing_network(tmp_path):
    with pytest.raises(InputError, match="holds no trained network"):
        tfunroll.export(tmp_path, tmp_path / "out")


def test_channels_that_do_not_fit_the_system(tmp_path):
    trained_folder(tmp_path)
    file = tmp_path / "model.json"
    file.write_text(file.read_text().replace('"state_channels": 1', '"state_channels": 2'))
    with pytest.raises(InputError, match="in_channels=3, system=ks with mode=correction needs 2"):
        tfunroll.load(tmp_path)


def test_a_start_of_another_network(tmp_path):
    config = trained_folder(tmp_path)
    check_start(tmp_path, config)
    other = RunConfig(net="fno", width=4, depth=1).resolved()
    with pytest.raises(InputError, match="start_from: its networks have net=resnet, this run fno"):
        check_start(tmp_path, other)
