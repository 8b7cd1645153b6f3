"""Which frames are masked: spans that begin anywhere (wav2vec 2.0, BEST-RQ, HuBERT, data2vec)."""

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask


def sample_mask(key: jax.Array, lengths: jax.Array, size: int, probability: float, span: int) -> jax.Array:
    """Spans of `span` frames, each frame beginning one with `probability`: bool `[batch, size]`, within the lengths.

    A row in which no span would begin gets one, so that every row is learnt from.
    """
    start_key, forced_key = jax.random.split(key)
    starts = jax.random.bernoulli(start_key, probability, (lengths.shape[0], size)) & length_mask(lengths, size)
    places = jnp.maximum(lengths - span + 1, 1).astype(jnp.float32)
    forced = (jax.random.uniform(forced_key, lengths.shape) * places).astype(jnp.int32)
    forced_start = jnp.arange(size)[None, :] == forced[:, None]
    starts = starts | (forced_start & ~starts.any(axis=1, keepdims=True))
    counts = jnp.cumsum(starts, axis=1)
    began_before = jnp.pad(counts, ((0, 0), (span, 0)))[:, :size]
    return (counts > began_before) & length_mask(lengths, size)
