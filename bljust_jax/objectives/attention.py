"""An attention decoder on transcribed audio, alone or together with CTC.

Both losses are nats per label, as CTC's is: the end of a row is predicted too, but is no label of it.
"""

import jax
import jax.numpy as jnp

from bljust_jax.losses.supervised.attention import attention_accuracy, attention_feasible, attention_loss
from bljust_jax.models.attention_decoder import AttentionDecoder
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.ctc import make_ctc
from bljust_jax.objectives.setup import Setup, weigh_labels
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


def attention_level(setup: Setup) -> Level:
    """Cross-entropy of an attention decoder on SpecAugmented features.

    Rows without a hidden frame weigh nothing; those that have labels all the same are counted in `infeasible`.
    """
    options = setup.config.attention_decoder
    decoder = AttentionDecoder(options, setup.vocab_size)

    def init(key: jax.Array) -> Params:
        return _init_decoder(decoder, setup, key)

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        hidden, lengths = setup.encode(params, *setup.augmented(batch, rngs), rngs)
        logits = _predict(decoder, params['heads'][setup.name], hidden, lengths, batch, rngs)
        rows = lengths, batch.labels, batch.label_lengths
        losses = attention_loss(logits, *rows, label_smoothing=options.label_smoothing)
        weight, metrics = weigh_labels(batch, attention_feasible(lengths, batch.label_lengths))
        return LossOutput(losses.sum(), weight, metrics | {'accuracy': attention_accuracy(logits, *rows)})

    return Level(setup.name, init, loss)


def hybrid_level(setup: Setup) -> Level:
    """`w CTC + (1 − w) cross-entropy` on the same hidden frames (arXiv 1609.06773), with w `ctc_weight`.

    The head has two parts, `ctc` and `decoder`. Rows that are infeasible for CTC weigh nothing in either.
    """
    options = setup.config.attention_decoder
    decoder, head, ctc_of = AttentionDecoder(options, setup.vocab_size), LinearHead(setup.vocab_size), make_ctc(setup)

    def init(key: jax.Array) -> Params:
        keys = jax.random.split(key)
        return {'ctc': head.init(keys[0], setup.frame)['params'], 'decoder': _init_decoder(decoder, setup, keys[1])}

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        latents, lengths = setup.latents(params, *setup.augmented(batch, rngs))
        hidden, layers = setup.context(params, latents, lengths, rngs)
        own = params['heads'][setup.name]
        ctc = ctc_of(own['ctc'], hidden, layers, lengths, batch)
        logits = _predict(decoder, own['decoder'], hidden, lengths, batch, rngs)
        rows = jnp.where(ctc.feasible, lengths, 0), batch.labels, batch.label_lengths
        losses = attention_loss(logits, *rows, label_smoothing=options.label_smoothing)
        weight = options.ctc_weight
        return LossOutput(
            weight * ctc.losses.sum() + (1 - weight) * losses.sum(),
            ctc.weight,
            ctc.metrics
            | {
                'accuracy': attention_accuracy(logits, *rows),
                'ctc_loss': Ratio(ctc.losses.sum(), ctc.weight),
                'attention_loss': Ratio(losses.sum(), ctc.weight),
            },
        )

    return Level(setup.name, init, loss)


def _init_decoder(decoder: AttentionDecoder, setup: Setup, key: jax.Array) -> Params:
    return decoder.init(key, setup.frame, jnp.ones(1, jnp.int32), jnp.zeros((1, 1), jnp.int32))['params']


def _predict(
    decoder: AttentionDecoder, params: Params, hidden: jax.Array, lengths: jax.Array, batch: Batch, rngs: Rngs
) -> jax.Array:
    """The decoder's logits `[batch, 1 + label, vocab]` given the true labels, with dropout of its own."""
    streams = {'dropout': jax.random.fold_in(rngs['dropout'], 1)}
    return decoder.apply({'params': params}, hidden, lengths, batch.labels, True, rngs=streams)
