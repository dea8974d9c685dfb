"""Networks that come with the package: loaded by name, small, and better than their solver."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import tfunroll as tu
from tfunroll import metrics
from tfunroll.runs.models import PRETRAINED, describe, pretrained
from tfunroll.stepping.unrolling import repeat

CARDS = pathlib.Path(__file__).parents[1] / "docs" / "models.md"


def test_each_has_a_card_and_is_small():
    assert pretrained() == ["ks-correction-small"]
    for name in pretrained():
        assert f"## {name}\n" in CARDS.read_text(encoding="utf-8")
        files = [path for path in (PRETRAINED / name).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 1_000_000
        config, _ = describe(name)
        assert config.data_dir == config.data == ""  # nothing of the machine that trained it


def test_it_corrects_the_solver():
    """On a domain size that it has not seen; the card's figures come from other states of it."""
    system = tu.systems.ks.make()
    params = {"domain_size": tf.constant([7.44, 9.2, 9.2])}  # test_interpolation
    start = tf.constant(system.initial_state(params, seed=7), tf.float32)
    start = repeat(system.reference().bind(params), 200)(start)

    def rollout(stepper):
        return tu.rollout(stepper.bind(params), start, 12).numpy()

    reference = rollout(system.reference())
    errors = {
        name: metrics.errors.relative_error(rollout(stepper), reference).mean()
        for name, stepper in (
            ("network", tu.load("ks-correction-small")),
            ("coarse", system.coarse()),
        )
    }
    assert errors["network"] < 0.05 * errors["coarse"]


@pytest.mark.parametrize("page", ["models.md", "start.md"])
def test_the_lines_of_the_pages_run(page):
    text = (CARDS.parent / page).read_text(encoding="utf-8")
    code = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "load(" in b)
    names = {}
    exec(compile(code, page, "exec"), names)
    assert names["u"].shape == (2, 48, 1)
    assert 0.5 < np.std(names["u"]) < 3  # 100 frames later still on the attractor


def test_an_unknown_name_lists_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tu.InputError, match="along are ks-correction-small$") as error:
        tu.load("ks-correction-smal")
    assert "\n" not in str(error.value)


def test_a_folder_of_that_name_is_meant_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ks-correction-small").mkdir()
    with pytest.raises(tu.InputError, match="holds no trained network"):
        tu.load("ks-correction-small")


def test_it_is_exported_by_name(tmp_path):
    tu.export("ks-correction-small", tmp_path / "out")
    model, stepper = tf.saved_model.load(str(tmp_path / "out")), tu.load("ks-correction-small")
    u = tf.constant(np.random.default_rng(0).normal(size=(2, 48, 1)), tf.float32)
    params = {"domain_size": tf.constant([7.44, 9.2])}
    np.testing.assert_allclose(model.step(u, params), stepper.bind(params)(u), rtol=1e-5, atol=1e-5)
