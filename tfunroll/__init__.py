"""tfunroll: unrolled training of neural physics simulators in Keras and TensorFlow.

import tfunroll as tu

systems, data, nets, losses, callbacks, metrics    modules
Prediction, ParallelCorrection, SequentialCorrection, Stochastic    steppers with a network
ONE, NOG, WIG, Unrolling, Stage, Schedule, Trainer, Ladder, Adam    training
evaluate, load, export, Ensemble    what comes out
System, ParamRange, Domain, Solver, ExternalSolver, own_system, Features    one's own physics
"""

import importlib

__version__ = "0.1.0"

# Name -> module, imported when it is asked for: TensorFlow takes seconds, which `--version` and
# `--help` need not wait for.
_MODULES = {
    "systems": "tfunroll.systems",
    "data": "tfunroll.data",
    "nets": "tfunroll.nets",
    "losses": "tfunroll.stepping.losses",
    "callbacks": "tfunroll.training.callbacks",
    "metrics": "tfunroll.metrics",
}
_OBJECTS = {
    **dict.fromkeys(
        ("Prediction", "ParallelCorrection", "SequentialCorrection"), "tfunroll.stepping.steppers"
    ),
    **dict.fromkeys(
        ("ONE", "NOG", "WIG", "Unrolling", "unroll", "rollout", "repeat"),
        "tfunroll.stepping.unrolling",
    ),
    **dict.fromkeys(("Stage", "Schedule"), "tfunroll.training.schedule"),
    "Ensemble": "tfunroll.stepping.ensembles",
    "Stochastic": "tfunroll.stepping.stochastic",
    "Trainer": "tfunroll.training.trainer",
    "Ladder": "tfunroll.training.ladders",
    "Adam": "tfunroll.training.optimizers",
    "evaluate": "tfunroll.evaluation.comparison",
    "load": "tfunroll.runs.models",
    "export": "tfunroll.runs.saved_model",
    **dict.fromkeys(("System", "ParamRange"), "tfunroll.systems.base"),
    "own_system": "tfunroll.systems.own",
    "ExternalSolver": "tfunroll.solvers.external",
    "Features": "tfunroll.stepping.features",
    **dict.fromkeys(("Domain", "Solver", "InputError"), "tfunroll.core"),
}
__all__ = ["__version__", *_MODULES, *_OBJECTS]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    raise AttributeError(f"module 'tfunroll' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
