"""Heads: the small networks between the shared encoder and one objective."""

import jax
from flax import linen as nn


class LinearHead(nn.Module):
    """One projection, `[batch, time, width] -> [batch, time, size]`: CTC logits, BEST-RQ codes."""

    size: int

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        return nn.Dense(self.size)(hidden)


class PredictiveHead(nn.Module):
    """CPC: one predictor for each of `steps` future frames, and one projection of the frames themselves.

    `(context [row, width], future [row, steps, width]) -> (predicted, target)`, both `[row, steps, dim]` and of unit
    length.
    """

    steps: int
    dim: int

    @nn.compact
    def __call__(self, context: jax.Array, future: jax.Array) -> tuple[jax.Array, jax.Array]:
        predicted = nn.DenseGeneral((self.steps, self.dim))(context)
        target = nn.Dense(self.dim)(future)
        return unit_length(predicted), unit_length(target)


def unit_length(x: jax.Array) -> jax.Array:
    """`x` divided by its Euclidean norm over the last axis."""
    return x * jax.lax.rsqrt((x**2).sum(axis=-1, keepdims=True) + 1e-12)
