"""How much an encoder's hidden frames differ from each other: not at all once it has collapsed."""

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask
from bljust_jax.types import Ratio


def hidden_spread(hidden: jax.Array, lengths: jax.Array) -> dict[str, Ratio]:
    """Standard deviation of `hidden [batch, time, width]` over time and over the batch, as a fraction of its RMS.

    Over time it is about the mean of each row, and 0 if all frames of a row are the same. Over the batch it is about
    the mean of each frame number, over the rows that are long enough to have it: 0 if frames depend on their place
    alone. Both are about 1 for independent frames around 0, whatever their scale. Padding does not count, and no
    gradient flows.

    Returns:
      `spread_time` and `spread_batch`, with weight 0 if no row has two frames, or no two rows have a frame in common.
    """
    mask = length_mask(lengths, hidden.shape[1])[..., None]
    hidden = jnp.where(mask, jax.lax.stop_gradient(hidden), 0)
    energy = (hidden**2).sum() / jnp.maximum(mask.sum(), 1).astype(hidden.dtype)

    def deviation(axis: int) -> Ratio:
        count = mask.sum(axis, keepdims=True).astype(hidden.dtype)
        mean = hidden.sum(axis, keepdims=True) / jnp.maximum(count, 1)
        squares = jnp.where(mask, hidden - mean, 0) ** 2
        freedom = jnp.maximum(count - 1, 0).sum()
        variance = squares.sum() / jnp.maximum(freedom, 1)
        known = (freedom > 0).astype(jnp.float32)
        return Ratio(known * jnp.sqrt(variance / jnp.where(energy > 0, energy, 1)), known)

    return {'spread_time': deviation(1), 'spread_batch': deviation(0)}
