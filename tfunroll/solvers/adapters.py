"""Functions of other frameworks as the (step, vjp) of an ExternalSolver."""

import functools
from collections.abc import Callable

import numpy as np

from tfunroll.core import InputError
from tfunroll.solvers.external import FIDELITY, NumpyStep, NumpyVjp


def from_jax(function: Callable) -> tuple[NumpyStep, NumpyVjp]:
    """A JAX function with its gradient: both compiled, arrays shared where their alignment allows.

    Use with ExternalSolver(dtype=None): JAX then computes in the precision of the run. A fidelity
    is a Python number to the function, as bounds of loops that JAX differentiates have to be; each
    number is compiled when it is first asked for.

    Args:
      function: (state [batch, *space, channel], params, each [batch]) -> state, traceable by JAX;
        jax.vmap makes one of a function of a single state.
    Raises:
      InputError: JAX is not installed.
    """
    try:
        import jax
    except ImportError:
        raise InputError("from_jax needs JAX: pip install jax") from None

    def pulled_back(state, params, cotangent):
        _, vjp = jax.vjp(lambda u: function(u, params), state)
        return vjp(cotangent)[0]

    def of_numpy(function):
        @functools.cache
        def compiled(fidelity):
            fixed = {} if fidelity is None else {FIDELITY: fidelity}
            return jax.jit(lambda state, params, *more: function(state, params | fixed, *more))

        def call(state, params, *more):
            params = dict(params)
            at = compiled(params.pop(FIDELITY, None))
            with jax.enable_x64(state.dtype == np.float64):
                return np.asarray(at(state, params, *more))

        return call

    return of_numpy(function), of_numpy(pulled_back)


def from_tesseract(tesseract, state: str = "state", result: str = "result") -> tuple:
    """Anything with ``apply`` and ``vector_jacobian_product``, such as a Tesseract.

    It takes one state: use with ExternalSolver(per_sample=True). Parameters are inputs of their own
    names, as numbers.

    Args:
      tesseract: ``apply(inputs)`` -> outputs, and ``vector_jacobian_product(inputs, vjp_inputs,
        vjp_outputs, cotangent_vector)`` -> {name of the input: its cotangent}. Without the latter
        there is no vjp.
      state, result: names of the input that is the state, and of the output that is the next one.
    """

    def step(u, params):
        return np.asarray(tesseract.apply({state: u, **params})[result])

    def vjp(u, params, cotangent):
        pulled_back = tesseract.vector_jacobian_product(
            {state: u, **params}, [state], [result], {result: cotangent}
        )
        return np.asarray(pulled_back[state])

    endpoints = getattr(tesseract, "available_endpoints", None)
    has_vjp = (
        hasattr(tesseract, "vector_jacobian_product")
        if endpoints is None
        else "vector_jacobian_product" in endpoints
    )
    return step, vjp if has_vjp else None
