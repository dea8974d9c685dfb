"""The Trainer: takes networks through their curriculum, with checkpoints and summaries."""

import time
from dataclasses import dataclass

import tensorflow as tf

from tfunroll.checkpoints import Checkpoints
from tfunroll.config import RunConfig
from tfunroll.core import InputError
from tfunroll.data import Dataset
from tfunroll.solvers.external import solver_errors
from tfunroll.updates import UPDATES_PER_CALL, Updates

GUARD_PATIENCE = 200  # skipped updates in a row that stop a run
DIAGNOSES = 10  # of skipped updates, per job
FIRST_CALLS = 10  # updates per call while their speed is unknown
SECONDS_PER_CALL = 2.0  # about; a stop waits no longer
SECONDS_PER_CHECKPOINT = 300.0  # at most, besides the interval in updates
RECORD_EVERY = 100  # updates between records, besides those at validations and stages' ends


class TrainingDivergedError(RuntimeError):
    """So many updates in a row were skipped that going on is pointless."""


class TrainingStoppedError(RuntimeError):
    """Training was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Job:
    """One network to train: a modality, a seed and the stages of the curriculum it covers."""

    modality: str
    seed: int
    first_stage: int
    last_stage: int  # exclusive


class _Silent:
    """Takes the place of summaries.Summaries where none are wanted."""

    def start(self, update): ...

    def updates(self, update, values, by_step): ...

    def validation(self, update, error, rollout, reference): ...

    def skipped(self, update, reason): ...


class Trainer:
    """Trains networks of one configuration; its compiled graphs serve all modalities and seeds."""

    def __init__(self, config: RunConfig, dataset: Dataset):
        self.config = config
        self.compiled = Updates(config, dataset)
        self.stages = config.stages()
        for stage in self.stages:
            self.compiled.windows.check(stage.steps)

    def train(
        self,
        job: Job,
        folder,
        start=None,
        weights_from=None,
        summaries=None,
        report=lambda states: None,
        stop=lambda: False,
    ) -> dict:
        """Trains ``job`` to its end, or on from its newest checkpoint in ``folder``.

        Args:
          folder: pathlib.Path for the checkpoints.
          start: checkpoint folder of a job that covers the stages before; all its state is taken.
          weights_from: checkpoint folder of another run; only the weights are taken.
          summaries: summaries.Summaries or None.
          report: called with the states processed, for a progress bar.
          stop: asked between calls; once it says True, the state is saved and training ends.
        Returns:
          {"training_loss", "validation_error", "updates", "skipped", "reasons", "seconds",
          "processor_seconds"}; the last, of all threads, does not depend on what else runs.
        Raises:
          TrainingDivergedError: after GUARD_PATIENCE skipped updates in a row.
          TrainingStoppedError: if ``stop`` asked for it.
          InputError: if a checkpoint to start from is missing or damaged, or one to go on from
            does not fit.
        """
        began, worked = time.monotonic(), time.process_time()
        compiled, state = self.compiled, self.compiled.state
        compiled.reset(job.seed)
        progress = _Progress(job, Checkpoints(folder, compiled.variables), report, stop)
        progress.summaries = summaries or _Silent()
        if not progress.checkpoints.restore():
            done = sum(stage.updates for stage in self.stages[: job.first_stage])
            if start is not None and not Checkpoints(start, compiled.variables).restore(done):
                raise InputError(f"start: no checkpoint in {start}")
            if weights_from is not None:
                compiled.load(weights_from)
        progress.summaries.start(int(state.update))
        for number in range(job.first_stage, job.last_stage):
            self._train_stage(number, progress)
        if int(state.update) % self.config.validate_every:  # else it was just validated
            self._validation(int(state.update), progress.summaries)
        progress.save(int(state.update))
        return {
            "training_loss": float(state.loss),
            "validation_error": float(state.validation),
            "updates": int(state.update),
            "skipped": int(state.skipped),
            "reasons": progress.reasons,
            "seconds": time.monotonic() - began,
            "processor_seconds": time.process_time() - worked,
        }

    def _train_stage(self, number: int, progress: "_Progress"):
        config, state, job = self.config, self.compiled.state, progress.job
        stage = self.stages[number]
        before = sum(earlier.updates for earlier in self.stages[:number])
        drawn = config.drawn(job.modality, number)
        unrolling = config.unrolling(job.modality, stage)
        batch = config.batch(job.modality, stage)
        call = self.compiled.call(unrolling, batch)
        end = before + stage.updates
        states = batch * unrolling.steps
        progress.report(min(max(0, int(state.update) - before), stage.updates) * states)
        if int(state.update) == before:
            state.enter_stage()
        length, compiling = FIRST_CALLS, True
        while (update := int(state.update)) < end:
            events = (config.validate_every, config.checkpoint_every, RECORD_EVERY)
            stop = min(end, update + length, *(update - update % n + n for n in events))
            began = time.monotonic()
            with solver_errors():
                out = call(
                    tf.constant(job.seed, tf.int64),
                    tf.constant(before, tf.int64),
                    tf.constant(drawn, tf.int64),
                    tf.constant(stop, tf.int64),
                    tf.constant(stage.learning_rate, tf.float32),
                    tf.constant(stage.warmup, tf.float32),
                )
            done = int(state.update)
            progress.report((done - update) * states)
            if not compiling:
                seconds = (time.monotonic() - began) / (done - update)
                length = int(min(max(SECONDS_PER_CALL / seconds, 1), UPDATES_PER_CALL))
            compiling = False
            if int(state.skipped_in_row):
                self._skipped(progress, before, drawn, unrolling, batch)
            values = {name: float(out[name]) for name in ("learning_rate", "gradient_norm")}
            values |= {"loss": float(state.loss), "skipped": float(state.skipped)}
            values["horizon"] = stage.steps
            if done == end or not all(done % n for n in (RECORD_EVERY, config.validate_every)):
                progress.summaries.updates(done, values, out["by_step"].numpy())
            if done % config.validate_every == 0:
                self._validation(done, progress.summaries)
            if done % config.checkpoint_every == 0 or progress.checkpoint_is_old():
                progress.save(done)
            if progress.stop():
                progress.save(done)
                raise TrainingStoppedError(f"{job.modality} seed {job.seed}, update {done}")

    def _skipped(self, progress, before, drawn, unrolling, batch) -> None:
        state, job = self.compiled.state, progress.job
        update, in_row = int(state.update), int(state.skipped_in_row)
        stopping = in_row >= GUARD_PATIENCE
        if len(progress.reasons) < DIAGNOSES or stopping:
            reason = self.compiled.diagnose(job.seed, before, drawn, unrolling, batch)
            progress.reasons.append(f"update {update}: {reason}")
            progress.summaries.skipped(update, reason)
        if stopping:
            progress.save(update)
            raise TrainingDivergedError(
                f"{self.compiled.system.name} {job.modality} seed {job.seed}: {in_row} updates in "
                f"a row were skipped, the last one update {update}: {reason}; try a smaller "
                "learning rate or a shorter horizon"
            )

    def _validation(self, update: int, summaries) -> None:
        with solver_errors():
            error, sample, reference = self.compiled.validate()
        state = self.compiled.state
        state.validation.assign(error)
        if self.config.plateau:
            if float(error) < 0.999 * float(state.best):
                state.best.assign(error)
                state.waited.assign(0)
            elif int(state.waited.assign_add(1)) >= self.config.plateau:
                state.rate_factor.assign(0.5 * state.rate_factor)
                state.waited.assign(0)
        summaries.validation(update, float(error), sample.numpy(), reference.numpy())


class _Progress:
    """What belongs to one call of Trainer.train."""

    def __init__(self, job, checkpoints, report, stop):
        self.job, self.checkpoints, self.report, self.stop = job, checkpoints, report, stop
        self.reasons: list[str] = []
        self._saved = time.monotonic()

    def checkpoint_is_old(self) -> bool:
        return time.monotonic() - self._saved > SECONDS_PER_CHECKPOINT

    def save(self, update: int) -> None:
        self.checkpoints.save(update)
        self._saved = time.monotonic()
