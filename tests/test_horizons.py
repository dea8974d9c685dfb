"""Horizons drawn at random: which ones, on which windows, and that nothing needs saving."""

import numpy as np
import pytest
from trainings import Recorder, dataset, small_trainer, trainer_of

from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.unrolling import NOG, ONE, WIG, Unrolling
from tfunroll.training.callbacks import Every
from tfunroll.training.fit import TrainingStoppedError
from tfunroll.training.ladders import Rule
from tfunroll.training.schedule import Part, Schedule, Stage

RANDOM = Stage(WIG(3), 350, 1e-3, batch_size=2, least=1)


@pytest.fixture(scope="module")
def data():
    return dataset()


def test_all_horizons_are_as_likely_and_a_seed_has_its_own():
    schedule = Schedule((Stage(ONE, 50), Stage(WIG(8), 4000, least=1)))
    drawn = [[p.unrolling.steps for p in schedule.parts(seed)[1:]] for seed in range(200)]
    counts = np.bincount(np.ravel(drawn), minlength=9)
    assert counts[0] == 0
    assert counts.sum() == 200 * 40
    assert np.abs(counts[1:] - 1000).max() < 4.5 * np.sqrt(1000 * 7 / 8)
    assert len({tuple(each) for each in drawn}) == 200
    after = np.transpose(drawn)[1:].ravel(), np.transpose(drawn)[:-1].ravel()
    assert abs(np.corrcoef(*after)[0, 1]) < 0.05
    assert drawn[0] == [p.unrolling.steps for p in Schedule(schedule.stages).parts(0)[1:]]


def test_updates_are_parts_one_after_the_other():
    schedule = Schedule((Stage(ONE, 30, batch_size=4), RANDOM))
    parts = schedule.parts(5)
    assert parts[0] == Part(0, ONE, 4, 0, 30, 0)
    assert [(p.begin, p.end) for p in parts[1:]] == [(30, 130), (130, 230), (230, 330), (330, 380)]
    for update in (0, 29, 30, 129, 130, 379):
        part = schedule.part(5, update)
        assert part.begin <= update < part.end
    assert schedule.part(5, 380) == parts[-1]
    steps = [p.unrolling.steps for p in parts[1:]]
    assert schedule.states(5) == 30 * 4 + 2 * np.dot([100, 100, 100, 50], steps)
    assert schedule.states(5, 40) == 30 * 4 + 2 * 10 * steps[0]


def test_without_a_range_parts_are_stages_whatever_the_seed():
    stages = (Stage(ONE, 30, batch_size=4), Stage(WIG(3), 20), Stage(ONE, 7, batch_size=2))
    wanted = (
        Part(0, ONE, 4, 0, 30, 0),
        Part(1, WIG(3), 16, 30, 50, 0),
        Part(2, ONE, 2, 50, 57, 120),
    )
    assert Schedule(stages).parts(0) == Schedule(stages).parts(3) == wanted


def test_cuts_and_push_forward_are_limited_to_a_shorter_horizon():
    whole = Unrolling(6, 4, 3, "solver")
    assert whole.shortened(5) == Unrolling(5, 4, 3, "solver")
    assert whole.shortened(3) == Unrolling(3, 3, 2, "solver")
    assert whole.shortened(1) == ONE
    assert NOG(4).shortened(2) == NOG(2)
    assert [u.steps for u in Stage(WIG(4), 10, least=2).horizons] == [2, 3, 4]


@pytest.mark.slow
def test_a_run_that_stops_amid_a_part_goes_on_as_if_it_had_not(data, tmp_path):
    recorder = Recorder()
    stages = [Stage(ONE, 20, 1e-3), RANDOM]
    trainer = small_trainer(data, stages, callbacks=[recorder], jit=False)
    whole = trainer.fit(1)
    horizons = {u: int(m) for u, m in recorder.of("training/horizon").items()}
    for update, steps in horizons.items():
        assert steps == trainer.schedule.part(1, update - 1).unrolling.steps
        assert [n for n in recorder.rows[update] if n.startswith("levels/")] == [
            f"levels/{k:02d}" for k in range(1, steps + 1)
        ]
    assert len(set(horizons.values())) > 1
    stopping = small_trainer(
        data,
        trainer.schedule,
        jit=False,
        callbacks=[Every(155, lambda fit: fit.stop() if fit.update == 155 else None)],
    )
    with pytest.raises(TrainingStoppedError):
        stopping.fit(1, tmp_path)
    assert stopping.fit(1, tmp_path).updates == 370
    np.testing.assert_array_equal(stopping.weights.read(), whole.weights)


def test_a_range_of_one_horizon_is_that_horizon(data):
    stages = [Stage(WIG(2), 120, 1e-3, batch_size=2, least=least) for least in (0, 2)]
    found = [small_trainer(data, stage, jit=False).fit(0).weights for stage in stages]
    np.testing.assert_array_equal(*found)


def test_seeds_draw_their_own_so_none_train_together(data):
    with pytest.raises(InputError, match="each draws horizons of its own"):
        small_trainer(data, RANDOM).fit_together([0, 1])


def test_a_curriculum_names_them(data):
    small = {"width": 4, "depth": 1, "seeds": (0,), "jit": "off"}
    config = RunConfig(curriculum="1:20,1-3:120:1e-4", batch_size=8, **small)
    plan = Plan(config.resolved())
    assert plan.schedule("NOG").stages[1] == Stage(NOG(3), 120, 1e-4, 0, 8, 1)
    assert plan.schedule("WIG").stages[1] == Stage(WIG(3), 120, 1e-4, 0, 8, 1)
    assert plan.schedule("ONE").stages[1] == Stage(ONE, 120, 1e-4, 0, 16)  # 8 · (1 + 3) / 2
    assert "horizon 1 to 3, 120 updates" in config.describe_stages()
    assert trainer_of(config, data, modality="NOG").fit(0).updates == 140


@pytest.mark.parametrize("text", ["8-1:10", "3-3:10", "0-3:10", "-3:10", "1-2-3:10", "a-b:10"])
def test_impossible_ranges(text):
    with pytest.raises(InputError, match="curriculum|range") as error:
        RunConfig(curriculum=text).resolved()
    assert "\n" not in str(error.value)


def test_an_impossible_stage():
    with pytest.raises(InputError, match="least=4 must lie between 1 and steps=3"):
        Stage(WIG(3), 10, least=4)


def test_an_automatic_schedule_draws_none():
    stages = Stage(WIG(2), 10), Stage(WIG(4), 10, least=1)
    with pytest.raises(InputError, match="stages of an automatic Schedule draw no horizons"):
        Schedule(stages, automatic=Rule())
