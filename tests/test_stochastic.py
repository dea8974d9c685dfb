"""Steps with noise: the Ornstein-Uhlenbeck process is found, no noise is no change, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, dataset

import tfunroll as tu
from tfunroll import nets
from tfunroll.core import InputError
from tfunroll.data import Trajectories
from tfunroll.evaluation.evaluator import Evaluator, Settings
from tfunroll.metrics import ensembles
from tfunroll.nets.weights import Weights
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.features import Features
from tfunroll.stepping.losses import CRPS, Supervised
from tfunroll.stepping.steppers import with_net
from tfunroll.stepping.stochastic import Stochastic
from tfunroll.stepping.unrolling import NOG, ONE, WIG, numbered, rollout
from tfunroll.training.schedule import Stage
from tfunroll.training.subspaces import Modalities
from tfunroll.training.trainer import Trainer, Updates

# x ← x − λ Δt x + σ √Δt ξ
LAMBDA, SIGMA, DT = 1.0, 0.5, 0.1
VARIANCE = SIGMA**2 * DT / (1 - (1 - LAMBDA * DT) ** 2)


def softplus_inverse(x):
    return np.log(np.expm1(x))


def process(weights=(0.0, 0.0, 0.0, 0.0), members=4):
    """dx = μ dt + σ dW with μ and s linear in x."""
    net = keras.Sequential([keras.Input((64, 1)), keras.layers.Dense(2)])
    Weights(net).write(np.array(weights, np.float32))
    stepper = tu.Prediction(net, Features({}, 1, 1), residual=True, scale=DT)
    return Stochastic(stepper, members, start=0.2)


def of_known_values():
    """−λ x, and s such that σ = SIGMA: kernel [[μ, s]], bias [μ, s]."""
    return process((-LAMBDA, 0.0, 0.0, softplus_inverse(SIGMA) - softplus_inverse(0.2)))


@pytest.fixture(scope="module")
def ks_data():
    return dataset()


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    x = [np.sqrt(VARIANCE) * rng.standard_normal((8, 64, 1))]
    for _ in range(200):
        x.append((1 - LAMBDA * DT) * x[-1] + SIGMA * np.sqrt(DT) * rng.standard_normal((8, 64, 1)))
    states = np.stack(x, 1).astype(np.float32)
    return Trajectories(states, {}, tuple("abcdefgh"), np.zeros(8), {})


def test_the_stationary_variance(drawn):
    assert pytest.approx(0.13158, abs=1e-5) == VARIANCE
    states = rollout(of_known_values().bind({}), tf.zeros([100, 64, 1]), 200).numpy()
    assert states[:, 100:].var() == pytest.approx(VARIANCE, rel=0.02)
    assert np.corrcoef(states[:, -1, 0, 0], states[:, -1, 1, 0])[0, 1] < 0.3


@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(3)], ids=["ONE", "NOG", "WIG"])
def test_training_finds_the_process(drawn, unrolling):
    stage = Stage(unrolling, 400, 2e-2, batch_size=16)
    stepper = process()
    trainer = Trainer(stepper, drawn, stage, loss=CRPS(4), average=0.99, callbacks=[], jit=False)
    slope, of_sigma, offset, raw = trainer.fit(0).weights
    assert slope == pytest.approx(-LAMBDA, rel=0.12)
    assert np.log1p(np.exp(raw + softplus_inverse(0.2))) == pytest.approx(SIGMA, rel=0.05)
    assert abs(offset) < 0.05
    assert abs(of_sigma) < 0.1


def test_the_loss_is_the_fair_crps(drawn):
    """Of one update's members, and 1/√π · std where noise alone is forecast."""
    members, truth = np.random.default_rng(1).standard_normal((2, 3, 2, 5, 2))
    x = np.stack([members, members + 0.3, truth], 1).reshape(9, 2, 5, 2)  # [3 samples · 3 members]
    y = np.repeat(truth, 3, axis=0)
    found = CRPS(3).bind({})(0, None, tf.constant(x), tf.constant(y)).numpy()
    each = np.swapaxes(x.reshape(3, 3, 1, 2, 5, 2), 0, 1)
    wanted = ensembles.crps(each, truth[:, None])[:, 0]
    np.testing.assert_allclose(found, np.repeat(wanted, 3), rtol=1e-12)
    stepper = of_known_values()
    trainer = Trainer(stepper, drawn, Stage(ONE, 1), loss=CRPS(4), callbacks=[], jit=False)
    zero = tf.constant(0, tf.int64)
    batch = trainer._sample(trainer.windows.draw(zero, zero, 200, 1), zero, zero, 1)
    loss = trainer.objective.loss(trainer.weights.read(), batch, ONE)
    assert float(loss) == pytest.approx(SIGMA * np.sqrt(DT) / np.sqrt(np.pi), rel=0.02)


