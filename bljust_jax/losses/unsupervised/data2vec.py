"""data2vec (arXiv 2202.03555): regress, where speech is masked, what a teacher makes of all of it.

y_t = 1/K Σ IN(a_t^l) over the top K blocks l of the teacher, IN their normalisation over time, and f_t the prediction:

    L = ½ (y_t − f_t)² / β  if |y_t − f_t| ≤ β,  else |y_t − f_t| − ½ β;       with β = 0, (y_t − f_t)²
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bljust_jax.losses.means import mean_where
from bljust_jax.masking import length_mask
from bljust_jax.types import Ratio

# Added to variances: a feature of the teacher that does not change in time has 0 for its target.
VARIANCE_FLOOR = 1e-5


def layer_targets(layers: Sequence[jax.Array], lengths: jax.Array, top: int) -> jax.Array:
    """The mean of the last `top` of `layers`, each feature of each of them normalised over the valid frames of a row.

    Args:
      layers: outputs of the blocks `[batch, time, width]`, in order.
      lengths: valid frames of each row `[batch]`.
      top: K.

    Returns:
      `[batch, time, width]`, 0 beyond the valid frames.

    Raises:
      ValueError: there are fewer than `top` layers.
    """
    if not 0 < top <= len(layers):
        raise ValueError(f'The mean of the top {top} layers is asked for, and there are {len(layers)}.')
    valid = length_mask(lengths, layers[0].shape[1])[:, :, None]
    count = jnp.maximum(lengths, 1).astype(jnp.float32)[:, None, None]

    def normalise(x: jax.Array) -> jax.Array:
        mean = jnp.where(valid, x, 0).sum(axis=1, keepdims=True) / count
        centred = jnp.where(valid, x - mean, 0)
        return centred * jax.lax.rsqrt((centred**2).sum(axis=1, keepdims=True) / count + VARIANCE_FLOOR)

    return sum(map(normalise, layers[-top:]), jnp.zeros(layers[0].shape)) / top


def masked_regression(
    predicted: jax.Array, targets: jax.Array, mask: jax.Array, beta: float
) -> tuple[Ratio, dict[str, Ratio]]:
    """Smooth L1, or squared error with `beta` 0: the mean over features, per masked frame.

    Args:
      predicted, targets: `[batch, time, width]`.
      mask: the masked, valid frames, bool `[batch, time]`.
      beta: where the loss turns from a parabola into a line.

    Returns:
      The loss, and the metrics `target_std` and `prediction_std`: standard deviations over the masked frames of the
      batch, in time and over utterances, mean of the features. Near 0 the targets, or the predictions, have collapsed.
    """
    error = jnp.abs(predicted - targets)
    smooth = jnp.where(error <= beta, 0.5 * error**2 / max(beta, 1e-12), error - 0.5 * beta)
    losses = smooth if beta > 0 else error**2
    loss = mean_where(losses.mean(axis=-1), mask)
    return loss, {'target_std': deviation(targets, mask), 'prediction_std': deviation(predicted, mask)}


def deviation(x: jax.Array, mask: jax.Array) -> Ratio:
    """The standard deviation of each feature of `x [batch, time, width]` where `mask` is set, mean of the features."""
    chosen = mask[:, :, None]
    count = jnp.maximum(mask.sum().astype(jnp.float32), 1)
    mean = jnp.where(chosen, x, 0).sum(axis=(0, 1), keepdims=True) / count
    variance = jnp.where(chosen, (x - mean) ** 2, 0).sum(axis=(0, 1)) / count
    return Ratio(jnp.sqrt(variance).mean(), mask.any().astype(jnp.float32))
