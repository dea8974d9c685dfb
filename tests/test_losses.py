"""Losses of one unrolled step: known values, what they leave open, sums, factors, mistakes."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import SOLVER, dataset, small_net

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.losses import (
    H1,
    Loss,
    Mixed,
    PhysicsResidual,
    Spectral,
    Supervised,
    mean_squared_error,
    terms,
)
from tfunroll.stepping.steppers import ParallelCorrection
from tfunroll.stepping.unrolling import NOG, WIG
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer, Updates

KS = systems.get("ks")
PARAMS = {"domain_size": tf.constant([7.2, 9.0], tf.float64)}


def states(count):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(2, 48, 1))) for _ in range(count)]


def test_mean_squared_error_is_the_mean_over_space_and_channels_of_each_sample():
    a, b = states(2)
    wanted = np.mean((a.numpy() - b.numpy()) ** 2, (1, 2))
    np.testing.assert_allclose(mean_squared_error(a, b), wanted, rtol=1e-14)
    np.testing.assert_array_equal(mean_squared_error(a, a), [0, 0])


def test_supervised_compares_the_new_state_with_the_target():
    before, after, target = states(3)
    loss = Supervised().bind({})
    np.testing.assert_array_equal(loss(0, before, after, target), mean_squared_error(after, target))
    np.testing.assert_array_equal(loss(0, before, target, target), [0, 0])


def test_physics_residual_is_zero_for_the_reference_alone():
    residual = PhysicsResidual(KS.reference()).bind(PARAMS)
    before, wrong, target = states(3)
    right = KS.reference().bind(PARAMS)(before)
    np.testing.assert_array_equal(residual(0, before, right, target), [0, 0])
    wanted = mean_squared_error(wrong, right)
    np.testing.assert_allclose(residual(0, before, wrong, target), wanted, rtol=1e-14)


def test_physics_residual_has_gradients_to_both_states():
    residual = PhysicsResidual(KS.reference()).bind(PARAMS)
    before, after, target = states(3)
    with tf.GradientTape() as tape:
        tape.watch([before, after, target])
        loss = residual(0, before, after, target)
    to_before, to_after, to_target = tape.gradient(loss, [before, after, target])
    assert np.abs(to_before).max() > 0
    assert np.abs(to_after).max() > 0
    assert to_target is None


def test_a_loss_that_is_not_one_per_sample_is_refused_in_a_sum_too():
    class Loose(Loss):
        def bind(self, params):
            return lambda k, before, after, target: tf.reduce_mean(after)

    loss = (Supervised() + Loose()).bind({})
    with pytest.raises(InputError, match=r"loss=Loose gives .* \(\) .* needed: one per sample, "):
        loss(0, *states(3))


class Mean(Loss):
    """A user's: the squared mean of the new state."""

    def bind(self, params):
        return lambda k, before, after, target: tf.square(tf.reduce_mean(after, [1, 2]))


def test_losses_add_up():
    before, after, target = states(3)
    loss = (Supervised() + 0.1 * Mean()).bind({})
    wanted = mean_squared_error(after, target) + 0.1 * np.mean(after, (1, 2)) ** 2
    np.testing.assert_allclose(loss(0, before, after, target), wanted, rtol=1e-14)


def test_a_factor_may_depend_on_the_step():
    before, after, target = states(3)
    loss, plain = ([1.0, 0.5] * Supervised()).bind({}), mean_squared_error(after, target)
    for k, factor in ((0, 1.0), (tf.constant(1), 0.5)):
        np.testing.assert_array_equal(loss(k, before, after, target), factor * plain)
    ([1.0, 0.5] * Supervised()).unrolled(WIG(2))
    with pytest.raises(InputError, match="factor of a loss has 2 levels; an unrolling has 3 steps"):
        (Mean() + [1.0, 0.5] * Supervised()).unrolled(WIG(3))


