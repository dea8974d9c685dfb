"""Lines and simplexes of networks: gradients of ends, points, checkpoints, what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, dataset, small_net, small_trainer

import tfunroll as tu
from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.runs.models import load, save_description
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training import core, subspaces
from tfunroll.training.schedule import Stage
from tfunroll.training.subspaces import Line, Modalities, Simplex, mixed
from tfunroll.training.trainer import Updates

STAGES = [Stage(ONE, 20, 1e-2, batch_size=4), Stage(WIG(3), 20, 1e-2, batch_size=4)]


@pytest.fixture(scope="module")
def data():
    return dataset()


def made(data, subspace, unrolling):
    """A trainer, a batch of it, and the coordinates that its update draws."""
    stage = Stage(unrolling, 10, batch_size=4)
    trainer = small_trainer(data, stage, "float64", subspace=subspace, jit=False)
    zero, update = (tf.constant(n, tf.int64) for n in (0, 3))
    drawn = trainer.windows.draw(zero, zero, 4, unrolling.steps)
    batch = trainer._sample(drawn, zero, update, unrolling.steps)
    if subspace is None:
        return trainer, batch, None
    return trainer, batch, subspace.coordinates(batch.keys, tf.float64).numpy()


@pytest.mark.parametrize("subspace", [Line(0.0), Simplex(0.0, 3)], ids=["line", "simplex"])
@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(2)], ids=["ONE", "NOG", "WIG"])
def test_an_end_has_its_share_of_the_gradient_at_the_point(data, subspace, unrolling):
    trainer, batch, alpha = made(data, subspace, unrolling)
    plain = made(data, None, unrolling)[0].objective
    ends = trainer._initial(0).reshape(subspace.ends, -1)
    wanted = plain.gradient(tf.constant(alpha @ ends), batch, unrolling)
    found = trainer.objective.gradient(tf.constant(ends.ravel()), batch, unrolling)
    assert float(found.loss) == pytest.approx(float(wanted.loss), rel=1e-12)
    parts = found.vector.numpy().reshape(subspace.ends, -1)
    np.testing.assert_allclose(parts, np.outer(alpha, wanted.vector), rtol=1e-9, atol=1e-14)


def test_equal_ends_move_their_middle_by_a_share_of_the_gradient(data):
    """Plain descent of rate η: the middle by −ηg/n whatever α was, the point by −η g Σα²."""
    for subspace in (Line(0.0), Simplex(0.0, 4)):
        trainer, batch, alpha = made(data, subspace, ONE)
        one = trainer._of_seed(0)
        ends = tf.constant(np.tile(one, subspace.ends))
        g = made(data, None, ONE)[0].objective.gradient(tf.constant(one), batch, ONE).vector
        moved = ends - 0.1 * trainer.objective.gradient(ends, batch, ONE).vector
        middle, point = subspace.middle(moved) - one, subspace.point(moved, alpha) - one
        np.testing.assert_allclose(middle, -0.1 * g / subspace.ends, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(point, -0.1 * g * (alpha**2).sum(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("count", "squares"), [(2, 2 / 3), (3, 1 / 2), (6, 2 / 7)])
def test_coordinates_are_even_on_the_simplex(count, squares):
    """Each in [0, 1] with sum 1 and mean 1/n; the mean of Σα² is 2 / (n + 1)."""
    keys = tf.stack([tf.zeros(4000, tf.int64), tf.range(4000, dtype=tf.int64)], 1)
    alpha = Simplex(ends=count).coordinates(keys, tf.float64).numpy()
    np.testing.assert_allclose(alpha.sum(1), 1, rtol=1e-12)
    assert alpha.min() >= 0
    np.testing.assert_allclose(alpha.mean(0), 1 / count, atol=0.02)
    assert np.square(alpha).sum(1).mean() == pytest.approx(squares, abs=0.01)
    one = Simplex(ends=count).coordinates(keys[7], tf.float64)
    np.testing.assert_array_equal(one, alpha[7])


def test_the_repulsion():
    def pull(*ends, kind=Line):
        return float(kind(2.0).pull(tf.constant(np.concatenate(ends))))

    assert pull([1.0, 0, 0], [0, 2.0, 0]) == 0
    assert pull([1.0, 2, 3], [-2.0, -4, -6]) == pytest.approx(2.0)
    assert pull([1.0, 0], [1.0, 1]) == pytest.approx(2 * 0.5)
    assert pull([1.0, 0], [1.0, 1], [0, 1.0], kind=Simplex) == pytest.approx(2 * (0.5 + 0.5) / 3)


def test_the_repulsion_is_in_the_gradient_alone_and_right(data):
    (apart, batch, _), plain = made(data, Line(2.0), ONE), made(data, Line(0.0), ONE)[0]
    flat = tf.constant(apart._initial(0) + 0.1)
    found, without = (t.objective.gradient(flat, batch, ONE) for t in (apart, plain))
    assert found.loss == without.loss
    difference = (found.vector - without.vector).numpy()
    direction = np.random.default_rng(0).standard_normal(flat.shape)
    step = 1e-6
    ends = [Line(2.0).pull(flat + sign * step * direction) for sign in (1, -1)]
    assert difference @ direction == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)
    assert np.abs(difference).max() > 1e-4


def test_a_line_from_one_to_wig_has_the_mean_of_both_gradients(data):
    trainer, batch, alpha = made(data, Modalities(0.0), WIG(3))
    plain = made(data, None, WIG(3))[0].objective
    ends = trainer._initial(0).reshape(2, -1)
    point = tf.constant(alpha @ ends)
    wig = plain.gradient(point, batch, WIG(3)).vector
    singles = core.Batch(
        tf.concat([batch.start, *(batch.targets[:, k] for k in range(2))], 0),
        tf.concat([batch.targets[:, k] for k in range(3)], 0)[:, None],
        {name: tf.tile(value, [3]) for name, value in batch.params.items()},
    )
    one = plain.gradient(point, singles, ONE).vector
    wanted = alpha[0] * one + alpha[1] * wig
    assert np.abs(one - wig).max() > 0.1 * np.abs(wig).max()
    found = trainer.objective.gradient(tf.constant(ends.ravel()), batch, WIG(3))
    parts = found.vector.numpy().reshape(2, -1)
    np.testing.assert_allclose(parts, np.outer(alpha, wanted), rtol=1e-9, atol=1e-14)


def test_seeds_go_side_by_side(data):
    stage = Stage(WIG(2), 40, 1e-2, batch_size=2)
    trainer = small_trainer(data, stage, "float64", subspace=Line())
    together = Updates(trainer, stage, (0, 5))
    together(4)
    for lane, seed in enumerate((0, 5)):
        alone = Updates(trainer, stage, seed)
        alone(4)
        np.testing.assert_allclose(together.carry["flat"][lane], alone.carry["flat"], atol=1e-10)


@pytest.mark.parametrize(("subspace", "average"), [(Line(), None), (Simplex(), 0.9)])
def test_resuming_gives_the_same_and_load_finds_the_points(data, tmp_path, subspace, average):
    trainer = small_trainer(data, STAGES, subspace=subspace, average=average, jit=False)
    whole = trainer.fit(0)
    folder = tmp_path / "net"
    trainer.with_schedule([STAGES[0], Stage(WIG(3), 7, 1e-2, batch_size=4)]).fit(0, folder)
    found = trainer.fit(0, folder)
    np.testing.assert_array_equal(found.weights, whole.weights)
    np.testing.assert_array_equal(found.ends, whole.ends)
    np.testing.assert_allclose(found.weights, found.ends.mean(0), rtol=1e-5, atol=1e-7)
    assert np.abs(found.ends[0] - found.ends[1]).max() > 0.01
    config = RunConfig(width=4, depth=1).resolved()
    save_description(folder, config, KS.features("correction"), trainer.objective.stepper.net)

    def weights(alpha=None):
        return tu.nets.weights.Weights(load(folder, alpha=alpha).net).read()

    np.testing.assert_allclose(weights(), found.weights, rtol=1e-5, atol=1e-7)
    if subspace.ends == 2:
        np.testing.assert_allclose(weights(0), found.ends[0], rtol=1e-6)
        np.testing.assert_allclose(weights(0.25), [0.75, 0.25] @ found.ends, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_allclose(weights([0, 0, 1.0]), found.ends[2], rtol=1e-6)
    with pytest.raises(InputError, match="alpha=1.5 must be"):
        load(folder, alpha=1.5)


def test_a_plain_training_does_not_go_on_as_a_line(data, tmp_path):
    small_trainer(data, STAGES[0], jit=False).fit(0, tmp_path)
    with pytest.raises(InputError, match="part subspace: missing"):
        small_trainer(data, STAGES, subspace=Line(), jit=False).fit(0, tmp_path)


def test_points():
    ends = np.array([[0.0, 2], [4, 4]])
    np.testing.assert_allclose(mixed(ends), [2, 3])
    np.testing.assert_allclose(mixed(ends, 0.25), [1, 2.5])
    np.testing.assert_allclose(mixed(ends, (0.5, 0.5)), [2, 3])
    assert mixed(ends[:1]) is not None
    for alpha in (-0.1, float("nan"), (0.5, 0.6), (1.5, -0.5), "a", (1.0, 0, 0)):
        with pytest.raises(InputError, match="alpha=.* must be a number in"):
            mixed(ends, alpha)
    with pytest.raises(InputError, match=r"alpha=0.5: this network was not trained as a subspace"):
        mixed(ends[:1], 0.5)
    assert Line().points().shape == (5, 2)
    assert Simplex(ends=4).points().shape == (5, 4)


def test_settings_name_them():
    assert subspaces.read("") is None
    assert subspaces.read("line:repulsion=0.5") == Line(0.5)
    assert subspaces.read("simplex:ends=4") == Simplex(1.0, 4)
    config = RunConfig(subspace="simplex:ends=3,repulsion=1").resolved()
    assert config.subspace == "simplex"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subspace": "plane"}, "subspace='plane' is unknown; allowed: line, modalities, simplex"),
        ({"subspace": "simplex:ends=9"}, "ends=9 must be a whole number from 2 to 6; nearest: 6"),
        ({"subspace": "line:repulsion=-1"}, "repulsion=-1"),
        ({"subspace": "modalities"}, "goes from ONE to another modality; modalities allowed: NOG"),
        ({"subspace": "line", "start_from": "x"}, "repulsion does not part what is equal"),
    ],
)
def test_settings_that_are_none(changes, message):
    with pytest.raises(InputError, match=message):
        RunConfig(**changes).resolved()


def test_points_make_an_ensemble(data):
    trainer = small_trainer(data, STAGES[0], "float64", subspace=Line(), jit=False)
    ends = trainer._initial(0).reshape(2, -1)
    steppers = []
    for alpha in (0.0, 0.5, 1.0):
        net = small_net("float64")
        tu.nets.weights.Weights(net).write(mixed(ends, alpha))
        steppers.append(tu.ParallelCorrection(SOLVER, net, KS.features("correction")))
    assert tu.Ensemble(steppers).count == 3
