"""Mel-frequency cepstra with their slopes: the features that HuBERT's first units are clusters of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.masking import zero_padding

WIDTH = 9  # frames that a slope is fitted to


def mfcc(log_mel: jax.Array, lengths: jax.Array, coefficients: int = 13) -> jax.Array:
    """Cepstra, their slopes in time and the slopes of these: `[batch, time, 3 · coefficients]`, 0 beyond the lengths.

    The cepstra are `librosa.feature.mfcc(S=log_mel, norm='ortho')`, the slopes `librosa.feature.delta` of width 9 with
    `mode='nearest'`. In natural logarithms all are ln(10)/10 of those in decibels.

    Args:
      log_mel: log-mel energies `[batch, time, mel]`, not normalised.
      lengths: valid frames of each row `[batch]`.
      coefficients: number of cepstra, from the 0th, the loudness, on.

    Raises:
      ValueError: there are fewer mels than coefficients.
    """
    mels = log_mel.shape[-1]
    if mels < coefficients:
        raise ValueError(f'{coefficients} cepstra need as many mels, not {mels}.')
    cepstra = jnp.einsum('btm,cm->btc', log_mel, _cosines(mels)[:coefficients], precision='highest')
    slope = deltas(cepstra, lengths)
    return zero_padding(jnp.concatenate([cepstra, slope, deltas(slope, lengths)], axis=-1), lengths)


def deltas(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Slope of the line through `WIDTH` frames around each of `x [batch, time, feature]`, its ends repeated."""
    half = WIDTH // 2
    last = jnp.maximum(lengths - 1, 0)[:, None]
    places = jnp.arange(x.shape[1])[None, :]
    total = jnp.zeros_like(x)
    for offset in range(1, half + 1):
        after, before = (jnp.clip(places + sign * offset, 0, last)[:, :, None] for sign in (1, -1))
        total += offset * (jnp.take_along_axis(x, after, axis=1) - jnp.take_along_axis(x, before, axis=1))
    return total / (2 * sum(offset**2 for offset in range(1, half + 1)))


@functools.lru_cache
def _cosines(mels: int) -> np.ndarray:
    """The orthonormal discrete cosine transform of type II, `[coefficient, mel]`."""
    angle = np.pi * np.arange(mels)[:, None] * (np.arange(mels)[None, :] + 0.5) / mels
    scale = np.sqrt(np.where(np.arange(mels) == 0, 1, 2) / mels)
    return (scale[:, None] * np.cos(angle)).astype(np.float32)