def correction(amplitude=1.0, dtype="float64"):
    net = nets.ResNet(width=4, depth=1, initial="glorot").build_for(
        KS, dtype=dtype, stochastic=True
    )
    plain = tu.ParallelCorrection(SOLVER, net, scale=0.01)
    return Stochastic(plain, 3, amplitude)


def fields():
    sizes = np.linspace(7.2, 9.6, 3)
    u = KS.initial_state({"domain_size": sizes}, 0)
    return tf.constant(u), {"domain_size": tf.constant(sizes)}


def test_no_amplitude_is_the_deterministic_stepper_bit_for_bit():
    u, params = fields()
    still = correction(0.0)
    plain = with_net(still.stepper, lambda x: still.net(x)[..., :1])
    found = rollout(still.bind(params), u, 4)
    np.testing.assert_array_equal(found, rollout(plain.bind(params), u, 4))
    assert np.abs(rollout(correction().bind(params), u, 4) - found).max() > 1e-6


def test_a_step_repeats_its_noise_and_others_do_not():
    u, params = fields()
    step = correction().bind(params)
    first, again, next_one = (numbered(step, k)(u).numpy() for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - next_one).min() > 0
    other = correction().keyed(tf.constant([0, 1])).bind(params)
    assert np.abs(numbered(other, 0)(u) - first).min() > 0
    assert np.abs(step(u) - step(u)).max() > 0  # by itself it draws anew


def test_there_is_noise_only_where_channels_live():
    active = np.ones((48, 2), bool)
    active[:7, 0] = False
    net = keras.Sequential([keras.Input((48, 2)), keras.layers.Dense(2)])
    features = Features({}, 2, 1, active=active)
    step = Stochastic(tu.Prediction(net, features, residual=True), start=1.0).bind({})
    changed = step(tf.zeros([2, 48, 2])).numpy()
    assert (changed[:, :7] == 0).all()
    assert (changed[..., 1] == 0).all()
    assert (changed[:, 7:, 0] != 0).all()


@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(2)], ids=["ONE", "NOG", "WIG"])
def test_seeds_side_by_side_and_recomputed_steps_have_the_same_noise(ks_data, unrolling):
    stage = Stage(unrolling, 5, 1e-3, batch_size=2)
    found = {}
    for rematerialise in (False, True):
        more = {"rematerialise": rematerialise, "callbacks": [], "jit": False}
        trainer = Trainer(correction(), ks_data.train, stage, loss=CRPS(2), **more)
        for seeds in (0, (0, 1)) if not rematerialise else (0,):
            updates = Updates(trainer, stage, seeds)
            updates(3)
            flat = updates.carry["flat"].numpy()
            found[rematerialise, seeds] = flat if seeds == 0 else flat[0]
    for flat in found.values():
        np.testing.assert_allclose(flat, found[False, 0], rtol=0, atol=1e-9)


