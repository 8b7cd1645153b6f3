"""HuBERT (arXiv 2106.07447): predict, where speech is masked, the cluster that its clean frame lies in."""

import jax
import jax.numpy as jnp

from bljust_jax.losses.unsupervised.best_rq import masked_prediction
from bljust_jax.types import Ratio


def nearest(centroids: jax.Array, frames: jax.Array) -> jax.Array:
    """The unit of each frame `[batch, time, feature]`, int32 `[batch, time]`: the nearest centroid `[unit, feature]`.

    In full precision everywhere, so that accelerators agree with CPU on the targets.
    """
    closeness = jnp.einsum('btd,cd->btc', frames, centroids, precision='highest')
    return jnp.argmax(closeness - 0.5 * (centroids**2).sum(axis=-1)[None, None], axis=-1).astype(jnp.int32)


def unit_prediction(
    logits: jax.Array, units: jax.Array, mask: jax.Array, valid: jax.Array, unmasked_weight: float
) -> tuple[Ratio, dict[str, Ratio]]:
    """Cross-entropy in nats per masked frame; each other frame counts as `unmasked_weight` of one.

    Args:
      logits: `[batch, time, unit]`.
      units: the targets `[batch, time]`.
      mask: the masked, valid frames, bool `[batch, time]`.
      valid: the valid frames.
      unmasked_weight: 0 leaves the others out.

    Returns:
      The loss, and the metrics of the masked frames (see `masked_prediction`); `unmasked_accuracy` if others count.
    """
    logits, units = logits[:, :, None], units[:, :, None]
    loss, metrics = masked_prediction(logits, units, mask)
    if unmasked_weight > 0:
        others, seen = masked_prediction(logits, units, valid & ~mask)
        loss = Ratio(loss.sum + unmasked_weight * others.sum, loss.weight + unmasked_weight * others.weight)
        metrics['unmasked_accuracy'] = seen['accuracy']
    return loss, metrics
