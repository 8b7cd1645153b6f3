"""SpecAugment without time warping (https://arxiv.org/abs/1904.08779), time masks adaptive as in 1912.05533."""

import jax
import jax.numpy as jnp

from bljust_jax.config import SpecAugmentConfig


def spec_augment(features: jax.Array, lengths: jax.Array, key: jax.Array, config: SpecAugmentConfig) -> jax.Array:
    """Masks random bands of mels and spans of frames, drawn anew for every row.

    Mask widths are uniform from 0 to the largest allowed: `frequency_width` mels; `time_width` frames, but no more
    than `time_ratio` of the row's own length. With `time_masks_ratio` a row of T frames has floor(`time_masks_ratio` T)
    time masks, but no more than `time_masks`. Masks may overlap. Masked features become 0, the mean of normalised
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
    widest_band = jnp.minimum(mel_counts, config.frequency_width)
    widest_span = jnp.minimum(_share(lengths, config.time_ratio), config.time_width)
    frequency_masks = jnp.full((batch,), config.frequency_masks, jnp.int32)
    time_masks = jnp.full((batch,), config.time_masks, jnp.int32)
    if config.time_masks_ratio:
        time_masks = jnp.minimum(_share(lengths, config.time_masks_ratio), config.time_masks)
    bands = _spans(frequency_key, config.frequency_masks, frequency_masks, widest_band, mel_counts, mels)
    spans = _spans(time_key, config.time_masks, time_masks, widest_span, lengths, time)
    return jnp.where(bands[:, None, :] | spans[:, :, None], 0, features)


def _share(lengths: jax.Array, ratio: float) -> jax.Array:
    """`ratio` of each length, rounded down; without the epsilon a tenth of 30 might be 2.9999998 in float32."""
    return jnp.floor(ratio * lengths.astype(jnp.float32) + 1e-4).astype(jnp.int32)


def _spans(key: jax.Array, most: int, masks: jax.Array, widest: jax.Array, lengths: jax.Array, size: int) -> jax.Array:
    """Union of `masks [batch]` random spans for each row, at most `most`, bool `[batch, size]`.

    A span is uniform in width from 0 to `widest [batch]` and in place within the first `lengths [batch]` positions.
    """
    width_key, start_key = jax.random.split(key)
    shape = (lengths.shape[0], most)
    width = jax.random.randint(width_key, shape, 0, widest[:, None] + 1)
    start = jax.random.randint(start_key, shape, 0, lengths[:, None] - width + 1)
    width = jnp.where(jnp.arange(most)[None, :] < masks[:, None], width, 0)
    position = jnp.arange(size)[None, None, :]
    inside = (position >= start[:, :, None]) & (position < (start + width)[:, :, None])
    return inside.any(axis=1)
