"""wav2vec 2.0 on untranscribed audio."""

import jax
import jax.numpy as jnp

from bljust_jax.losses.unsupervised import wav2vec2
from bljust_jax.losses.unsupervised.codes import code_metrics, count_codes
from bljust_jax.losses.unsupervised.span_mask import sample_mask
from bljust_jax.models.masked import Wav2Vec2Head
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


def wav2vec2_level(setup: Setup) -> Level:
    """Masked latents, predicted from their context and told from others of the utterance, all of them quantised."""
    options = setup.config.wav2vec2
    head = Wav2Vec2Head(options.groups, options.codes, options.code_dim, options.dim)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.latent, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        span_key, noise_key, distractor_key = jax.random.split(rngs['mask'], 3)
        own = setup.head(params)
        latents, lengths = setup.latents(params, *setup.clean(batch))
        frames = latents.shape[1]
        mask = sample_mask(span_key, lengths, frames, options.mask_probability, options.mask_frames)
        noise = jax.random.gumbel(noise_key, (*mask.shape, options.groups, options.codes))
        temperature = wav2vec2.gumbel_temperature(step, options.gumbel_max, options.gumbel_min, options.gumbel_decay)
        targets, quantized = head.apply(own, latents, noise, temperature, method='targets')
        hidden, _ = setup.context(params, head.apply(own, latents, mask, method='mask'), lengths, rngs)
        predicted = head.apply(own, hidden, method='predict')
        distractors = wav2vec2.sample_distractors(
            distractor_key, mask, setup.utterances(batch, frames), options.distractors
        )
        told, metrics = wav2vec2.contrastive(
            predicted, targets, quantized.codes, mask, distractors, options.temperature
        )
        unused = told.weight * wav2vec2.diversity(quantized.probabilities, mask)
        metrics |= {'contrastive': told, 'diversity': Ratio(unused, told.weight)}
        likeliest = jnp.argmax(quantized.probabilities, axis=-1)
        metrics |= code_metrics(count_codes(likeliest, mask, options.codes))
        return LossOutput(told.sum + options.diversity_weight * unused, told.weight, metrics)

    return Level(setup.name, init, loss)
