"""The LSTM encoder, in both directions by default: a convolutional front end under a stack of recurrent layers."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import LstmConfig
from bljust_jax.masking import zero_padding
from bljust_jax.models.encoder import Encoder, Layers
from bljust_jax.models.layers import ConvSubsampling, Dropout
from bljust_jax.models.recurrence import lstm, remembering, reverse
from bljust_jax.models.stack import Stack


class LstmLayer(nn.Module):
    """LSTMs of `cells` in one or both directions: `(x [time, batch, width], lengths) -> [time, batch, (2) cells]`.

    The backward one begins at each row's last valid frame. Products with `x` are taken for all times, before the loop.
    """

    cells: int
    bidirectional: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        directions, gates = 1 + self.bidirectional, 4 * self.cells
        kernel = self.param('kernel', nn.initializers.orthogonal(), (directions, self.cells, gates), jnp.float32)
        bias = self.param('bias', remembering, (directions, gates), jnp.float32)
        inputs = nn.DenseGeneral((directions, gates), use_bias=False)(x) + bias.astype(x.dtype)[None, None]
        sides = [inputs[:, :, 0]] + ([reverse(inputs[:, :, 1], lengths)] if self.bidirectional else [])
        hidden = lstm(jnp.stack(sides, axis=1), kernel.astype(x.dtype))
        if not self.bidirectional:
            return hidden[:, 0]
        return jnp.concatenate([hidden[:, 0], reverse(hidden[:, 1], lengths)], axis=-1)


class LstmBlock(nn.Module):
    """A recurrent layer, LayerNorm and dropout: `(x [time, batch, width], lengths, train) -> x`."""

    config: LstmConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        config = self.config
        x = LstmLayer(config.width // (1 + config.bidirectional), config.bidirectional)(x, lengths)
        if config.norm == 'layer':
            x = nn.LayerNorm()(x)
        return Dropout(config.dropout)(x, train)


class LstmContext(nn.Module):
    """Recurrent layers one after the other: `(latents [batch, time, width], lengths, train) -> (hidden, layers)`."""

    config: LstmConfig

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, Layers]:
        time_first = zero_padding(x, lengths).swapaxes(0, 1)
        outputs = Stack(LstmBlock, self.config)(time_first, lengths, train)
        return jax.tree.map(lambda x: x.swapaxes(0, 1), outputs)


def lstm_encoder(config: LstmConfig) -> Encoder:
    """The LSTM of `config`: 4 times fewer frames than features, and `config.layers` layers of `config.width`."""
    return Encoder(ConvSubsampling(config.channels, config.width), LstmContext(config))
