"""Encoders and heads (flax.linen)."""

from bljust_jax.models.factory import ENCODERS, encode, make_encoder

__all__ = ['ENCODERS', 'encode', 'make_encoder']
