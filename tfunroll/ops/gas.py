"""The ideal gas: primitive and conserved quantities."""

import tensorflow as tf

GAMMA = 1.4

Fields = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]  # (ρ, u, v, p)


def energy(state: Fields) -> tf.Tensor:
    """E = p/(γ − 1) + ρ (u² + v²)/2, per volume."""
    r, u, v, p = state
    return p / (GAMMA - 1) + r * (u * u + v * v) / 2


def sound_speed(r, p):
    """√(γ p/ρ)."""
    return tf.sqrt(GAMMA * p / r)


def primitive(q: tf.Tensor) -> tf.Tensor:
    """(ρ, u, v, p) of (ρ, ρu, ρv, E), fields first."""
    r, ru, rv, e = tf.unstack(q)
    u, v = ru / r, rv / r
    return tf.stack([r, u, v, (GAMMA - 1) * (e - (ru * u + rv * v) / 2)])


def conservative(w: tf.Tensor) -> tf.Tensor:
    """(ρ, ρu, ρv, E) of (ρ, u, v, p), fields first."""
    r, u, v, _ = fields = tf.unstack(w)
    return tf.stack([r, r * u, r * v, energy(fields)])
