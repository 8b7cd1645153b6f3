"""Pseudo-labels (arXiv 2010.11524, 2106.08922): which utterances of a teacher's output the student learns from.

A row holds several utterances, and each is kept or left out by itself. Where one is left out, the teacher's labels are
blank, and so, for certain, are the student's: that takes its frames out of CTC's loss and gradient.
"""

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask
from bljust_jax.types import Ratio

_NEVER = -1e9  # a logit that is certain not to be chosen, and finite


def confident(
    logits: jax.Array, lengths: jax.Array, utterances: jax.Array, count: int, threshold: float, *, blank_id: int = 0
) -> tuple[jax.Array, Ratio]:
    """The frames of the utterances to learn from.

    These have a label, as learning from silence alone ends in silence, and the largest posterior of a frame, in the
    mean of the utterance's valid frames, is at least the threshold.

    Args:
      logits: of the teacher `[batch, time, vocab]`.
      lengths: valid frames of each row `[batch]`.
      utterances: which utterance of its row a frame belongs to, int32 `[batch, time]`, from 0.
      count: the largest number of utterances in a row.
      threshold: from 0, which keeps all with a label, to 1.
      blank_id: the blank's id.

    Returns:
      bool `[batch, time]`, and how many of the utterances are kept.
    """
    valid = length_mask(lengths, logits.shape[1])
    member = jnp.where(valid[:, :, None], jax.nn.one_hot(utterances, count), 0)
    frames = member.sum(axis=1)
    surest = jax.nn.softmax(logits.astype(jnp.float32)).max(axis=-1)
    confidence = jnp.einsum('btu,bt->bu', member, surest, precision='highest') / jnp.maximum(frames, 1)
    spoken = jnp.einsum('btu,bt->bu', member, (jnp.argmax(logits, axis=-1) != blank_id).astype(jnp.float32)) > 0
    kept = (frames > 0) & spoken & (confidence >= threshold)
    chosen = jnp.take_along_axis(kept, jnp.minimum(utterances, count - 1), axis=1) & valid
    return chosen, Ratio(kept.sum().astype(jnp.float32), (frames > 0).sum().astype(jnp.float32))


def blank_elsewhere(logits: jax.Array, kept: jax.Array, *, blank_id: int = 0) -> jax.Array:
    """`logits [batch, time, vocab]`, with the blank certain where `kept [batch, time]` is not set."""
    blank = jnp.where(jnp.arange(logits.shape[-1]) == blank_id, 0.0, _NEVER)
    return jnp.where(kept[:, :, None], logits, blank[None, None, :])
