"""The library without one flag: the README's lines, and everything of a user's own."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfunroll as tu

VISCOSITY = np.array([0.1, 0.15, 0.25])
X = 2 * np.pi * np.arange(32) / 32


def burgers(state, params, steps=10, points=1):
    """u_t = ν u_xx − u u_x, a frame of 0.1, by explicit steps; a user's NumPy solver."""
    u, dx, dt = np.array(state), X[1] * points, 0.1 / steps
    nu = params["viscosity"][:, None, None]
    for _ in range(steps):
        east, west = np.roll(u, -1, 1), np.roll(u, 1, 1)
        u += dt * (nu * (east - 2 * u + west) / dx**2 - u * (east - west) / (2 * dx))
    return u


def trajectories(viscosity, seed, frames=40):
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (len(viscosity), 2, 1, 1))
    u = np.sin(X[:, None] + phase[:, 0]) + 0.5 * np.sin(2 * X[:, None] + phase[:, 1])
    params, states = {"viscosity": np.array(viscosity)}, [u]
    for _ in range(frames - 1):
        states.append(burgers(states[-1], params, steps=40))
    return np.stack(states, 1), params


@pytest.fixture(scope="module")
def own():
    """A System and a dataset of a user's solver."""
    example = trajectories(VISCOSITY, 0)
    coarse = tu.ExternalSolver(
        lambda u, p: burgers(u, p, steps=2), example=(example[0][:, 0], example[1]), name="euler"
    )
    system = tu.own_system(
        "burgers",
        coarse,
        {"viscosity": tu.ParamRange(0.05, 0.3, scale=5.0)},
        horizon=5,
        long_horizon=20,
    )
    splits = {"train": example, "validation": trajectories([0.2], 1)}
    splits["test_interpolation"] = trajectories([0.12, 0.22], 2)
    return system, tu.data.of(system, splits)


class Steep(tu.losses.Loss):
    """A user's loss: of the gradient in space."""

    def bind(self, params):
        def level(k, before, after, target):
            error = after - target
            return tf.reduce_mean(tf.square(tf.roll(error, -1, 1) - error), [1, 2])

        return level


def own_net(channels):
    """A user's Keras model, functional."""
    inputs = keras.Input((32, channels))
    x = keras.layers.Conv1D(8, 5, padding="same", activation="gelu")(inputs)
    x = keras.layers.LayerNormalization()(x)
    return keras.Model(inputs, keras.layers.Conv1D(1, 5, padding="same")(x))


def test_own_system_network_and_loss_train_evaluate_and_plot(own, tmp_path):
    system, data = own
    features = system.features("correction")
    stepper = tu.SequentialCorrection(system.coarse(), own_net(2), features)
    losses = []

    class Watch(tu.callbacks.Callback):
        every = 20

        def turn(self, fit):
            losses.append(fit.loss)

    trainer = tu.Trainer(
        stepper,
        data.train,
        [tu.Stage(tu.ONE, 60, rate=3e-3), tu.Stage(tu.NOG(3), 40, rate=1e-3)],
        loss=tu.losses.Supervised() + 0.1 * Steep(),
        callbacks=[tu.callbacks.Validation(data.validation, 50, 5), Watch()],
    )
    trained = trainer.fit(seed=1, folder=tmp_path / "mine")
    assert trained.updates == 100
    assert losses[2] < losses[0]
    np.testing.assert_array_equal(
        trainer.fit(seed=1, folder=tmp_path / "mine").weights, trained.weights
    )  # it was finished

    found = tu.evaluate(stepper, data.test_interpolation, name="NOG")
    text = str(found)
    assert all(name in text for name in ("NOG", "coarse solver", "persistence"))
    mean = found.summary.query("metric == 'relative_error' and frame.isna()", engine="python")
    assert set(mean["modality"]) == {"NOG", "coarse solver", "persistence"}
    pictures = found.plot(tmp_path / "pictures")
    assert {path.suffix for path in pictures} == {".png", ".pdf"}
    assert all(path.stat().st_size > 5000 for path in pictures)


def test_evaluations_add_up(own):
    system, data = own
    solver, better = (
        system.coarse(),
        tu.ExternalSolver(
            burgers, example=(data.train.states[:, 0], data.train.params), name="better"
        ),
    )
    both = tu.evaluate(solver, data, name="euler", against=()) + tu.evaluate(
        better, data, name="better", against=()
    )
    whole = both.results[both.results["metric"] == "mse"].groupby("modality")["value"].mean()
    assert whole["better"] < 0.2 * whole["euler"]
    with pytest.raises(tu.InputError, match="add up where .* settings are the same"):
        both + tu.evaluate(solver, data, horizon=3)


