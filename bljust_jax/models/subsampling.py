"""The front end of FastConformer (arXiv 2305.05084, section 3): 8 times fewer frames at little cost."""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.masking import strided_lengths, zero_padding


class DepthwiseSubsampling(nn.Module):
    """A 3 x 3 convolution over time and mels and two depthwise-separable ones, each of stride 2, then a projection.

    `(features [batch, time, mel], lengths [batch]) -> (latents [batch, ceil(time / 8), width], lengths)`.
    """

    channels: int
    width: int
    factor = 8

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = zero_padding(x, lengths)[..., None]
        # Explicit padding: 'SAME' pads by the parity of the padded length, which would shift the frames.
        x = nn.relu(nn.Conv(self.channels, (3, 3), strides=2, padding=((1, 1), (1, 1)))(images))
        lengths = strided_lengths(lengths, 2)
        for _ in range(2):
            x = StridedDepthwiseConv()(zero_padding(x, lengths))
            lengths = strided_lengths(lengths, 2)
            x = nn.relu(nn.Dense(self.channels)(x))
        return nn.Dense(self.width)(x.reshape(*x.shape[:2], -1)), lengths


class StridedDepthwiseConv(nn.Module):
    """One 3 x 3 filter a channel, stride 2: `[batch, time, mel, channel]` to half of time and mels, rounded up."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        weight = self.param('kernel', nn.initializers.lecun_normal((0, 1), 2), (3, 3, channels), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (channels,), jnp.float32)
        weight, bias = weight.astype(x.dtype), bias.astype(x.dtype)
        return strided_depthwise(x, weight) + bias[None, None, None]


def strided_depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`y[b, t, f, c] = Σ_ij x[b, 2t + i − 1, 2f + j − 1, c] w[i, j, c]`, with zeros outside of `x`.

    The form is chosen for each backend when it is lowered: see `depthwise.py`, which does this in one dimension.

    Args:
      x: `[batch, time, mel, channel]`.
      kernel: `[3, 3, channel]`, of the dtype of `x`.

    Returns:
      `[batch, ceil(time / 2), ceil(mel / 2), channel]`.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=shifted_products, default=grouped_convolution)


def grouped_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a convolution with a group for each channel, for which accelerators have kernels of their own."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        window_strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=x.shape[-1],
    )


def shifted_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a sum of shifted products, which takes a tenth of the time on CPU, backward pass included."""
    time, mels = (-(-size // 2) for size in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (1, 2 * time - x.shape[1]), (1, 2 * mels - x.shape[2]), (0, 0)))
    return functools.reduce(
        jnp.add,
        (
            padded[:, i : i + 2 * time - 1 : 2, j : j + 2 * mels - 1 : 2] * kernel[i, j][None, None, None]
            for i, j in itertools.product(range(3), repeat=2)
        ),
    )
