"""Cross-entropy of an attention decoder: of each label, and of the end after the last one, given those before it."""

import jax
import jax.numpy as jnp

from bljust_jax.losses.means import mean_where
from bljust_jax.masking import length_mask
from bljust_jax.types import Ratio


def attention_feasible(lengths: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """Whether there is a frame to hear the labels in, bool `[batch]`; no labels need none."""
    return (lengths > 0) | (label_lengths == 0)


def attention_loss(
    logits: jax.Array,
    lengths: jax.Array,
    labels: jax.Array,
    label_lengths: jax.Array,
    *,
    label_smoothing: float = 0.0,
    end_id: int = 0,
) -> jax.Array:
    """Cross-entropy of each row's labels and its end, in nats, summed over them.

    With label smoothing ε (Szegedy et al., arXiv 1512.00567), the target of a label is `1 − ε` on it and ε spread over
    the whole vocabulary:  `−(1 − ε) log p(label) − ε / V Σ_v log p(v)`.

    Args:
      logits: unnormalised `[batch, 1 + label, vocab]`: at u, of what follows u labels. Computed on in float32.
      lengths: hidden frames of each row `[batch]`.
      labels: `[batch, label]`.
      label_lengths: valid labels `[batch]`.
      label_smoothing: ε.
      end_id: the id of the end.

    Returns:
      float32 `[batch]`. Rows without frames have loss 0 and gradient exactly 0, whatever their labels.

    Raises:
      ValueError: if the shapes do not fit together.
    """
    targets, valid = _targets(logits, lengths, labels, label_lengths, end_id)
    # A row that does not count may hold anything, and 0 times a gradient that is not finite would be NaN.
    log_probs = jax.nn.log_softmax(jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0))
    chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=2)[..., 0]
    losses = -(1 - label_smoothing) * chosen - label_smoothing * log_probs.mean(axis=-1)
    return jnp.where(valid, losses, 0.0).sum(axis=1)


def attention_accuracy(
    logits: jax.Array, lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array, *, end_id: int = 0
) -> Ratio:
    """How many of the labels and ends are the likeliest given the true ones before; arguments as `attention_loss`."""
    targets, valid = _targets(logits, lengths, labels, label_lengths, end_id)
    return mean_where(jnp.argmax(logits, axis=-1) == targets, valid)


def _targets(
    logits: jax.Array, lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array, end_id: int
) -> tuple[jax.Array, jax.Array]:
    """Labels with their end, int `[batch, 1 + label]`, and which of them count, bool."""
    batch, size = labels.shape if labels.ndim == 2 else (-1, -1)
    if logits.ndim != 3 or logits.shape[:2] != (batch, size + 1) or {lengths.shape, label_lengths.shape} != {(batch,)}:
        raise ValueError(
            'attention_loss takes logits [B,1+U,V], lengths [B], labels [B,U] and label_lengths [B], not '
            f'{logits.shape}, {lengths.shape}, {labels.shape} and {label_lengths.shape}.'
        )
    targets = jnp.pad(jnp.where(length_mask(label_lengths, size), labels, end_id), ((0, 0), (0, 1)))
    targets = targets.at[:, -1].set(end_id)
    return targets, length_mask(jnp.where(lengths > 0, label_lengths + 1, 0), size + 1)
