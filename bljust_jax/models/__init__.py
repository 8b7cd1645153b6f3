"""Encoders and heads (flax.linen)."""

from bljust_jax.models.factory import ENCODERS, encode, hidden_width, make_encoder

__all__ = ['ENCODERS', 'encode', 'hidden_width', 'make_encoder']
