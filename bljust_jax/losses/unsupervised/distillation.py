"""Distillation: what a teacher makes of the same speech, as the target of hidden frames and of CTC posteriors.

Each loss is a mean over valid frames. The targets are constants: stopping their gradients is the caller's part.
"""

import jax
import jax.numpy as jnp

from bljust_jax.losses.means import mean_where
from bljust_jax.masking import length_mask
from bljust_jax.models.heads import unit_length
from bljust_jax.types import Ratio


def feature_distance(predicted: jax.Array, target: jax.Array, lengths: jax.Array) -> Ratio:
    """`1 − cos(predicted, target)` per valid frame: from 0 to 2, whatever the width and the scale of the features.

    It is half the squared distance of both frames brought to unit length, the loss of BYOL (arXiv 2006.07733).

    Args:
      predicted, target: `[batch, time, width]`.
      lengths: valid frames of each row `[batch]`.
    """
    cosine = (unit_length(predicted) * unit_length(target)).sum(axis=-1)
    return mean_where(1.0 - cosine, length_mask(lengths, predicted.shape[1]))


def posterior_divergence(logits: jax.Array, target: jax.Array, lengths: jax.Array, temperature: float) -> Ratio:
    """`T² KL(teacher ‖ student)` in nats per valid frame, of posteriors at temperature T (arXiv 1503.02531).

    The factor T² keeps the size of the gradient where it is as T grows.

    Args:
      logits, target: of student and teacher, unnormalised `[batch, time, vocab]`.
      lengths: valid frames of each row `[batch]`.
      temperature: T, which divides both logits.
    """
    ours, theirs = (jax.nn.log_softmax(x.astype(jnp.float32) / temperature) for x in (logits, target))
    divergence = (jnp.exp(theirs) * (theirs - ours)).sum(axis=-1)
    return mean_where(temperature**2 * divergence, length_mask(lengths, logits.shape[1]))


def label_agreement(logits: jax.Array, target: jax.Array, lengths: jax.Array, *, blank_id: int = 0) -> Ratio:
    """Among the valid frames whose best label is not blank for student or teacher, how many have the same for both."""
    ours, theirs = (jnp.argmax(x, axis=-1) for x in (logits, target))
    spoken = ((ours != blank_id) | (theirs != blank_id)) & length_mask(lengths, logits.shape[1])
    return mean_where(ours == theirs, spoken)
