"""From the configuration to a decoder: of the upper level's objective, greedy or by beam search."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bljust_jax.config import Config
from bljust_jax.data.text import Tokenizer
from bljust_jax.decode.attention_beam import attention_beam
from bljust_jax.decode.ctc_beam import ctc_beam
from bljust_jax.decode.rnnt_beam import rnnt_beam
from bljust_jax.decode.rnnt_greedy import rnnt_greedy
from bljust_jax.errors import UserError
from bljust_jax.lm import NgramTable, ngram_table, read_arpa
from bljust_jax.losses.supervised.ctc import ctc_greedy
from bljust_jax.models.attention_decoder import AttentionDecoder
from bljust_jax.models.heads import LinearHead
from bljust_jax.models.transducer import Transducer
from bljust_jax.types import Params

Decode = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def make_decoder(config: Config, tokenizer: Tokenizer) -> Decode:
    """`(parameters of the upper head, hidden [batch, time, width], lengths) -> (labels [batch, label], numbers)`.

    To be jitted. Labels are moved to the front of each row.

    Raises:
      UserError: if there is no decoder for the objective, or if the language model cannot be read or is of another
        tokenizer.
    """
    objective = config.levels.sup.objective
    if objective not in DECODERS:
        raise UserError(f'config.levels.sup.objective must be one of {", ".join(DECODERS)}, not {objective!r}.')
    return DECODERS[objective](config, tokenizer)


def ctc_decoder(config: Config, tokenizer: Tokenizer) -> Decode:
    """Best path, or prefix beam search."""
    head, options = LinearHead(tokenizer.vocab_size), config.eval
    lm, bonus = language_model(config, tokenizer), word_bonus(config, tokenizer)

    def decode(params: Params, hidden: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = head.apply({'params': params}, hidden)
        if options.decoder == 'greedy':
            return ctc_greedy(logits, lengths)
        found = ctc_beam(logits, lengths, beam=options.beam, lm=lm, lm_weight=options.lm_weight, bonus=bonus)
        return found.best

    return decode


def rnnt_decoder(config: Config, tokenizer: Tokenizer) -> Decode:
    """The best label again and again, or time-synchronous beam search."""
    transducer, options = Transducer(config.transducer, tokenizer.vocab_size), config.eval
    lm, bonus = language_model(config, tokenizer), word_bonus(config, tokenizer)

    def decode(params: Params, hidden: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        if options.decoder == 'greedy':
            return rnnt_greedy(transducer, params, hidden, lengths, max_symbols=options.max_symbols)
        found = rnnt_beam(
            transducer,
            params,
            hidden,
            lengths,
            beam=options.beam,
            max_symbols=options.max_symbols,
            lm=lm,
            lm_weight=options.lm_weight,
            bonus=bonus,
        )
        return found.best

    return decode


def attention_decoder(config: Config, tokenizer: Tokenizer) -> Decode:
    """An attention decoder alone."""
    search = _attention_search(config, tokenizer)
    return lambda params, hidden, lengths: search(params, hidden, lengths, None)


def hybrid_decoder(config: Config, tokenizer: Tokenizer) -> Decode:
    """An attention decoder, and CTC's scores with weight `config.eval.ctc_weight`."""
    head, search = LinearHead(tokenizer.vocab_size), _attention_search(config, tokenizer)

    def decode(params: Params, hidden: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        return search(params['decoder'], hidden, lengths, head.apply({'params': params['ctc']}, hidden))

    return decode


def _attention_search(
    config: Config, tokenizer: Tokenizer
) -> Callable[[Params, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]]:
    decoder, options = AttentionDecoder(config.attention_decoder, tokenizer.vocab_size), config.eval
    lm, bonus = language_model(config, tokenizer), word_bonus(config, tokenizer)

    def decode(
        params: Params, hidden: jax.Array, lengths: jax.Array, ctc_logits: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        found = attention_beam(
            decoder,
            params,
            hidden,
            lengths,
            ctc_logits=ctc_logits if options.ctc_weight > 0 else None,
            ctc_weight=options.ctc_weight,
            beam=options.beam if options.decoder == 'beam' else 1,
            best=1,
            lm=lm,
            lm_weight=options.lm_weight,
            bonus=bonus,
            labels_per_frame=options.labels_per_frame,
        )
        return found.best

    return decode


def language_model(config: Config, tokenizer: Tokenizer) -> NgramTable | None:
    """The n-gram model of `config.eval`, if it has one.

    Raises:
      UserError: if it cannot be read, or is of another tokenizer.
    """
    return ngram_table(read_arpa(config.eval.lm), tokenizer.names) if config.eval.lm else None


def word_bonus(config: Config, tokenizer: Tokenizer) -> jax.Array:
    """What each label adds to a score `[vocab]`: `config.eval.word_bonus` if it begins a word."""
    return config.eval.word_bonus * jnp.array([0.0, *(float(name.startswith('▁')) for name in tokenizer.names)])


DECODERS: dict[str, Callable[[Config, Tokenizer], Decode]] = {
    'ctc': ctc_decoder,
    'rnnt': rnnt_decoder,
    'attention': attention_decoder,
    'hybrid': hybrid_decoder,
}
