"""CPC on untranscribed audio."""

import jax
import jax.numpy as jnp

from bljust_jax.losses.unsupervised import cpc
from bljust_jax.models.heads import PredictiveHead
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs


def cpc_level(setup: Setup) -> Level:
    """CPC: from the last hidden frame of a window's past, its future frames, among others."""
    options = setup.config.cpc
    past, future = (
        setup.encoder.subsampling * max(round(seconds / setup.config.log_mel.hop / setup.encoder.subsampling), 1)
        for seconds in (options.context_seconds, options.future_seconds)
    )
    head = PredictiveHead(future // setup.encoder.subsampling, options.dim)

    def init(key: jax.Array) -> Params:
        return head.init(key, jnp.zeros((1, setup.width)), jnp.zeros((1, head.steps, setup.width)))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        features, lengths = setup.clean(batch)
        before, after, valid = cpc.cut_windows(features, lengths, past, future)
        rows = jnp.full(valid.shape, 1, jnp.int32)
        other_rngs = {'dropout': jax.random.fold_in(rngs['dropout'], 1)}
        seen, _ = setup.encode(params, before, past * rows, rngs)
        unseen, _ = setup.encode(params, after, future * rows, other_rngs)
        predicted, target = head.apply(setup.head(params), seen[:, -1], unseen)
        utterances = jnp.repeat(jnp.arange(len(batch.lengths)), len(valid) // len(batch.lengths))
        value, metrics = cpc.info_nce(
            predicted,
            target,
            valid,
            rngs['mask'],
            negatives=options.negatives,
            temperature=options.temperature,
            utterances=utterances if options.negatives_from == 'utterance' else None,
        )
        return LossOutput(value.sum, value.weight, metrics)

    return Level(setup.name, init, loss)
