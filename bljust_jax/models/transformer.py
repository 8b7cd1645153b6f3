"""The Transformer encoder of wav2vec 2.0 (arXiv 2006.11477), on latents of log-mel features."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import TransformerConfig
from bljust_jax.masking import zero_padding
from bljust_jax.models.attention import attention
from bljust_jax.models.encoder import Encoder, Layers
from bljust_jax.models.grouped import grouped
from bljust_jax.models.layers import BRANCH_INIT, ConvSubsampling, Dropout
from bljust_jax.models.stack import Stack


class LayerNorm(nn.LayerNorm):
    """As PyTorch's: what is added to the variance is 1e-5."""

    epsilon: float = 1e-5


class PositionalConv(nn.Module):
    """Relative positions as a wide grouped convolution, then GELU (`[batch, time, width]`).

    The original trains its kernel as a direction and a length for each tap (weight norm); here it is one array.
    """

    kernel: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        init = nn.initializers.normal(math.sqrt(4 / (self.kernel * width)))
        kernel = self.param('kernel', init, (self.kernel, width // self.groups, width), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (width,), jnp.float32)
        return gelu(grouped(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)[None, None])


class Attention(nn.Module):
    """Multi-head self-attention over the valid frames; what it knows of positions is in `x [batch, time, width]`."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        width = x.shape[-1]
        query, key, value = jnp.split(nn.DenseGeneral((self.heads, 3 * width // self.heads))(x), 3, axis=-1)
        x = attention(query, key, value, lengths)
        return nn.DenseGeneral(width, axis=(-2, -1), kernel_init=BRANCH_INIT)(x)


class FeedForward(nn.Module):
    """Expansion, GELU, projection (`[batch, time, width]`)."""

    expansion: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        width = x.shape[-1]
        x = gelu(nn.Dense(self.expansion * width)(x))
        return nn.Dense(width, kernel_init=BRANCH_INIT)(Dropout(self.dropout)(x, train))


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward, both residual; a LayerNorm of what each begins with, or of the sum."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        config, drop = self.config, Dropout(self.config.dropout)
        attend, feed_forward = Attention(config.heads), FeedForward(config.expansion, config.dropout)
        if config.norm == 'pre':
            x = x + drop(attend(LayerNorm()(x), lengths), train)
            return x + drop(feed_forward(LayerNorm()(x), train), train)
        x = LayerNorm()(x + drop(attend(x, lengths), train))
        return LayerNorm()(x + drop(feed_forward(x, train), train))


class TransformerContext(nn.Module):
    """Positions, then blocks: `(latents [batch, time, width], lengths, train) -> (hidden, layers)`.

    With norms before the branches, there is one more at the end; with norms behind them, one at the beginning.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, Layers]:
        config = self.config
        x = zero_padding(x, lengths)
        x = x + PositionalConv(config.kernel, config.groups)(x)
        if config.norm == 'post':
            x = LayerNorm()(x)
        x, layers = Stack(TransformerBlock, config)(x, lengths, train)
        return LayerNorm()(x) if config.norm == 'pre' else x, layers


def gelu(x: jax.Array) -> jax.Array:
    """`x Φ(x)`, exactly (arXiv 1606.08415)."""
    return nn.gelu(x, approximate=False)


def transformer(config: TransformerConfig) -> Encoder:
    """The Transformer of `config`: 4 times fewer frames than features, and `config.layers` blocks of `config.width`."""
    return Encoder(ConvSubsampling(config.channels, config.width), TransformerContext(config))