def test_trainings_of_one_network_add_up_beside_one_set_of_baselines(own, tmp_path):
    system, data = own
    data = tu.data.of(system, {name: (t.states, t.params) for name, t in data.splits.items()})
    del data.splits["test_interpolation"]  # then validation stands in
    made = {}
    for name in ("ONE", "NOG"):
        net = own_net(2)
        net.name = f"functional_{len(made) + 3}"  # as Keras counts
        features = system.features("correction")
        stepper = tu.SequentialCorrection(system.coarse(), net, features, scale=1e-3)
        made[name] = tu.evaluate(stepper, data, name=name)
    both = made["ONE"] + made["NOG"]
    summary = both.summary.query("metric == 'relative_error' and frame.isna()", engine="python")
    assert list(summary["modality"]) == ["ONE", "NOG", "persistence", "coarse solver"]
    assert (summary["n"] == 2).all()
    assert summary["ratio"].notna().all()
    assert "error valid." in str(both)
    assert {path.name for path in both.plot(tmp_path)} >= {"curves.png", "rollouts.png"}
    with pytest.raises(tu.InputError, match="name='ONE' with seed=0 is in both evaluations"):
        both + made["ONE"]
    net.name = "mine"
    with pytest.raises(tu.InputError, match="different networks, functional and mine"):
        both + tu.evaluate(stepper, data, name="ONE", seed=1)


def test_default_horizons_fit_short_data(own):
    system, _ = own
    states, params = trajectories([0.12], 2, frames=5)
    short = tu.data.of(
        system, {"train": (states, params), "test_interpolation": (states + 0.1, params)}
    )
    found = tu.evaluate(system.coarse(), short, against=())
    assert found.settings["horizon"] == found.settings["long_horizon"] == 3  # of 2 starts
    assert set(found.results["start_frame"]) == {0, 1}


def test_mistakes_are_one_line_from_the_object_that_knows(own):
    system, data = own
    states, params = trajectories([0.2], 0)
    cases = [
        (lambda: tu.ExternalSolver(len, example=states), "example must be a pair .states, "),
        (lambda: tu.data.of(system, {}), "needed is train"),
        (lambda: tu.data.of(system, {"test": (states, params)}), "needed is train"),
        (lambda: tu.data.of(system, {"train": states}), "train must be a pair .states, "),
        (lambda: tu.data.of(system, {"train": (states[:, :, :8], params)}), "states has shape"),
        (lambda: tu.data.of(system, {"train": (states, {})}), "viscosity is missing"),
        (lambda: tu.data.of(system, {"train": (states, {"viscosity": [0.2, 0.1]})}), "shape"),
        (lambda: data.test_extrapolation, "split='test_extrapolation' is unknown; allowed: te"),
        (lambda: tu.evaluate(system.coarse(), data, horizon=40), "long_horizon"),
        (lambda: tu.evaluate(system.coarse(), data, metrics=["speed"]), "speed"),
        (
            lambda: tu.evaluate(system.coarse(), data, against=["luck"]),
            "against='luck'",
        ),
        (lambda: tu.Prediction(own_net(2)), "give system.features.. to the stepper"),
    ]
    for make, message in cases:
        with pytest.raises(tu.InputError, match=message) as error:
            make()
        assert "\n" not in str(error.value)


README = pathlib.Path(__file__).parents[1] / "README.md"
EXTENDING = README.parent / "docs" / "extending.md"


def blocks(path):
    """The Python code of a page, with short trainings."""
    code = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [re.sub(r"\b(2000|1500|1000)\b", "20", block) for block in code]


def test_the_lines_of_the_readme_run(tiny_data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny_data_dir))
    monkeypatch.chdir(tmp_path)
    code = next(block for block in blocks(README) if block.startswith("import tfunroll as tu"))
    exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "res_net" in shown
    assert "coarse solver" in shown
    assert (tmp_path / "runs/mine/curves.png").stat().st_size > 10_000
    assert len([line for line in code.splitlines() if line.strip()]) <= 17


def test_the_blocks_of_extending_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tu.metrics, "METRICS", dict(tu.metrics.METRICS))
    names = {}
    for block in blocks(EXTENDING):
        exec(compile(block, "extending.md", "exec"), names)
    assert names["trained"].updates == 40
    assert "NOG" in capsys.readouterr().out
    pictures = {path.stem for path in (tmp_path / "pictures").glob("*.png")}
    assert {"curves", "rollouts", "last_states"} <= pictures
    measured = set(names["found"].results["metric"])
    assert {"observed_error@steepest", "largest_error"} <= measured
    largest = names["found"].results.query("metric == 'largest_error' and modality == 'NOG'")
    assert (largest["value"] > 0).all()

    # the solver in TensorFlow: a sine wave decays by its eigenvalue
    nu, dx = 0.2, 2 * np.pi / 32
    u = tf.constant(np.sin(X)[None, :, None])
    decayed = names["diffusion"].bind({"viscosity": tf.constant([nu], tf.float64)})(u)
    np.testing.assert_allclose(
        decayed, (1 - 0.4 * nu * np.sin(dx / 2) ** 2 / dx**2) * u, atol=1e-14
    )

    # the network that a flag names
    (tmp_path / "mine.py").write_text("import keras\n" + blocks(EXTENDING)[-1])
    tu.nets.own.check(str(tmp_path / "mine.py"), names["system"].domain, 2, 1)


def test_the_package_has_what_it_says():
    for name in tu.__all__:
        assert getattr(tu, name) is not None
    assert set(tu.__all__) <= set(dir(tu))
    with pytest.raises(AttributeError, match="no attribute 'trainer'"):
        tu.trainer  # noqa: B018
