"""Decoders: from logits to labels."""

from bljust_jax.decode.ctc_beam import Hypotheses, ctc_beam
from bljust_jax.decode.greedy import ctc_greedy

__all__ = ['Hypotheses', 'ctc_beam', 'ctc_greedy']
