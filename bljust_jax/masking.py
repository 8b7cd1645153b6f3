"""Lengths and masks: the one place that turns one into the other.

A mask is True on what is valid. Lengths travel between rooms; masks are made where they are used.
"""

import jax
import jax.numpy as jnp


def length_mask(lengths: jax.Array, size: int) -> jax.Array:
    """`[batch]` lengths -> bool `[batch, size]`, True at positions below the length."""
    return jnp.arange(size)[None, :] < lengths[:, None]


def zero_padding(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """`x [batch, time, ...]` with everything at and after each row's length set to 0."""
    mask = length_mask(lengths, x.shape[1])
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0)


def frame_lengths(samples: jax.Array, window: int, hop: int) -> jax.Array:
    """Number of whole windows of `window` samples, `hop` apart, in `samples` (0 if shorter than one window)."""
    return jnp.maximum((samples - window) // hop + 1, 0)


def strided_lengths(lengths: jax.Array, stride: int) -> jax.Array:
    """Lengths after one 'SAME'-padded convolution or pooling with `stride`: ceil(length / stride)."""
    return (lengths + stride - 1) // stride
