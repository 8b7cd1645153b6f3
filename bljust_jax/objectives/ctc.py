"""CTC of transcribed audio."""

import jax
import jax.numpy as jnp

from bljust_jax.losses.supervised.ctc import ctc_feasible, ctc_loss
from bljust_jax.masking import length_mask
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


def ctc_level(setup: Setup) -> Level:
    """CTC on SpecAugmented features; infeasible rows weigh nothing and are counted in `infeasible`."""
    head = LinearHead(setup.vocab_size)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        hidden, lengths = setup.encode(params, *setup.augmented(batch, rngs), rngs)
        logits = head.apply(setup.head(params), hidden)
        losses = ctc_loss(logits, lengths, batch.labels, batch.label_lengths)
        feasible = ctc_feasible(lengths, batch.labels, batch.label_lengths)
        weight = jnp.where(feasible, batch.label_lengths, 0).sum().astype(jnp.float32)
        rows = (batch.lengths > 0).sum().astype(jnp.float32)
        valid = length_mask(lengths, hidden.shape[1])
        blank = (jnp.argmax(logits, axis=-1) == 0) & valid
        return LossOutput(
            losses.sum(),
            weight,
            {
                'infeasible': Ratio((~feasible).sum().astype(jnp.float32), rows),
                'blank': Ratio(blank.sum().astype(jnp.float32), valid.sum().astype(jnp.float32)),
            },
        )

    return Level(setup.name, init, loss)
