"""From the configuration to a decoder."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bljust_jax.config import EvalConfig
from bljust_jax.data.text import Tokenizer
from bljust_jax.decode.ctc_beam import ctc_beam
from bljust_jax.decode.greedy import ctc_greedy
from bljust_jax.lm import ngram_table, read_arpa

Decode = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def make_decoder(config: EvalConfig, tokenizer: Tokenizer) -> Decode:
    """`(logits [batch, time, vocab], lengths [batch]) -> (labels [batch, time], numbers [batch])`, to be jitted.

    Raises:
      UserError: if the language model cannot be read, or is of another tokenizer.
    """
    if config.decoder == 'greedy':
        return ctc_greedy
    lm = ngram_table(read_arpa(config.lm), tokenizer.names) if config.lm else None
    begins_word = jnp.array([0.0, *(float(name.startswith('▁')) for name in tokenizer.names)])

    def decode(logits: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = ctc_beam(
            logits,
            lengths,
            beam=config.beam,
            lm=lm,
            lm_weight=config.lm_weight,
            bonus=config.word_bonus * begins_word,
        )
        return found.labels[:, 0], found.label_lengths[:, 0]

    return decode