def test_what_is_open_comes_from_the_stepper():
    """The channels that the network changes, where they live."""
    wake = systems.get("wake")
    kinds = (next(iter(wake.corrections)),)
    stepper = wake.stepper(lambda x: x, wake.features("correction"), "correction", *kinds)
    fitted = (Supervised() + Mean()).fitted(stepper).terms[0]
    assert fitted.channels == wake.features("correction").out_channels
    np.testing.assert_array_equal(fitted.active, wake.active)
    assert Supervised(channels=1).fitted(stepper).channels == 1


def test_a_residual_needs_a_solver():
    with pytest.raises(InputError, match="reference=None of PhysicsResidual is no solver"):
        PhysicsResidual(None)


# ---------------------------------------------------------------------- of modes


def plane_waves(amplitude, shift=0.0):
    """Two channels on 12 x 16 cells: a cos(3x + 2y + shift), and zero."""
    y, x = np.meshgrid(np.arange(12) / 12, np.arange(16) / 16, indexing="ij")
    wave = amplitude * np.cos(2 * np.pi * (3 * x + 2 * y) + shift)
    return tf.constant(np.stack([wave, 0 * wave], -1)[None])


def value(loss, after, target):
    return float(loss.bind({})(0, after, after, target)[0])


def test_h1_weighs_each_mode_by_its_wavenumber():
    """a²/2 · (1 + 3² + 2²) of a wave, mean over two channels; in one dimension a²/2 · (1 + k²)."""
    after, target = plane_waves(0.7, 1.0), plane_waves(0.0)
    assert value(H1(), after, target) == pytest.approx(0.49 / 2 * 14 / 2, rel=1e-12)
    assert value(H1(channels=1), after, target) == pytest.approx(0.49 / 2 * 14, rel=1e-12)
    x = 2 * np.pi * np.arange(48)[None, :, None] / 48
    for k, square in ((0, 1), (5, 0.5), (24, 1)):  # the last is the grid's own wave
        wave = tf.constant(np.cos(k * x))
        assert value(H1(), wave, 0 * wave) == pytest.approx(square * (1 + k**2), rel=1e-12)


def test_spectral_knows_amplitudes_and_not_phases():
    a, b = plane_waves(0.7, 1.0), plane_waves(0.7, -0.4)
    assert value(Spectral(), a, b) == pytest.approx(0, abs=1e-15)
    assert value(Spectral(), a, plane_waves(0.4, 2.0)) == pytest.approx(0.3**2 / 2 / 2, rel=1e-12)
    u, r = states(2)
    assert value(Spectral(), u, r) < value(Supervised(), u, r)
    assert value(Spectral(), 1.3 * r, r) == pytest.approx(
        value(Supervised(), 1.3 * r, r), rel=1e-12
    )


@pytest.mark.parametrize("loss", [Spectral(), H1()])
def test_their_gradients_are_differences(loss):
    u, r = states(2)
    direction = states(3)[2]
    for jit in (False, True):

        @tf.function(jit_compile=jit, autograph=False)
        def slope(u):
            with tf.GradientTape() as tape:
                tape.watch(u)
                out = tf.reduce_sum(loss.bind({})(0, u, u, r))
            return tape.gradient(out, u)

        ends = [tf.reduce_sum(loss.bind({})(0, u, u + s * 1e-6 * direction, r)) for s in (1, -1)]
        exact = tf.reduce_sum(slope(u) * direction)
        np.testing.assert_allclose(exact, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)
        assert np.isfinite(slope(tf.zeros_like(u))).all()  # amplitudes of zero have no slope of inf


# ---------------------------------------------------------------------- mixed


def test_mixed_is_zero_on_the_solvers_own_trajectory():
    step = KS.reference().bind(PARAMS)
    u = tf.constant(KS.initial_state({"domain_size": PARAMS["domain_size"].numpy()}, 0))
    first, second = step(u), step(step(u))
    mixed = Mixed(KS.reference()).bind(PARAMS)
    pair = tf.concat([first, second], -1)
    np.testing.assert_array_equal(mixed(0, u, first, pair), [0, 0])
    wrong = first + 0.1 * tf.cos(3 * first)
    np.testing.assert_allclose(
        mixed(0, u, wrong, pair), mean_squared_error(step(wrong), second), rtol=1e-14
    )


