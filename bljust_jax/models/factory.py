"""Encoder name -> encoder. Every encoder maps `(features, lengths, train)` to `(hidden, lengths)`."""

from collections.abc import Callable

from flax import linen as nn

from bljust_jax.config import Config
from bljust_jax.errors import UserError
from bljust_jax.models.conformer import Conformer

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
