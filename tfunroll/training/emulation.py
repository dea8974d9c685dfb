"""Emulators: small networks fitted to a solver, whose gradients stand in for the solver's.

A Trainer does the fitting: the emulator is a Prediction, the loss its distance to one step of the
solver, from training states with noise, so that it learns the solver around them and not on them
alone.
"""

import pathlib

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Solver, Stepper
from tfunroll.data import Trajectories
from tfunroll.files import replacing, why
from tfunroll.nets.weights import Weights
from tfunroll.stepping.losses import PhysicsResidual
from tfunroll.stepping.steppers import Prediction, with_net
from tfunroll.stepping.unrolling import ONE
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer

STAGE = Stage(ONE, 3000, rate=2e-3, batch_size=32)
NOISE = 0.05  # of each channel's root mean square


def emulate(
    solver: Solver,
    prediction: Prediction,
    data: Trajectories,
    stage: Stage = STAGE,
    *,
    noise: float = NOISE,
    jit: bool = True,
    kept: pathlib.Path | None = None,
) -> Stepper:
    """Fits a prediction to a solver, black boxes included.

        minimise  mean (E(u) − S(u))²   over training states u with noise

    Deterministic, as every training is, so that a resumed run has the same emulator.

    Args:
      prediction: around a built Keras model, best one that gives the change of the state.
      data: the training split. stage: of one step; its rate falls by Schedule's decay.
      kept: a .npz file for the weights; if it is there, they are read.
    Returns: a stepper that has no weights any more.
    Raises: InputError: parts that do not fit each other, or a file that is damaged.
    """
    weights = Weights(prediction.net)
    if kept is not None and kept.exists():
        try:
            with np.load(kept, allow_pickle=False) as file:
                flat = file["flat"]
        except Exception as error:  # whatever the bytes hold
            raise InputError(f"{kept} is damaged ({why(error)}); delete it") from None
        if flat.shape != (weights.size,):
            raise InputError(f"{kept} holds {flat.size} weights, needed: {weights.size}; delete it")
    else:
        loss = PhysicsResidual(solver)
        given = {"loss": loss, "noise": noise, "callbacks": [], "jit": jit}
        flat = Trainer(prediction, data, stage, **given).fit(0).weights
        if kept is not None:
            with replacing(kept) as new:
                np.savez(new, flat=flat)
    return with_net(prediction, weights.at(tf.constant(flat, weights.dtype)))
