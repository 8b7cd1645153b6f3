"""Layers that several encoders share. All of them keep a row's valid frames independent of its padding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bljust_jax.masking import strided_lengths, zero_padding
from bljust_jax.models.attention import attention
from bljust_jax.models.depthwise import depthwise

# Of the last product of a residual branch: blocks begin as the identity up to their norm (Fixup, arXiv 1901.09321).
# A Conformer then stands four times the learning rate, and needs half of the audio or less (docs/results.md).
BRANCH_INIT = nn.initializers.zeros


class Dropout(nn.Module):
    """Inverted dropout. Uses the `dropout` stream for two numbers a call, from which all elements' bits are hashed."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        bits = hashed_bits(jax.random.bits(self.make_rng('dropout'), (2,)), x.shape)
        keep = bits >= jnp.uint32(round(self.rate * 2**32))
        return jnp.where(keep, x / (1 - self.rate), 0)


def hashed_bits(seeds: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random uint32 of `shape`: each element's index mixed with two uint32 `seeds [2]`, as in MurmurHash3's finaliser.

    XLA fuses this with what uses the bits; those of `jax.random` take a third of a small model's step on CPU.
    """
    x = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) * jnp.uint32(0x9E3779B1)
    for seed, shift, factor in ((seeds[0], 16, 0x85EBCA6B), (seeds[1], 13, 0xC2B2AE35)):
        x = x + seed
        x = (x ^ (x >> jnp.uint32(shift))) * jnp.uint32(factor)
    return x ^ (x >> jnp.uint32(16))


class ConvSubsampling(nn.Module):
    """Two convolutions over time with stride 2 (mels are channels), then a projection: 4 times fewer frames.

    `(features [batch, time, mel], lengths [batch]) -> (hidden [batch, ceil(time / 4), width], lengths)`.
    One-dimensional, because two-dimensional ones take a third of a small model's step on CPU.
    """

    channels: int
    width: int
    kernel: int = 5
    factor = 4

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        half = self.kernel // 2
        for _ in range(2):
            # Explicit padding: 'SAME' pads by the parity of the padded length, which would shift the frames.
            x = nn.Conv(self.channels, (self.kernel,), strides=2, padding=((half, half),))(zero_padding(x, lengths))
            x = nn.silu(x)
            lengths = strided_lengths(lengths, 2)
        return nn.Dense(self.width)(x), lengths


class FeedForward(nn.Module):
    """LayerNorm, expansion, SiLU, projection (`[batch, time, width]`)."""

    expansion: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        width = x.shape[-1]
        x = nn.silu(nn.Dense(self.expansion * width)(nn.LayerNorm()(x)))
        return nn.Dense(width, kernel_init=BRANCH_INIT)(Dropout(self.dropout)(x, train))


class SelfAttention(nn.Module):
    """LayerNorm and multi-head self-attention over the valid frames (`[batch, time, width]`).

    Attributes:
      heads: their number, a divisor of the width.
      positions: rotary (arXiv 2104.09864), which turns queries and keys, or none.
      output_init: of the last product; another one if it is not the end of a residual branch.
    """

    heads: int
    positions: str = 'rotary'
    output_init: nn.initializers.Initializer = BRANCH_INIT

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        size = x.shape[-1] // self.heads
        x = nn.LayerNorm()(x)
        query, key, value = jnp.split(nn.DenseGeneral((self.heads, 3 * size))(x), 3, axis=-1)
        if self.positions == 'rotary':
            query, key = rotary(query), rotary(key)
        x = attention(query, key, value, lengths)
        return nn.DenseGeneral(self.heads * size, axis=(-2, -1), kernel_init=self.output_init)(x)


def rotary(x: jax.Array) -> jax.Array:
    """Rotates feature pairs (i, i + size/2) of `x [batch, time, head, size]` by angles proportional to time."""
    half = x.shape[-1] // 2
    # In NumPy, as XLA would compute cosines of constants anew in every loop that uses them.
    angle = np.arange(x.shape[1])[:, None] * 10_000.0 ** (-np.arange(half) / half)
    cos, sin = (jnp.asarray(f(angle)[None, :, None, :], x.dtype) for f in (np.cos, np.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


class DepthwiseConv(nn.Module):
    """One filter of odd length `kernel` per channel, over time: `[batch, time, width] -> [batch, time, width]`."""

    kernel: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        weight = self.param('kernel', self.kernel_init, (self.kernel, width), jnp.float32).astype(x.dtype)
        bias = self.param('bias', self.bias_init, (width,), jnp.float32).astype(x.dtype)
        return depthwise(x, weight) + bias[None, None]
