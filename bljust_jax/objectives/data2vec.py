"""data2vec on untranscribed audio."""

import jax

from bljust_jax.errors import UserError
from bljust_jax.losses.unsupervised.data2vec import layer_targets, masked_regression
from bljust_jax.losses.unsupervised.span_mask import sample_mask
from bljust_jax.models import widths
from bljust_jax.models.masked import RegressionHead
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs


def data2vec_level(setup: Setup) -> Level:
    """The mean of the teacher's top layers on clean speech, predicted from speech whose latents are masked.

    Raises:
      UserError: the teacher has fewer layers.
    """
    options, teacher = setup.config.data2vec, setup.of_teacher()
    layers = widths(teacher.encoder, setup.config.log_mel.mels).layers
    if options.layers > len(layers):
        raise UserError(f"config.data2vec.layers must be at most the teacher's {len(layers)}, not {options.layers}.")
    head = RegressionHead(layers[-1])

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.latent, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        own, knowing = setup.head(params), jax.lax.stop_gradient(params['teacher'])
        features, frames = setup.clean(batch)
        _, seen = teacher.context(knowing, *teacher.latents(knowing, features, frames))
        latents, lengths = setup.latents(params, features, frames)
        targets = layer_targets(seen, lengths, options.layers)
        mask = sample_mask(rngs['mask'], lengths, latents.shape[1], options.mask_probability, options.mask_frames)
        hidden, _ = setup.context(params, head.apply(own, latents, mask, method='mask'), lengths, rngs)
        predicted = head.apply(own, hidden, method='predict')
        value, metrics = masked_regression(predicted, targets, mask, options.beta)
        return LossOutput(value.sum, value.weight, metrics)

    return Level(setup.name, init, loss)
