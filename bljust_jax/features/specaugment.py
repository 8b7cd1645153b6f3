"""SpecAugment without time warping (https://arxiv.org/abs/1904.08779), time masks bounded as in 1912.05533."""

import jax
import jax.numpy as jnp

from bljust_jax.config import SpecAugmentConfig


def spec_augment(features: jax.Array, lengths: jax.Array, key: jax.Array, config: SpecAugmentConfig) -> jax.Array:
    """Masks random bands of mels and spans of frames, drawn anew for every row.

    Mask widths are uniform from 0 to the largest allowed: `frequency_width` mels; `time_width` frames, but no more
    than `time_ratio` of the row's own length. Masks may overlap. Masked features become 0, the mean of normalised
    features.

    Args:
      features: `[batch, time, mels]`.
      lengths: valid frames of each row `[batch]`.
      key: PRNG key.
      config: number of masks and largest widths.

    Returns:
      Features of the same shape and dtype.
    """
    batch, time, mels = features.shape
    frequency_key, time_key = jax.random.split(key)
    mel_counts = jnp.full((batch,), mels, jnp.int32)
    # Without the epsilon a tenth of 30 frames might be 2.9999998 in float32.
    share = jnp.floor(config.time_ratio * lengths.astype(jnp.float32) + 1e-4).astype(jnp.int32)
    widest_band = jnp.minimum(mel_counts, config.frequency_width)
    widest_span = jnp.minimum(share, config.time_width)
    bands = _spans(frequency_key, config.frequency_masks, widest_band, mel_counts, mels)
    spans = _spans(time_key, config.time_masks, widest_span, lengths, time)
    return jnp.where(bands[:, None, :] | spans[:, :, None], 0, features)


def _spans(key: jax.Array, masks: int, widest: jax.Array, lengths: jax.Array, size: int) -> jax.Array:
    """Union of `masks` random spans for each row, bool `[batch, size]`.

    A span is uniform in width from 0 to `widest [batch]` and in place within the first `lengths [batch]` positions.
    """
    width_key, start_key = jax.random.split(key)
    shape = (lengths.shape[0], masks)
    width = jax.random.randint(width_key, shape, 0, widest[:, None] + 1)
    start = jax.random.randint(start_key, shape, 0, lengths[:, None] - width + 1)
    position = jnp.arange(size)[None, None, :]
    inside = (position >= start[:, :, None]) & (position < (start + width)[:, :, None])
    return inside.any(axis=1)
