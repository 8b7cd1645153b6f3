"""Which codes of its codebooks a batch has: collapse shows here."""

import jax
import jax.numpy as jnp

from bljust_jax.types import Ratio


def count_codes(codes: jax.Array, mask: jax.Array, size: int) -> jax.Array:
    """How many of the frames that `mask` sets have each code: float32 `[codebook, size]`.

    Args:
      codes: below `size`, int `[batch, time, codebook]`.
      mask: bool `[batch, time]`.
      size: of each codebook.
    """
    weights = mask.astype(jnp.float32).ravel()
    return jax.vmap(lambda book: jnp.bincount(book.ravel(), weights, length=size), in_axes=2)(codes)


def code_metrics(counts: jax.Array) -> dict[str, Ratio]:
    """Of `count_codes`, in the mean of the codebooks.

    Returns:
      `perplexity`, exp of the entropy of the codes (1 means a collapsed codebook), and `code_usage`, how many different
      codes there are, of as many as there could be: each frame might have its own. Of weight 0 without frames.
    """
    frames = counts.sum(axis=1, keepdims=True)
    perplexity = jnp.exp(jax.scipy.special.entr(counts / jnp.maximum(frames, 1)).sum(axis=1))
    usage = (counts > 0).sum(axis=1, dtype=jnp.float32) / jnp.clip(frames[:, 0], 1, counts.shape[1])
    known = (frames.sum() > 0).astype(jnp.float32)
    return {'perplexity': Ratio(known * perplexity.mean(), known), 'code_usage': Ratio(known * usage.mean(), known)}
