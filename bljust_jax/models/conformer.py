"""The Conformer encoder (arXiv 2005.08100), with rotary positions and without batch statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import ConformerConfig
from bljust_jax.masking import length_mask, zero_padding
from bljust_jax.models.layers import BRANCH_INIT, ConvSubsampling, DepthwiseConv, Dropout, FeedForward, SelfAttention


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
            x = nn.GroupNorm(num_groups=self.config.heads)(x, mask=jnp.broadcast_to(valid[..., None], x.shape))
        return nn.Dense(width, kernel_init=BRANCH_INIT)(nn.silu(x))


class ConformerBlock(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, each residual, then LayerNorm."""

    config: ConformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        config, drop = self.config, Dropout(self.config.dropout)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        x = x + drop(SelfAttention(config.heads)(x, lengths), train)
        x = x + drop(ConvModule(config)(x, lengths), train)
        x = x + 0.5 * drop(FeedForward(config.expansion, config.dropout)(x, train), train)
        return nn.LayerNorm()(x)


# What a block's forward pass keeps for its backward pass, by name of `ConformerConfig.remat`; None keeps everything.
REMAT_POLICIES = {
    'none': None,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    'full': jax.checkpoint_policies.nothing_saveable,
}


class Conformer(nn.Module):
    """`(features [batch, time, mel], lengths [batch], train) -> (hidden [batch, ceil(time / 4), width], lengths)`.

    With `config.scan`, blocks are scanned over their stacked parameters, so that compile time does not grow with depth;
    without it, a step on CPU is a quarter faster, as nothing is copied into and out of stacks. `config.remat` trades
    memory for computing parts of the blocks twice; neither changes what is computed.
    Valid frames do not depend on padding; frames at and after a row's length are unspecified.
    """

    config: ConformerConfig
    subsampling = ConvSubsampling.factor

    @nn.compact
    def __call__(self, features: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        config = self.config
        x, lengths = ConvSubsampling(config.channels, config.width)(features, lengths)
        x = Dropout(config.dropout)(x, train)
        block_class = ConformerBlock
        if policy := REMAT_POLICIES[config.remat]:
            # `train`, the third argument after `self`, is no array. A scan needs no barrier against merging the passes.
            block_class = nn.remat(ConformerBlock, policy=policy, static_argnums=3, prevent_cse=not config.scan)
        if config.scan:
            blocks = nn.scan(
                lambda block, x, _: (block(x, lengths, train), None),
                variable_axes={'params': 0},
                split_rngs={'params': True, 'dropout': True},
                length=config.layers,
            )
            x, _ = blocks(block_class(config, name='blocks'), x, None)
        else:
            for index in range(config.layers):
                x = block_class(config, name=f'block_{index}')(x, lengths, train)
        return x, lengths
