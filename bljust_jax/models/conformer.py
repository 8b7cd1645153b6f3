"""Conformer (arXiv 2005.08100) and FastConformer (arXiv 2305.05084), with rotary positions and no batch statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import ConformerConfig, FastConformerConfig
from bljust_jax.masking import length_mask, zero_padding
from bljust_jax.models.encoder import Encoder
from bljust_jax.models.layers import BRANCH_INIT, ConvSubsampling, DepthwiseConv, Dropout, FeedForward, SelfAttention
from bljust_jax.models.stack import Stack
from bljust_jax.models.subsampling import DepthwiseSubsampling


class ConvModule(nn.Module):
    """LayerNorm, gated pointwise, depthwise over time, norm, SiLU, pointwise (`[batch, time, width]`)."""

    config: ConformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        width = self.config.width
        x = nn.glu(nn.Dense(2 * width)(nn.LayerNorm()(x)))
        x = DepthwiseConv(self.config.kernel)(zero_padding(x, lengths))
        if self.config.norm == 'layer':
            x = nn.LayerNorm()(x)
        else:
            # A row without frames is normalised over its padding: the mean of nothing would be NaN.
            valid = length_mask(lengths, x.shape[1]) | (lengths == 0)[:, None]
            x = nn.GroupNorm(num_groups=self.config.groups)(x, mask=jnp.broadcast_to(valid[..., None], x.shape))
        return nn.Dense(width, kernel_init=BRANCH_INIT)(nn.silu(x))


class ConformerBlock(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, each residual, then LayerNorm."""

    config: ConformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        config, drop = self.config, Dropout(self.config.dropout)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        x = x + drop(SelfAttention(config.heads, config.positions)(x, lengths), train)
        x = x + drop(ConvModule(config)(x, lengths), train)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        return nn.LayerNorm()(x)


def conformer(config: ConformerConfig) -> Encoder:
    """The Conformer of `config`: 4 times fewer frames than features, and `config.layers` blocks of `config.width`."""
    return Encoder(ConvSubsampling(config.channels, config.width), Stack(ConformerBlock, config))


def fast_conformer(config: FastConformerConfig) -> Encoder:
    """The FastConformer of `config`: 8 times fewer frames than features, and the blocks of a Conformer."""
    return Encoder(DepthwiseSubsampling(config.channels, config.width), Stack(ConformerBlock, config))
