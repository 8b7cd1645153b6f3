"""The E-Branchformer encoder (arXiv 2210.00077), with rotary positions."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import EBranchformerConfig
from bljust_jax.masking import zero_padding
from bljust_jax.models.encoder import Encoder
from bljust_jax.models.layers import BRANCH_INIT, ConvSubsampling, DepthwiseConv, Dropout, FeedForward, SelfAttention
from bljust_jax.models.stack import Stack


class GatingMLP(nn.Module):
    """MLP with convolutional gating (cgMLP): LayerNorm, expansion, GELU, half of it gated by the other, projection.

    The gate is LayerNorm and a depthwise convolution over time, which begins wide open, at 1 (gMLP, arXiv 2105.08050).
    `[batch, time, width]`; `expansion * width` is even.
    """

    expansion: int
    kernel: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        width = x.shape[-1]
        x = nn.gelu(nn.Dense(self.expansion * width)(nn.LayerNorm()(x)), approximate=False)
        content, gate = jnp.split(x, 2, axis=-1)
        gate = zero_padding(nn.LayerNorm()(gate), lengths)
        gate = DepthwiseConv(self.kernel, kernel_init=nn.initializers.zeros, bias_init=nn.initializers.ones)(gate)
        return nn.Dense(width)(Dropout(self.dropout)(content * gate, train))


class EBranchformerBlock(nn.Module):
    """Half feed-forward, attention and cgMLP side by side, half feed-forward, each residual, then LayerNorm.

    The branches are merged by `concat + depthwise(concat)` and a projection.
    """

    config: EBranchformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        config, drop = self.config, Dropout(self.config.dropout)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        attended = drop(SelfAttention(config.heads, config.positions, nn.linear.default_kernel_init)(x, lengths), train)
        gated = drop(GatingMLP(config.gate_expansion, config.kernel, config.dropout)(x, lengths, train), train)
        both = zero_padding(jnp.concatenate([attended, gated], axis=-1), lengths)
        both = both + DepthwiseConv(config.merge_kernel)(both)
        x = x + drop(nn.Dense(config.width, kernel_init=BRANCH_INIT)(both), train)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        return nn.LayerNorm()(x)


def e_branchformer(config: EBranchformerConfig) -> Encoder:
    """The E-Branchformer of `config`: 4 times fewer frames than features, and `config.layers` blocks."""
    return Encoder(ConvSubsampling(config.channels, config.width), Stack(EBranchformerBlock, config))
