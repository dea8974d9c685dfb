"""A trained stepper as a TensorFlow SavedModel, which steps without tfunroll."""

import pathlib

import tensorflow as tf

from tfunroll import systems
from tfunroll.core import InputError, compilable
from tfunroll.files import check_writable
from tfunroll.runs.models import describe, load, networks
from tfunroll.stepping.ensembles import Ensemble


class _Exported(tf.Module):
    """Holds the variables that the exported function reads."""

    def __init__(self, stepper, state, params):
        super().__init__()
        nets = getattr(stepper, "nets", None) or [stepper.net]
        self.weights = [v.value for net in nets for v in net.variables]

        @tf.function(input_signature=[state, params], autograph=False)
        def step(state, params):
            return stepper.bind(params)(state)

        self.step = step


def export(path: str | pathlib.Path, out: str | pathlib.Path) -> str:
    """Writes the network of RUN/<modality>/<seed> with its solver as a SavedModel.

    Of RUN/<modality> it is the Ensemble of steps: the mean increment of all seeds.

        model = tf.saved_model.load(out)
        state = model.step(state, params)

    maps states, [batch, *space, channel], and parameters, {name: [batch]}, to the states one frame
    later, for any batch. examples/step_saved_model.py uses one.

    Returns:
      a line of text: what was written and how to call it.
    Raises:
      InputError: if ``path`` holds no trained network, or one that corrects an external solver, or
        ``out`` cannot be written.
    """
    config, _ = describe(networks(path)[0])
    system, stepper = systems.get(config.system), load(path, how="steps")
    stepper = stepper if isinstance(stepper, Ensemble) else stepper.stepper
    if not compilable(stepper):
        raise InputError(
            f"run={str(path)!r} corrects a solver outside TensorFlow, which a SavedModel cannot "
            "hold; tfunroll.load gives its stepper"
        )
    check_writable(str(out))
    shape = (None, *system.domain.shape, len(system.channels))
    params = {name: tf.TensorSpec([None], config.dtype, name) for name in system.params}
    exported = _Exported(stepper, tf.TensorSpec(shape, config.dtype, "state"), params)
    tf.saved_model.save(exported, str(out), signatures=exported.step)
    space = ", ".join(map(str, shape[1:]))
    return f"written: {out}; step(state [batch, {space}], {{{', '.join(system.params)}: [batch]}})"
