"""Greedy CTC decoding: the best label of each frame, repeats merged, blanks removed."""

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask


def ctc_greedy(logits: jax.Array, lengths: jax.Array, *, blank_id: int = 0) -> tuple[jax.Array, jax.Array]:
    """Best path of `logits [batch, time, vocab]` within `lengths [batch]`.

    Returns:
      Labels int32 `[batch, time]`, moved to the front and filled up with `blank_id`, and their number `[batch]`.
    """
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    previous = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank_id)[:, :-1]
    kept = (best != blank_id) & (best != previous) & length_mask(lengths, best.shape[1])
    order = jnp.argsort(~kept, axis=1, stable=True)
    labels = jnp.take_along_axis(jnp.where(kept, best, blank_id), order, axis=1)
    return labels, kept.sum(axis=1)
