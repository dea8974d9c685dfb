"""What is checked of a solver's callables, on two example states, when it is made."""

import numpy as np

from tfunroll.core import InputError


def check_step(name: str, step, states, params) -> bool:
    """Compares a callable, (states, params) -> states, with itself.

    Returns: whether its answers are always in the same memory.
    Raises: InputError: not deterministic, or samples of a batch depend on each other.
    """
    rounding = 1e3 * np.finfo(states.dtype).eps * np.abs(states).max()
    first = step(states, params)
    after = first.copy()
    again = step(states, params)
    reuses = np.shares_memory(first, again)
    if not np.allclose(again, after, 1e-9, rounding):
        raise InputError(
            f"solver {name!r} is not deterministic: the same state twice gave answers "
            f"{np.abs(again - after).max():.2g} apart"
        )
    swapped = {k: v[::-1].copy() for k, v in params.items()}
    swapped = step(states[::-1].copy(), swapped)[::-1].copy()
    first = {k: v[:1].copy() for k, v in params.items()}
    alone = step(states[:1].copy(), first).copy()
    for other in (swapped, np.concatenate([alone, after[1:]])):
        if not np.allclose(other, after, 1e-9, rounding):
            raise InputError(
                f"solver {name!r} mixes the samples of a batch: a sample's answer differs "
                f"by {np.abs(other - after).max():.2g} with its place in the batch or without "
                "the others; per_sample=True calls it with one state at a time"
            )
    return reuses


def check_source(name: str, step, states, params, frame_time: float) -> np.ndarray:
    """The states with a source beside them, by channels: what the other checks are then given.

    Raises: InputError: the source changes nothing.
    """
    noise = np.random.default_rng(1).standard_normal(states.shape)
    source = 0.01 * np.sqrt(np.mean(np.square(states))) / frame_time * noise
    pair, without = (
        np.concatenate([states, s.astype(states.dtype)], -1) for s in (source, 0 * source)
    )
    after = step(without, params).copy()
    if (step(pair, params) == after).all():
        raise InputError(
            f"solver {name!r}: a source changes nothing; takes_source=True needs a step(state, "
            "params, source) that adds it to the right-hand side of its equations"
        )
    return pair


def check_vjp(name: str, step, vjp, states, params) -> None:
    """Jᵀc · d against c · Jd, Jd = (step(u + εd) − step(u − εd)) / 2ε, to 1 %: else InputError."""
    rng, precision = np.random.default_rng(0), np.finfo(states.dtype).eps
    d = rng.standard_normal(states.shape).astype(states.dtype)
    epsilon = np.cbrt(precision) * (np.sqrt(np.mean(np.square(states))) or 1)
    ahead, behind = (
        step(states + sign * epsilon.astype(states.dtype) * d, params) for sign in (1, -1)
    )
    change = (ahead - behind) / (2 * epsilon)
    size, noise = np.linalg.norm(change), rng.standard_normal(change.shape).astype(states.dtype)
    c = change + size * noise / np.linalg.norm(noise)  # random, but not at right angles to Jd
    exact = np.sum(vjp(states, params, c.astype(states.dtype)) * d)
    near = np.sum(c * change)
    if abs(exact - near) > 0.01 * np.linalg.norm(c) * size:
        raise InputError(
            f"solver {name!r}: its vjp is not the gradient of its step: {exact:.4g} where "
            f"finite differences give {near:.4g}; correct it, or leave it out for ONE and NOG"
        )


def unlike(out, state) -> str:
    """How an answer differs from what a state's answer must be; empty if it does not."""
    if not isinstance(out, np.ndarray):
        return f"a {type(out).__name__} in place of an array"
    if out.shape != state.shape:
        return f"shape {out.shape} in place of {state.shape}"
    if out.dtype != state.dtype:
        return f"{out.dtype} in place of {state.dtype} (see ExternalSolver's dtype)"
    return ""