def test_resuming_gives_the_same(drawn, tmp_path):
    def trainer(updates):
        stage = Stage(WIG(2), updates, 1e-2, batch_size=4)
        return Trainer(process(), drawn, stage, loss=CRPS(2), callbacks=[])

    whole = trainer(30).fit(0).weights
    trainer(13).fit(0, tmp_path)
    np.testing.assert_array_equal(trainer(30).fit(0, tmp_path).weights, whole)


def test_an_evaluation_has_members(ks_data):
    settings = Settings(3, 4, 1, ("relative_error",), ("validation",), "float64")
    labels = dict.fromkeys(("run_id", "mode", "correction", "net"), "x")
    labels |= {"modality": "ONE", "steps": 1, "seed": 0}
    found = Evaluator(correction(), KS, ks_data, settings).run(labels)
    table = found.results.set_index("metric")
    assert set(table["kind"]) == {"network"}
    assert (table.loc["crps", "value"] > 0).all()
    assert (table.loc["spread", "value"] > 0).all()
    assert found.samples["members_at_point"].shape == (3, 3, 4)


def test_seeds_of_it_are_an_ensemble_of_rollouts_alone():
    assert tu.Ensemble([correction(), correction()]).count == 2
    with pytest.raises(InputError, match="the mean of steps with noise has less noise"):
        tu.Ensemble([correction(), correction()], how="steps")


def test_a_configuration_names_it():
    config = RunConfig(stochastic=True, loss="crps", members=3, width=4, depth=1).resolved()
    plan = Plan(config)
    assert plan.loss.members == 3
    assert plan.net(0).out_channels == 2
    assert plan.stepper(plan.net(0)).members == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stochastic": True}, "stochastic=True, loss=supervised: .*give both"),
        ({"loss": "crps"}, "stochastic=False, loss=crps"),
        ({"stochastic": True, "loss": "physics", "dataset_config": "fine"}, "give both"),
        ({"stochastic": True, "loss": "crps", "members": 1}, "members=1 must be at least 2"),
        (
            {"stochastic": True, "loss": "crps", "level_weights": "last"},
            "allowed with loss=crps: uniform",
        ),
        (
            {"stochastic": True, "loss": "crps", "ladder": "substeps:1..2"},
            "a stochastic stepper has",
        ),
        (
            {"stochastic": True, "loss": "crps", "subspace": "modalities", "modalities": ("WIG",)},
            "subspace=modalities has no CRPS",
        ),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        RunConfig(**changes).resolved()


def test_objects_that_do_not_fit(drawn):
    stage, stepper = Stage(ONE, 1), process()
    with pytest.raises(InputError, match="members=1 of the CRPS must be at least 2"):
        CRPS(1)
    with pytest.raises(InputError, match="members=1 of Stochastic must be at least 2"):
        Stochastic(stepper.stepper, 1)
    with pytest.raises(InputError, match="amplitude=-1"):
        Stochastic(stepper.stepper, amplitude=-1)
    with pytest.raises(InputError, match="is a KuramotoSivashinsky without a network"):
        Stochastic(SOLVER)
    with pytest.raises(InputError, match="Supervised does not judge the members"):
        Trainer(stepper, drawn, stage, loss=Supervised(), callbacks=[])
    with pytest.raises(InputError, match="needed: a Stochastic"):
        Trainer(stepper.stepper, drawn, stage, loss=CRPS(), callbacks=[])
    with pytest.raises(InputError, match="subspace=modalities has no CRPS"):
        Trainer(stepper, drawn, stage, loss=CRPS(), callbacks=[], subspace=Modalities())
    single = keras.Sequential([keras.Input((64, 1)), keras.layers.Dense(1)])
    of_one = Stochastic(tu.Prediction(single, Features({}, 1, 1), residual=True))
    with pytest.raises(InputError, match=r"needed is \[1, 64, 2\]"):
        Trainer(of_one, drawn, stage, loss=CRPS(), callbacks=[])
