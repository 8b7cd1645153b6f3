"""Decoders: from logits to labels."""

from bljust_jax.decode.attention_beam import attention_beam
from bljust_jax.decode.ctc_beam import Hypotheses, ctc_beam
from bljust_jax.decode.factory import Decode, make_decoder
from bljust_jax.decode.greedy import ctc_greedy

__all__ = ['Decode', 'Hypotheses', 'attention_beam', 'ctc_beam', 'ctc_greedy', 'make_decoder']
