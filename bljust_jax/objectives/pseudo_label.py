"""CTC on a teacher's labels of untranscribed audio."""

import jax
import jax.numpy as jnp

from bljust_jax.errors import UserError
from bljust_jax.losses.supervised.ctc import ctc_greedy, ctc_loss
from bljust_jax.losses.unsupervised.pseudo_label import blank_elsewhere, confident
from bljust_jax.masking import length_mask
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.ctc import WITH_POSTERIORS, ctc_branch
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


def pseudo_label_level(setup: Setup) -> Level:
    """CTC on SpecAugmented speech, of the best labels that the teacher's frames have when it is clean.

    Which utterances count, `confident` says. Both encoders end in the head of the upper level, the teacher's in its own
    copy. It belongs to that level and is a constant here, so that the gradient reaches the encoder alone, unless
    `config.pseudo_label.train_head`. This level has no parameters of its own.

    Raises:
      UserError: the upper level's objective has no CTC head.
    """
    teacher, recognizer = setup.of_teacher(), LinearHead(setup.vocab_size)
    objective = getattr(setup.config.levels, setup.upper).objective
    if objective not in WITH_POSTERIORS:
        raise UserError(
            f'config.levels.{setup.name}.objective=pseudo_label needs CTC in the level above: '
            f'config.levels.{setup.upper}.objective must be {" or ".join(WITH_POSTERIORS)}, not {objective!r}.'
        )

    def init(key: jax.Array) -> Params:
        del key
        return {}

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        knowing = jax.lax.stop_gradient(params['teacher'])
        head = ctc_branch(params['heads'][setup.upper])
        if not setup.config.pseudo_label.train_head:
            head = jax.lax.stop_gradient(head)
        clean, lengths = teacher.encode(knowing, *setup.clean(batch))
        theirs = recognizer.apply({'params': ctc_branch(knowing['heads'][setup.upper])}, clean)
        utterances = setup.utterances(batch, clean.shape[1])
        kept, share = confident(theirs, lengths, utterances, batch.ends.shape[1], setup.config.pseudo_label.confidence)
        labels, counts = ctc_greedy(blank_elsewhere(theirs, kept), lengths)
        hidden, _ = setup.encode(params, *setup.augmented(batch, rngs), rngs)
        ours = recognizer.apply({'params': head}, hidden)
        losses = ctc_loss(blank_elsewhere(ours, kept), lengths, labels, counts)
        given = ctc_greedy(theirs, lengths)[1].sum().astype(jnp.float32)
        valid = length_mask(lengths, clean.shape[1]).sum().astype(jnp.float32)
        metrics = {'kept': share, 'labels_per_frame': Ratio(given, valid)}
        return LossOutput(losses.sum(), counts.sum().astype(jnp.float32), metrics)

    return Level(setup.name, init, loss)
