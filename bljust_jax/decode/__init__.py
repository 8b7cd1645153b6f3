"""Decoders: from logits to labels."""

from bljust_jax.decode.attention_beam import attention_beam
from bljust_jax.decode.ctc_beam import ctc_beam
from bljust_jax.decode.factory import Decode, make_decoder
from bljust_jax.decode.hypotheses import Hypotheses
from bljust_jax.decode.rnnt_beam import rnnt_beam
from bljust_jax.decode.rnnt_greedy import rnnt_greedy
from bljust_jax.losses.supervised.ctc import ctc_greedy

__all__ = [
    'Decode',
    'Hypotheses',
    'attention_beam',
    'ctc_beam',
    'ctc_greedy',
    'make_decoder',
    'rnnt_beam',
    'rnnt_greedy',
]
