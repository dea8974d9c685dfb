"""Ladders: their rule, and physics and horizons that are refined while training goes on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from trainings import KS, Recorder, dataset, small_net, small_trainer

from tfunroll import nets, systems
from tfunroll.core import InputError, Solver
from tfunroll.data import Trajectories
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.losses import Supervised
from tfunroll.stepping.steppers import ParallelCorrection, Prediction, SequentialCorrection
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training import core, fit, ladders
from tfunroll.training.callbacks import Callback, Checkpoint, Validation
from tfunroll.training.fit import TrainingDivergedError
from tfunroll.training.ladders import Climb, Ladder, Rule
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.trainer import Trainer, Updates

FEATURES = KS.features("correction")

STAIRS = [20.0] * 20 + [10.0] * 20 + [5.0] * 20 + [4.8] * 20
STAIRS = [e / 20 for e in STAIRS]
GOLDEN = {
    "a steady gain": (Rule(), [0.9**n for n in range(60)], set()),
    "a constant": (Rule(), [1.0] * 60, {3}),
    "a growing error": (Rule(), [1.01**n for n in range(10)], {3, 4, 5, 6, 7, 8, 9}),
    "stairs": (Rule(), STAIRS, {3, 33, 53}),
    "stairs, less memory": (Rule(step=0.95, memory=6), STAIRS, {3, 28, 48}),
}


def steps_up(rule, errors):
    """After which errors the ladder goes up."""
    climb, found = Climb(), set()
    for n, error in enumerate(errors):
        climb, up = rule.told(climb, error)
        found |= {n} if up else set()
    return found


def steps_up_by_history(step, stop, memory, window, errors):
    """The same from the whole history, again at every validation, in NumPy."""
    found, checkpoint = set(), 100.0
    for n in range(len(errors)):
        alpha = 2 / (1 + memory)
        weights = alpha * (1 - alpha) ** np.arange(n + 1)  # of the newest first
        changes = errors - errors[0]
        smooth = [errors[0] + (weights[: k + 1] * changes[k::-1]).sum() for k in range(n + 1)]
        if n < window or not smooth[n] / smooth[n - window + 1] > step:
            continue
        if smooth[n] / checkpoint < stop or smooth[n] / checkpoint > 1:
            checkpoint = smooth[n]
            found.add(n)
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_sequences(name):
    rule, errors, wanted = GOLDEN[name]
    assert steps_up(rule, errors) == wanted
    assert steps_up_by_history(*vars(rule).values(), np.array(errors)) == wanted


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_is_that_of_the_whole_history(seed):
    rng = np.random.default_rng(seed)
    rule = Rule(
        step=rng.uniform(0.8, 1.02),
        stop=rng.uniform(0.6, 1),
        memory=int(rng.integers(1, 12)),
        window=int(rng.integers(2, 8)),
    )
    errors = np.exp(-np.linspace(0, rng.uniform(0, 3), 80) + 0.1 * rng.normal(size=80))
    found = steps_up(rule, errors)
    assert found == steps_up_by_history(*vars(rule).values(), errors)
    assert found or rule.step < 0.9


def test_what_the_rule_remembers_is_all_it_needs():
    errors = np.array(STAIRS)
    for cut in (2, 10, 33, 34):
        climb = Climb()
        for error in errors[:cut]:
            climb, _ = Rule().told(climb, error)
        for n in range(cut, len(errors)):
            climb, up = Rule().told(
                Climb(climb.recent[-3:], climb.checkpoint, climb.seen), errors[n]
            )
            assert up == (n in {3, 33, 53})
        assert len(climb.recent) == 3


def test_a_rollout_that_diverged_does_not_count():
    errors = [1.0, 1.0, np.nan, 1.0, np.inf, 1.0, 1.0]
    assert steps_up(Rule(), errors) == {5}  # the fourth that counts


def test_an_infinite_step_never_goes_up():
    assert steps_up(Rule(step=np.inf), [1.0] * 60) == set()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"step": 0}, "ladder_step=0 must be positive"),
        ({"step": np.nan}, "ladder_step=nan must be positive"),
        ({"stop": -1}, "ladder_stop=-1 must be positive"),
        ({"memory": 0}, "ladder_memory=0 must be at least 1"),
        ({"window": 1}, "ladder_window=1 must be at least 2"),
    ],
)
def test_impossible_rules_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        Rule(**wrong)


# ---------------------------------------------------------------- in training

SOLVER = KS.coarse("etdrk2:substeps=3")
ALWAYS = {"step": 1e-9, "stop": np.inf, "window": 2}  # one rung up at every validation but two
LONG = Stage(ONE, 100, 1e-2, batch_size=4)
STAGES = [Stage(ONE, 40, 1e-2, batch_size=4), Stage(WIG(2), 60, 1e-2, batch_size=4)]


@pytest.fixture(scope="module")
def data():
    return dataset()


def trainer_of(data, *callbacks, solver=SOLVER, schedule=STAGES, every=10, **more):
    stepper = ParallelCorrection(
        solver, small_net(more.pop("dtype", "float32"), initial="zero"), FEATURES
    )
    validation = [Validation(data.splits["validation"], every, 5)]
    return Trainer(
        *(stepper, data.splits["train"], schedule),
        callbacks=[*validation, *callbacks],
        **{"jit": False, **more},
    )


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_on_one_rung_it_is_a_training_without_a_ladder_bit_by_bit(data, jit):
    options = {"jit": jit, "schedule": STAGES[0 if jit else 1]}
    plain = trainer_of(data, **options).fit(0)
    found = trainer_of(data, Ladder("substeps", 3, 3), **options).fit(0)
    np.testing.assert_array_equal(found.weights, plain.weights)
    pd.testing.assert_frame_equal(found.history, plain.history)
    assert "ladder" not in plain.summary()
    work, frames = found.ladder["iterations"], 40 if jit else 120
    assert found.ladder["iterations_at_last"] == work
    assert work == {"forward": 3 * frames, "adjoint": 3 * frames}


@pytest.mark.slow
def test_the_updates_of_a_rung_are_those_of_the_solver_at_its_number(data):
    """Rung by rung, beside a training with another solver from where the one before stopped."""
    stage, ladder = Stage(ONE, 60, 1e-2, batch_size=4), Ladder("substeps", 1, 3, **ALWAYS)
    found = trainer_of(data, ladder, schedule=stage, dtype="float64").fit(0)
    rungs = found.history[found.history.quantity == "training/rung"]
    assert dict(zip(rungs["update"], rungs["value"], strict=True)) == {
        **{10: 1, 20: 1, 30: 1, 40: 2, 50: 3, 60: 3}
    }
    carry = None
    for count, substeps in ((30, 1), (10, 2), (20, 3)):
        solver = SOLVER.at("substeps", substeps)
        updates = Updates(trainer_of(data, solver=solver, dtype="float64"), stage)
        updates.carry = carry or updates.carry
        updates(count)
        carry = updates.carry
    np.testing.assert_allclose(found.weights, carry["flat"], rtol=1e-10, atol=1e-12)
    assert found.ladder["begun"] == {"1": 0, "2": 30, "3": 40}
    work = 30 * 1 + 10 * 2 + 20 * 3
    assert found.ladder["iterations"] == {"forward": work, "adjoint": work}
    assert found.ladder["iterations_at_last"] == {"forward": 180, "adjoint": 180}
    assert found.ladder["saved_against_last"] == pytest.approx(1 - work / 180)


def test_it_goes_up_where_the_rule_says_and_ends_at_full(data):
    ladder = Ladder("substeps", 1, 3, step=0.7, stop=0.99, window=2, memory=2, finish=0.25)
    found = trainer_of(data, ladder, schedule=LONG).fit(0)
    errors = found.history[found.history.quantity == "validation/relative_error"]
    ups = [10 * (n + 1) for n in sorted(steps_up(ladder.rule, errors["value"][:7]))]
    begun = found.ladder["begun"]
    assert list(begun.values()) == [0, *ups][:3]
    assert len(begun) > 1
    assert found.ladder["full_from"] == 75
    rungs = found.history[found.history.quantity == "training/rung"]
    assert set(rungs["value"][rungs["update"] > 75]) == {3}


def test_validation_is_at_the_last_rung_and_both_are_reported(data):
    ladder = Ladder("substeps", 1, 3, step=np.inf, finish=0)
    found = trainer_of(data, ladder, schedule=LONG).fit(0)
    assert found.ladder["reached"] == 1
    assert found.ladder["validation_at_last"] == found.validation_error
    for substeps, name in ((3, "last"), (1, "reached")):
        other = trainer_of(data, solver=SOLVER.at("substeps", substeps))
        error = float(other.callbacks[0].validate(tf.constant(found.weights))[0])
        assert found.ladder[f"validation_at_{name}"] == pytest.approx(error, rel=1e-5)
    values = [found.ladder[f"validation_at_{name}"] for name in ("last", "reached")]
    assert abs(values[0] / values[1] - 1) > 1e-3


@pytest.mark.slow
def test_compiled_by_xla_it_trains_as_uncompiled():
    """Conjugate gradients of Kolmogorov flow under WIG, whose graph XLA has to bound."""
    system = systems.get("kolmogorov:points=16")
    reynolds = np.array([300.0, 500.0], np.float32)
    states = [system.initial_state({"reynolds": reynolds}, 0).astype(np.float32)]
    step = system.coarse().bind({"reynolds": tf.constant(reynolds)})
    for _ in range(12):
        states.append(step(tf.constant(states[-1])).numpy())
    split = Trajectories(np.stack(states, 1), {"reynolds": reynolds}, ("a", "b"), reynolds, {})
    found = []
    for jit in (False, True):
        net = nets.build("resnet", system.domain, 4, 2, width=4, depth=1, initial="zero")
        solver = system.coarse("piso:cg=12,warm=1")
        trainer = Trainer(
            SequentialCorrection(solver, net, system.features("correction"), 0.02),
            *(split, Stage(WIG(2), 40, 1e-3, batch_size=2)),
            callbacks=[Validation(split, 5, 3), Ladder("pressure", 2, 12, 4, **ALWAYS)],
            jit=jit,
        )
        found.append(trainer.fit(0))
    plain, compiled = found
    assert compiled.ladder["begun"] == {"2": 0, "6": 15, "10": 20, "12": 25}
    assert compiled.ladder == plain.ladder | {
        name: pytest.approx(plain.ladder[name], rel=1e-2)
        for name in ("validation_at_last", "validation_at_reached")
    }
    assert np.abs(plain.weights).max() > 0
    np.testing.assert_allclose(compiled.weights, plain.weights, rtol=0, atol=2e-4)


class KilledError(Exception):
    pass


class Killer(Callback):
    """Ends a training at its first turn, as a kill does."""

    def turn(self, fit):
        raise KilledError


def check_resumption(trainer, killer, kills, folder):
    """The same to the bit after kills; returns the report."""
    whole = trainer.fit(0)
    for kill in kills:
        killer.every = kill
        with pytest.raises(KilledError):
            trainer.fit(0, folder / str(kill))
        killer.every = 0
        found = trainer.fit(0, folder / str(kill))
        np.testing.assert_array_equal(found.weights, whole.weights)
        assert found.ladder == whole.ladder
    return whole.ladder


def test_a_kill_in_the_middle_of_a_rung_resumes_bit_by_bit(data, tmp_path):
    ladder = Ladder("substeps", 1, 3, step=0.5, stop=np.inf, window=2, finish=0.2)
    schedule, killer = Schedule(tuple(STAGES), plateau=1, decay_every=7), Killer()
    trainer = trainer_of(data, ladder, killer, Checkpoint(7), schedule=schedule)
    begun = check_resumption(trainer, killer, [34, 38, 55], tmp_path)["begun"]
    assert begun == {"1": 0, "2": 30, "3": 40}  # from checkpoints at 28, 35 and 49


@pytest.mark.slow
def test_the_rate_is_halved_only_where_the_ladder_has_settled(data):
    """Validations without gain go to the ladder, until it is at its end; then to the rate."""
    schedule = Schedule((Stage(ONE, 100, 1e-12, batch_size=2),), decay_every=0, plateau=2)
    recorder = Recorder()
    ladder = Ladder("substeps", 1, 3, step=0.5, stop=np.inf, window=2)
    trainer_of(data, ladder, recorder, schedule=schedule).fit(0)
    assert recorder.of("training/rung") == {
        n: 1 if n <= 30 else 2 if n <= 40 else 3 for n in range(10, 101, 10)
    }
    rates = np.array(list(recorder.of("training/learning_rate").values())) / 1e-12
    # at 40 it reaches its end: that error is what those at 50 and 60 do not gain on
    np.testing.assert_allclose(rates, [1] * 6 + [0.5] * 2 + [0.25] * 2, rtol=1e-6)
    plain = Recorder()
    trainer_of(data, plain, schedule=schedule).fit(0)
    rates = np.array(list(plain.of("training/learning_rate").values())) / 1e-12
    np.testing.assert_allclose(rates, [1] * 3 + [0.5] * 2 + [0.25] * 2 + [0.125] * 2 + [0.0625])


def test_a_ladder_that_does_not_pay_leaves_plateaus_to_the_rate(data):
    schedule = Schedule((Stage(ONE, 80, 1e-12, batch_size=2),), decay_every=0, plateau=2)
    recorder = Recorder()
    ladder = Ladder("substeps", 1, 3, step=0.5, window=2, finish=0)
    found = trainer_of(data, ladder, recorder, schedule=schedule).fit(0)
    assert list(found.ladder["begun"].values()) == [0, 30]  # the first, and then no gain
    rates = list(recorder.of("training/learning_rate").values())
    assert rates[-1] < rates[0]


class Fragile(Solver):
    """u, or NaN with fewer than ``sweeps`` sweeps."""

    channels, dt, frame_time = 1, 1.0, 1.0

    def __init__(self, needed, sweeps=3):
        self.needed, self.sweeps, self.knobs = needed, sweeps, {"sweeps": (1, sweeps)}

    def bind(self, params):
        bad = tf.cast(self.sweeps, tf.float32) < self.needed
        return lambda u: u + tf.where(bad, np.nan, 0.0)


@pytest.mark.slow
def test_a_rung_too_loose_goes_up_in_place_of_ending_the_training(data, monkeypatch):
    monkeypatch.setattr(fit, "GUARD_PATIENCE", 5)
    ladder, stage = Ladder("sweeps", 1, 3, step=np.inf), Stage(ONE, 60, 1e-3, batch_size=2)
    found = trainer_of(data, ladder, solver=Fragile(3), schedule=stage).fit(0)
    assert found.ladder["begun"] == {"1": 0, "2": 5, "3": 10}
    assert (found.skipped, found.updates) == (10, 60)
    assert np.isfinite(found.validation_error)
    with pytest.raises(TrainingDivergedError, match="5 updates in a row were skipped"):
        trainer_of(data, ladder, solver=Fragile(4), schedule=stage).fit(0)


def test_adjoint_iterations_are_those_that_are_made():
    def work(unrolling, stepper=ParallelCorrection, solver=SOLVER, compiled=True):
        objective = core.Objective(
            stepper(solver, lambda x: x, FEATURES), None, Supervised(), compiled=compiled
        )
        return Ladder("substeps", 1, 3)._iterations(objective, unrolling, 2)

    assert work(ONE) == (2, 2)  # gradients by the state that enters are recorded
    assert work(WIG(4)) == work(NOG(4)) == (8, 8)
    assert work(WIG(4, through="identity")) == (8, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweeps", 1, 3), "ladder='sweeps': the solver 'Kuramoto.*allowed: substeps$"),
        (("substeps", 3, 1), r"ladder=substeps:3\.\.1:1 must go up"),
        (("substeps", 0, 3), r"ladder=substeps:0\.\.3:1 must go up"),
        (("substeps", 1, 3, 0), "by at least 1"),
        (("substeps", 1, 2), "must end at the solver's own substeps=3"),
        (("substeps", 1, 4), "4 is outside the solver's range, 1 to 3"),
    ],
)
def test_ladders_that_do_not_fit_are_refused(data, arguments, words):
    with pytest.raises(InputError, match=words):
        trainer_of(data, Ladder(*arguments))


def test_what_a_ladder_needs(data):
    ladder = Ladder("substeps", 1, 3)
    with pytest.raises(
        InputError, match="needs at least 4 validations .* there are 2 in 100 updates"
    ):
        trainer_of(data, ladder, every=50)
    with pytest.raises(InputError, match="more than one Ladder"):
        trainer_of(data, ladder, ladder)
    with pytest.raises(InputError, match="there is no Validation"):
        small_trainer(data, STAGES, callbacks=[Ladder("substeps", 1, 2)])
    stepper = Prediction(small_net(), FEATURES)
    with pytest.raises(InputError, match="this training has no solver"):
        Trainer(stepper, data.splits["train"], STAGES, callbacks=[ladder])
    with pytest.raises(InputError, match=r"ladder_finish=1 must lie in \[0, 1\)"):
        Ladder("substeps", 1, 3, finish=1)
    with pytest.raises(InputError, match=r"seeds=\[0, 1\] climb a ladder each"):
        trainer_of(data, ladder).fit_together([0, 1])


@pytest.mark.parametrize("text", ["", "sweeps", "sweeps:1", "sweeps:1..a", "sweeps:1..4:2:2"])
def test_texts_that_are_no_ladder(text):
    with pytest.raises(InputError, match="is not knob:first..last"):
        ladders.read(text)


def test_the_text_of_a_ladder():
    assert ladders.read("pressure:2..40:2") == ("pressure", 2, 40, 2)
    assert Ladder(*ladders.read("pressure:2..7:2")).rungs == (2, 4, 6, 7)


# ---------------------------------------------------------------- automatic curricula

AUTOMATIC = Schedule(
    tuple(Stage(WIG(m) if m > 1 else ONE, 60, 1e-2, batch_size=2) for m in (1, 2, 4)),
    decay_rate=0.5,
    decay_every=10,
    automatic=Rule(**ALWAYS),
)


def by_hand(*updates):
    parts = zip(AUTOMATIC.stages, updates, strict=False)
    stages = tuple(replace(stage, updates=n) for stage, n in parts)
    return replace(AUTOMATIC, stages=stages, automatic=None)


def test_an_automatic_schedule_parts_into_stages_as_they_end():
    assert AUTOMATIC.updates == 60
    assert AUTOMATIC.parted([]) == by_hand(60)
    assert AUTOMATIC.parted([20]) == by_hand(20, 40)
    assert AUTOMATIC.parted([20, 33]) == by_hand(20, 13, 27)
    assert by_hand(1, 2).parted([1]) == by_hand(1, 2)
    assert AUTOMATIC.states(0, 30) == 30 * 2 * 4
    assert AUTOMATIC.states() == 60 * 2 * 4
    with pytest.raises(InputError, match="share their updates"):
        replace(AUTOMATIC, stages=(Stage(ONE, 4), Stage(WIG(2), 5)))


@pytest.mark.slow
def test_an_automatic_curriculum_is_the_curriculum_that_it_finds(data):
    """Its weights are, bit by bit, those of stages by hand of the lengths that came of it."""
    trainer = trainer_of(data, schedule=AUTOMATIC)
    found = trainer.fit(0)
    horizons = found.history[found.history.quantity == "training/horizon"]
    assert dict(zip(horizons["update"], horizons["value"], strict=True)) == {
        **{10: 1, 20: 1, 30: 1, 40: 2, 50: 4, 60: 4}
    }
    assert found.ladder == {
        **{"knob": "stage", "first": 1, "last": 3, "reached": 3},
        "begun": {"1": 0, "2": 30, "3": 40},
    }
    plain = trainer.with_schedule(by_hand(30, 10, 20)).fit(0)
    np.testing.assert_array_equal(found.weights, plain.weights)
    pd.testing.assert_frame_equal(found.history, plain.history)


@pytest.mark.slow
def test_an_automatic_curriculum_resumes_bit_by_bit(data, tmp_path):
    killer = Killer()
    schedule = replace(AUTOMATIC, stages=AUTOMATIC.stages[:2], plateau=1)
    trainer = trainer_of(data, killer, Checkpoint(6), schedule=schedule)
    begun = check_resumption(trainer, killer, [31, 35, 37], tmp_path)["begun"]
    assert begun == {"1": 0, "2": 30}  # from checkpoints at 30 and 36


def test_what_an_automatic_curriculum_needs(data):
    with pytest.raises(InputError, match="automatic curriculum needs at least 3 validations"):
        trainer_of(data, schedule=AUTOMATIC, every=30)
    with pytest.raises(InputError, match="a training has one ladder"):
        trainer_of(data, Ladder("substeps", 1, 3), schedule=AUTOMATIC)
    with pytest.raises(InputError, match=r"seeds=\[0, 1\] climb a ladder each"):
        trainer_of(data, schedule=AUTOMATIC).fit_together([0, 1])


# ---------------------------------------------------------------- flags

FLAGS = {"width": 4, "depth": 1, "horizon": 5, "modalities": ("WIG",), "jit": "off"}


def test_flags_make_the_ladder_and_the_schedule():
    config = RunConfig(
        **FLAGS,
        **{"ladder": "substeps:1..2", "ladder_step": 0.9, "ladder_stop": 0.8, "ladder_memory": 4},
        **{"ladder_window": 5, "ladder_finish": 0.2, "curriculum": "1:3000,2:2000"},
    ).resolved()
    ladder = next(c for c in Plan(config).callbacks(dataset()) if isinstance(c, Ladder))
    assert (ladder.knob, ladder.rungs, ladder.rule) == ("substeps", (1, 2), Rule(0.9, 0.8, 4, 5))
    assert (ladder.finish, ladder.updates) == (0.2, 5000)
    config = replace(config, ladder="", curriculum="auto:1..6:6000:1e-3").resolved()
    for modality, steps, batches in (("WIG", [1, 2, 4, 6], 1), ("ONE", [1] * 4, [1, 2, 4, 6])):
        schedule = Plan(config).schedule(modality)
        assert [s.unrolling.steps for s in schedule.stages] == steps
        assert [s.batch_size for s in schedule.stages] == list(16 * np.ones(4) * batches)
        assert (schedule.updates, schedule.automatic) == (6000, Rule(0.9, 0.8, 4, 5))
    assert config.shared_stages() == 0
    assert "horizon 1 doubled at plateaus up to 6, 6000 updates" in config.describe_stages()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"ladder": "pressure:2..40:2"}, "'KuramotoSivashinsky' has no such knob; allowed: sub"),
        ({"ladder": "substeps:2..1"}, "must go up"),
        ({"ladder": "substeps:1..3"}, "3 is outside the solver's range, 1 to 2"),
        ({"ladder": "1..2"}, "is not knob:first..last"),
        ({"ladder": "substeps:1..2", "ladder_step": -1.0}, "ladder_step=-1.0 must be positive"),
        ({"ladder": "substeps:1..2", "ladder_window": 1}, "ladder_window=1 must be at least 2"),
        ({"ladder": "substeps:1..2", "ladder_finish": 1.0}, "ladder_finish=1.0 must lie in"),
        ({"ladder": "substeps:1..2", "validate_every": 1000}, "are 3 in 3500 updates"),
        ({"ladder": "substeps:1..2", "mode": "prediction"}, "no solver that could be refined"),
        ({"ladder": "pressure:2..40", "system": "kolmogorov"}, "solved directly.*cg=40"),
        ({"curriculum": "auto:1..16"}, "is not auto:first..last:updates"),
        ({"curriculum": "auto:4..2:600"}, "is not auto:first..last:updates"),
        ({"curriculum": "auto:1..x:600"}, "is not auto:first..last:updates"),
        ({"curriculum": "auto:1..4:600"}, "automatic curriculum needs at least 4 validations"),
        ({"curriculum": "auto:1..4:6000", "ladder": "substeps:1..2"}, "a run has one ladder"),
    ],
)
def test_flags_that_make_no_ladder(flags, words):
    with pytest.raises(InputError, match=words):
        RunConfig(**FLAGS | flags).resolved()


def test_flags_take_a_ladder_to_the_pressure():
    flags = {"system": "kolmogorov", "coarse": "piso:cg=40", "ladder": "pressure:2..40:2"}
    config = RunConfig(**FLAGS | flags).resolved()
    assert config.made_ladder().rungs == tuple(range(2, 41, 2))
