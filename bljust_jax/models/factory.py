"""Encoder name -> encoder, and its use. Every encoder maps `(features, lengths, train)` to `(hidden, lengths)`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bljust_jax.config import Config
from bljust_jax.errors import UserError
from bljust_jax.models.conformer import conformer, fast_conformer
from bljust_jax.models.e_branchformer import e_branchformer
from bljust_jax.models.encoder import Encoder, Layers
from bljust_jax.models.lstm import lstm_encoder
from bljust_jax.models.transformer import transformer
from bljust_jax.types import Params, Rngs

ENCODERS: dict[str, Callable[[Config], Encoder]] = {
    'conformer': lambda config: conformer(config.conformer),
    'fast_conformer': lambda config: fast_conformer(config.fast_conformer),
    'e_branchformer': lambda config: e_branchformer(config.e_branchformer),
    'transformer': lambda config: transformer(config.transformer),
    'lstm': lambda config: lstm_encoder(config.lstm),
}


def make_encoder(config: Config) -> Encoder:
    """The encoder that `config.encoder` names.

    Raises:
      UserError: if there is no such encoder.
    """
    if config.encoder not in ENCODERS:
        raise UserError(f'config.encoder must be one of {", ".join(ENCODERS)}, not {config.encoder!r}.')
    return ENCODERS[config.encoder](config)


def hidden_width(encoder: Encoder, mels: int) -> int:
    """The width of the hidden frames that `encoder` makes of features with `mels` mels."""
    return _shapes(encoder, mels)[0].shape[-1]


def layer_widths(encoder: Encoder, mels: int) -> tuple[int, ...]:
    """The width of the output of each of the layers of `encoder`, in order."""
    return tuple(layer.shape[-1] for layer in _shapes(encoder, mels)[1])


def _shapes(encoder: Encoder, mels: int) -> tuple[jax.ShapeDtypeStruct, tuple[jax.ShapeDtypeStruct, ...]]:
    """Of the hidden frames, and of the outputs of the layers."""
    features = jax.ShapeDtypeStruct((1, 64, mels), jnp.float32)
    lengths = jax.ShapeDtypeStruct((1,), jnp.int32)

    def outputs(features: jax.Array, lengths: jax.Array) -> tuple[jax.Array, Layers]:
        def run(encoder: Encoder) -> tuple[jax.Array, Layers]:
            return encoder.contextualize(*encoder.latents(features, lengths), False)

        return encoder.init_with_output(jax.random.key(0), method=run)[0]

    return jax.eval_shape(outputs, features, lengths)


def encode(
    encoder: Encoder,
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
    latents, lengths = encode_latents(encoder, params, features, lengths, dtype=dtype)
    return encode_context(encoder, params, latents, lengths, dtype=dtype, rngs=rngs)[0], lengths


def encode_latents(
    encoder: Encoder, params: Params, features: jax.Array, lengths: jax.Array, *, dtype: str
) -> tuple[jax.Array, jax.Array]:
    """The first part of `encode`, up to the latents `[batch, time', latent]`, for objectives that mask these."""
    weights, features = jax.tree.map(lambda x: x.astype(dtype), (params['encoder'], features))
    latents, lengths = encoder.apply({'params': weights}, features, lengths, method='latents')
    return latents.astype(jnp.float32), lengths


def encode_context(
    encoder: Encoder,
    params: Params,
    latents: jax.Array,
    lengths: jax.Array,
    *,
    dtype: str,
    rngs: Rngs | None = None,
) -> tuple[jax.Array, Layers]:
    """The second part of `encode`, from latents to `(hidden, layers)`: the last also, the output of every layer."""
    weights, latents = jax.tree.map(lambda x: x.astype(dtype), (params['encoder'], latents))
    streams = None if rngs is None else {'dropout': rngs['dropout']}
    hidden, layers = encoder.apply(
        {'params': weights}, latents, lengths, rngs is not None, rngs=streams, method='contextualize'
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), (hidden, layers))
