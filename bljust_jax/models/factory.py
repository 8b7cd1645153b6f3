"""Encoder name -> encoder, and its use. Every encoder maps `(features, lengths, train)` to `(hidden, lengths)`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import Config
from bljust_jax.errors import UserError
from bljust_jax.models.conformer import Conformer
from bljust_jax.types import Params, Rngs

ENCODERS: dict[str, Callable[[Config], nn.Module]] = {
    'conformer': lambda config: Conformer(config.conformer),
}


def make_encoder(config: Config) -> nn.Module:
    """The encoder that `config.encoder` names.

    Its attribute `subsampling` is the number of feature frames to a hidden frame.

    Raises:
      UserError: if there is no such encoder.
    """
    if config.encoder not in ENCODERS:
        raise UserError(f'config.encoder must be one of {", ".join(ENCODERS)}, not {config.encoder!r}.')
    return ENCODERS[config.encoder](config)


def hidden_width(encoder: nn.Module, mels: int) -> int:
    """The width of the hidden frames that `encoder` makes of features with `mels` mels."""
    features = jax.ShapeDtypeStruct((1, 64, mels), jnp.float32)
    lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
    hidden = jax.eval_shape(
        lambda features, lengths: encoder.init_with_output(jax.random.key(0), features, lengths, False)[0][0],
        features,
        lengths,
    )
    return hidden.shape[-1]


def encode(
    encoder: nn.Module,
    params: Params,
    features: jax.Array,
    lengths: jax.Array,
    *,
    dtype: str,
    rngs: Rngs | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The shared encoder, computing in `dtype` on float32 parameters; in training mode if it is given `rngs`.

    Features `[batch, time, mel]` to hidden `[batch, time', width], lengths`, both float32 whatever `dtype`, and so are
    the gradients.
    """
    weights, features = jax.tree.map(lambda x: x.astype(dtype), (params['encoder'], features))
    streams = None if rngs is None else {'dropout': rngs['dropout']}
    hidden, lengths = encoder.apply({'params': weights}, features, lengths, rngs is not None, rngs=streams)
    return hidden.astype(jnp.float32), lengths
