"""A Tesseract of one Kuramoto-Sivashinsky frame, its gradient by JAX: see ks_tesseract.py."""

import jax
import numpy as np
from ks_jax import POINTS, function
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float64

State = Array[(POINTS, 1), Float64]


class InputSchema(BaseModel):
    state: Differentiable[State]
    domain_size: float


class OutputSchema(BaseModel):
    result: Differentiable[State]


@jax.jit
def step(state, domain_size):
    return function(state[None], {"domain_size": domain_size[None]})[0]


@jax.jit
def pulled_back(state, domain_size, cotangent):
    return jax.vjp(lambda u: step(u, domain_size), state)[1](cotangent)[0]


def apply(inputs: InputSchema) -> OutputSchema:
    with jax.enable_x64(True):
        return OutputSchema(result=np.asarray(step(inputs.state, np.float64(inputs.domain_size))))


def vector_jacobian_product(inputs, vjp_inputs, vjp_outputs, cotangent_vector):
    size, cotangent = np.float64(inputs.domain_size), cotangent_vector["result"]
    with jax.enable_x64(True):
        return {"state": np.asarray(pulled_back(inputs.state, size, cotangent))}


def abstract_eval(abstract_inputs):
    return {"result": {"shape": (POINTS, 1), "dtype": "float64"}}
