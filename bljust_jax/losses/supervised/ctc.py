"""Connectionist temporal classification (Graves et al., ICML 2006)."""

import jax
import jax.numpy as jnp
import optax

from bljust_jax.masking import length_mask


def ctc_feasible(logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """Whether an alignment exists, bool `[batch]`: a frame for each label and one between equal neighbours."""
    repeats = (labels[:, 1:] == labels[:, :-1]) & length_mask(label_lengths - 1, labels.shape[1] - 1)
    return label_lengths + repeats.sum(axis=1) <= logit_lengths


def ctc_loss(
    logits: jax.Array, logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array, *, blank_id: int = 0
) -> jax.Array:
    """Negative log-likelihood of each row's labels, in nats.

    Args:
      logits: unnormalised `[batch, time, vocab]`.
      logit_lengths: valid frames `[batch]`.
      labels: `[batch, label]`, without blanks.
      label_lengths: valid labels `[batch]`.
      blank_id: the blank's id.

    Returns:
      float32 `[batch]`. Infeasible rows (see `ctc_feasible`) have loss 0 and gradient exactly 0.

    Raises:
      ValueError: if the shapes do not fit together.
    """
    batch = logits.shape[0]
    if (
        logits.ndim != 3
        or labels.ndim != 2
        or {logit_lengths.shape, label_lengths.shape, (labels.shape[0],)} != {(batch,)}
    ):
        raise ValueError(
            'ctc_loss takes logits [B,T,V], logit_lengths [B], labels [B,U] and label_lengths [B], not '
            f'{logits.shape}, {logit_lengths.shape}, {labels.shape} and {label_lengths.shape}.'
        )
    if labels.shape[1] == 0:
        labels = jnp.full((batch, 1), blank_id, jnp.int32)
    feasible = ctc_feasible(logit_lengths, labels, label_lengths)
    # An infeasible row is scored as an empty transcript, whose loss is finite, and then dropped.
    label_lengths = jnp.where(feasible, label_lengths, 0)
    loss = optax.ctc_loss(
        logits.astype(jnp.float32),
        1.0 - length_mask(logit_lengths, logits.shape[1]).astype(jnp.float32),
        labels,
        1.0 - length_mask(label_lengths, labels.shape[1]).astype(jnp.float32),
        blank_id=blank_id,
    )
    return jnp.where(feasible, loss, 0.0)
