"""Distillation from a teacher, on untranscribed audio."""

import jax

from bljust_jax.errors import UserError
from bljust_jax.losses.unsupervised import distillation
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.ctc import WITH_POSTERIORS, ctc_branch
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs


def distillation_level(setup: Setup) -> Level:
    """What the teacher makes of clean features, from SpecAugmented ones: its hidden frames and its CTC posteriors.

    The level's head, a projection, predicts the hidden frames. The posteriors are those of the head of the level
    `upper`, which belongs to that level and is a constant here, as is the teacher, `params['teacher']`: the gradient
    reaches the encoder and the level's own head alone.

    Raises:
      UserError: if there are to be posteriors, and the objective of the upper level has none.
    """
    options = setup.config.distillation
    objective = getattr(setup.config.levels, setup.upper).objective
    if options.posterior_weight > 0 and objective not in WITH_POSTERIORS:
        raise UserError(
            f'config.distillation.posterior_weight must be 0 where config.levels.{setup.upper}.objective={objective}: '
            f'CTC posteriors are those of {" and ".join(WITH_POSTERIORS)} alone.'
        )
    teacher = setup.of_teacher()
    head = LinearHead(teacher.width)
    recognizer = LinearHead(setup.vocab_size)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        knowing = jax.lax.stop_gradient(params['teacher'])
        target, _ = teacher.encode(knowing, *setup.clean(batch))
        hidden, lengths = setup.encode(params, *setup.augmented(batch, rngs), rngs)
        predicted = head.apply(setup.head(params), hidden)
        distance = distillation.feature_distance(predicted, target, lengths)
        total, metrics = options.feature_weight * distance.sum, {'feature_distance': distance}
        if options.posterior_weight > 0:
            own = jax.lax.stop_gradient(ctc_branch(params['heads'][setup.upper]))
            ours = recognizer.apply({'params': own}, hidden)
            theirs = recognizer.apply({'params': ctc_branch(knowing['heads'][setup.upper])}, target)
            divergence = distillation.posterior_divergence(ours, theirs, lengths, options.temperature)
            total += options.posterior_weight * divergence.sum
            metrics['posterior_divergence'] = divergence
            metrics['agreement'] = distillation.label_agreement(ours, theirs, lengths)
        return LossOutput(total, distance.weight, metrics)

    return Level(setup.name, init, loss)
