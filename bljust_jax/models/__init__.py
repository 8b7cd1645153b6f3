"""Encoders and heads (flax.linen)."""

from bljust_jax.models.encoder import Encoder
from bljust_jax.models.factory import (
    ENCODERS,
    encode,
    encode_context,
    encode_latents,
    hidden_width,
    layer_widths,
    make_encoder,
)

__all__ = [
    'ENCODERS',
    'Encoder',
    'encode',
    'encode_context',
    'encode_latents',
    'hidden_width',
    'layer_widths',
    'make_encoder',
]
