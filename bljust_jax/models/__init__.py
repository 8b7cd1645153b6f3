"""Encoders and heads (flax.linen)."""

from bljust_jax.models.factory import ENCODERS, make_encoder

__all__ = ['ENCODERS', 'make_encoder']
