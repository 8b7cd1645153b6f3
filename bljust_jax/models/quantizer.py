"""Product quantisation with a straight-through Gumbel softmax (arXiv 1611.01144)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Quantized(NamedTuple):
    """What a quantiser makes of `[batch, time, width]`.

    Attributes:
      vectors: the chosen codes' vectors, those of all groups strung together `[batch, time, dim]`.
      codes: which they are, int32 `[batch, time, group]`.
      probabilities: of every code before noise `[batch, time, group, code]`; without noise, 1 for the chosen one.
    """

    vectors: jax.Array
    codes: jax.Array
    probabilities: jax.Array


class ProductQuantizer(nn.Module):
    """One code out of `codes` from each of `groups` codebooks, as in wav2vec 2.0 (arXiv 2006.11477, section 2).

    `(x [batch, time, width], noise [batch, time, group, code], temperature) -> Quantized`. With Gumbel `noise`, the
    code of largest `logit + noise` is chosen, and its gradient is that of `softmax((logit + noise) / temperature)`.
    With None, the most probable code is chosen, and has no gradient.
    """

    groups: int
    codes: int
    dim: int

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array | None = None, temperature: jax.Array | float = 1.0) -> Quantized:
        # As published: logits spread so much that codes differ from the start.
        spread = nn.initializers.normal(1.0)
        logits = nn.DenseGeneral((self.groups, self.codes), kernel_init=spread)(x)
        vectors = self.param(
            'vectors', nn.initializers.uniform(1.0), (self.groups, self.codes, self.dim // self.groups), jnp.float32
        )
        noisy = logits if noise is None else logits + noise
        codes = jnp.argmax(noisy, axis=-1).astype(jnp.int32)
        chosen = jax.nn.one_hot(codes, self.codes, dtype=logits.dtype)
        probabilities = chosen
        if noise is not None:
            probabilities = jax.nn.softmax(logits)
            soft = jax.nn.softmax(noisy / temperature)
            chosen = chosen + (soft - jax.lax.stop_gradient(soft))
        found = jnp.einsum('btgv,gvd->btgd', chosen, vectors, precision='highest')
        return Quantized(found.reshape(*x.shape[:2], -1), codes, probabilities)
