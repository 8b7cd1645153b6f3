"""Decoders: from logits to labels."""

from bljust_jax.decode.greedy import ctc_greedy

__all__ = ['ctc_greedy']