def test_terms_that_look_ahead_stand_beside_others():
    loss = Supervised() + 0.5 * Mixed(KS.reference()) + Mean()
    assert (loss.ahead, Supervised().ahead, Spectral().ahead) == (1, 0, 0)
    u, after, target, following = states(4)
    pair = tf.concat([target, following], -1)
    parts = [(1.0, Supervised(), target), (0.5, Mixed(KS.reference()), pair), (1.0, Mean(), target)]
    wanted = sum(f * part.bind(PARAMS)(0, u, after, t) for f, part, t in parts)
    np.testing.assert_allclose(loss.bind(PARAMS)(0, u, after, pair), wanted, rtol=1e-14)


def test_mixed_training_reads_a_frame_more():
    """Its first update is that of the loss by hand, and Supervised's is what it was."""
    data, plan = dataset().splits["train"], NOG(2)
    stepper = ParallelCorrection(SOLVER, small_net("float64"), KS.features("correction"))
    stage = Stage(plan, 10, batch_size=3)
    trainer = Trainer(stepper, data, stage, loss=Mixed(KS.reference()), callbacks=[], jit=False)
    updates = Updates(trainer, stage)
    flat = updates.carry["flat"]
    got = float(updates(1)["loss"])
    draws = trainer.windows.draw(0, tf.constant(0, tf.int64), 3, 3)
    frames, params = trainer.windows.read(*draws, 3)
    step, reference = trainer.at(flat).bind(params), KS.reference().bind(params)
    state, wanted = frames[:, 0], 0.0
    for k in range(2):
        state = step(state)
        wanted += mean_squared_error(reference(state), frames[:, k + 2]) / 2
    assert got == pytest.approx(float(tf.reduce_mean(wanted)), rel=1e-12)
    with pytest.raises(InputError, match="steps=40 does not fit"):
        trainer.with_schedule(Stage(NOG(39), 1))


def test_a_flag_names_sums():
    assert terms("supervised") == ((1.0, "supervised"),)
    assert terms("supervised+0.1*spectral") == ((1.0, "supervised"), (0.1, "spectral"))
    config = RunConfig(loss="supervised+0.1*h1+2*mixed", dataset_config="tiny").resolved()
    loss = Plan(config).loss
    assert [type(term).__name__ for term in loss.terms] == ["Supervised", "Scaled", "Scaled"]
    assert [term.factor for term in loss.terms[1:]] == [0.1, 2.0]
    assert isinstance(Plan(RunConfig(loss="spectral").resolved()).loss, Spectral)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "supervised+0.1*spectra"}, "loss='spectra' is unknown; allowed: crps, h1, mixed"),
        ({"loss": "0*h1"}, "factors must be numbers above 0"),
        ({"loss": "a*h1"}, "factors must be numbers above 0"),
        ({"loss": "h1+2*h1"}, "names one twice"),
        ({"loss": "h1", "system": "wake"}, "loss=h1 is defined on periodic boxes, not for wake"),
        ({"loss": "mixed", "system": "kolmogorov"}, "loss=mixed needs data on the reference"),
        ({"loss": "h1", "level_weights": "last"}, "are those of loss=supervised"),
    ],
)
def test_impossible_losses(settings, message):
    with pytest.raises(InputError, match=message) as error:
        RunConfig(**settings).resolved()
    assert "\n" not in str(error.value)


def test_mixed_needs_a_gradient_in_every_modality():
    class Outside(type(KS.reference())):
        differentiable = False

    with pytest.raises(InputError, match="through the reference solver in every modality"):
        Mixed(Outside())
    with pytest.raises(InputError, match="reference=None of Mixed is no solver"):
        Mixed(None)
