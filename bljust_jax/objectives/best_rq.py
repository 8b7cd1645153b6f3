"""BEST-RQ on untranscribed audio."""

import dataclasses

import jax

from bljust_jax.features import log_mel
from bljust_jax.losses.unsupervised import best_rq
from bljust_jax.losses.unsupervised.span_mask import sample_mask
from bljust_jax.masking import strided_lengths
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs


def best_rq_level(setup: Setup) -> Level:
    """BEST-RQ: codes of the clean, normalised features, predicted from features whose masked spans are noise."""
    options = setup.config.best_rq
    head = LinearHead(options.codebooks * options.codebook_size)
    quantizer = best_rq.make_quantizer(options, setup.encoder.subsampling * setup.config.log_mel.mels)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        features, lengths = setup.clean(batch)
        normalised = features
        if not setup.config.log_mel.normalize:
            # "Critical", says the paper: the codes of other features are nearly all the same.
            normalising = dataclasses.replace(setup.config.log_mel, normalize=True)
            normalised, _ = log_mel(batch.audio, batch.lengths, normalising, batch.ends)
        stacked = best_rq.stack_frames(normalised, setup.encoder.subsampling)
        codes = best_rq.quantize(quantizer, stacked)
        stacks = strided_lengths(lengths, setup.encoder.subsampling)
        span_key, noise_key = jax.random.split(rngs['mask'])
        mask = sample_mask(span_key, stacks, stacked.shape[1], options.mask_probability, options.mask_frames)
        masked = best_rq.mask_features(features, mask, setup.encoder.subsampling, noise_key, options.noise)
        hidden, lengths = setup.encode(params, masked, lengths, rngs)
        logits = head.apply(setup.head(params), hidden)
        logits = logits.reshape(*codes.shape, options.codebook_size)
        value, metrics = best_rq.masked_prediction(logits, codes, mask)
        return LossOutput(value.sum, value.weight, metrics)

    return Level(setup.name, init, loss)
