"""A stack of equal blocks, one after the other or scanned, which may compute parts twice instead of keeping them."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from bljust_jax.models.encoder import Layers
from bljust_jax.models.layers import Dropout

# What a block's forward pass keeps for its backward pass, by name of the `remat` field; None keeps everything.
REMAT_POLICIES: dict[str, Any] = {
    'none': None,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    'full': jax.checkpoint_policies.nothing_saveable,
}


class Stack(nn.Module):
    """Dropout, then blocks `(x [batch, time, width], lengths [batch], train) -> x`: `-> (x, layers)`, each's output.

    With `config.scan`, blocks are scanned over their stacked parameters, so that compile time does not grow with depth;
    without it, a step on CPU is a quarter faster, as nothing is copied into and out of stacks. `config.remat` trades
    memory for computing parts of the blocks twice; neither changes what is computed.

    Attributes:
      block: a block's class.
      config: what blocks are made of, with the fields `layers`, `dropout`, `scan` and `remat`, which is a key of
        `REMAT_POLICIES`.
    """

    block: Callable[..., nn.Module]
    config: Any

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, Layers]:
        config, block = self.config, self.block
        x = Dropout(config.dropout)(x, train)
        if policy := REMAT_POLICIES[config.remat]:
            # `train`, the third argument after `self`, is no array. A scan needs no barrier against merging the passes.
            block = nn.remat(block, policy=policy, static_argnums=3, prevent_cse=not config.scan)
        if config.scan:
            blocks = nn.scan(
                lambda block, x, _: 2 * (block(x, lengths, train),),
                variable_axes={'params': 0},
                split_rngs={'params': True, 'dropout': True},
                length=config.layers,
            )
            x, outputs = blocks(block(config, name='blocks'), x, None)
            return x, tuple(outputs)
        outputs = []
        for index in range(config.layers):
            x = block(config, name=f'block_{index}')(x, lengths, train)
            outputs.append(x)
        return x, tuple(outputs)
