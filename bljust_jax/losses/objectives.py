"""Objective name -> `Level`: audio in, `LossOutput` out, through the shared encoder and the level's own head.

Every loss is a mean over its natural unit, so that γ means the same in every batch: nats per label for CTC,
per masked frame and codebook for BEST-RQ, per predicted frame for CPC, per frame for distillation.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import Config, LevelConfig
from bljust_jax.errors import UserError
from bljust_jax.features import log_mel, spec_augment
from bljust_jax.losses.supervised.ctc import ctc_feasible, ctc_loss
from bljust_jax.losses.unsupervised import best_rq, cpc, distillation
from bljust_jax.masking import length_mask, strided_lengths
from bljust_jax.models import encode, hidden_width
from bljust_jax.models.heads import LinearHead, PredictiveHead
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


def ctc_level(name: str, config: Config, encoder: nn.Module, width: int, vocab_size: int) -> Level:
    """CTC on SpecAugmented features; infeasible rows weigh nothing and are counted in `infeasible`."""
    head = LinearHead(vocab_size)

    def init(key: jax.Array) -> Params:
        return head.init(key, jnp.zeros((1, 1, width)))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        features, lengths = log_mel(batch.audio, batch.lengths, config.log_mel, batch.ends)
        features = spec_augment(features, lengths, rngs['augment'], config.spec_augment)
        hidden, lengths = encode(encoder, params, features, lengths, dtype=config.compute_dtype, rngs=rngs)
        logits = head.apply({'params': params['heads'][name]}, hidden)
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

    return Level(name, init, loss)


def best_rq_level(name: str, config: Config, encoder: nn.Module, width: int, vocab_size: int) -> Level:
    """BEST-RQ: codes of the clean features, predicted from features whose masked spans are noise."""
    del vocab_size
    options = config.best_rq
    head = LinearHead(options.codebooks * options.codebook_size)
    quantizer = best_rq.make_quantizer(options, encoder.subsampling * config.log_mel.mels)

    def init(key: jax.Array) -> Params:
        return head.init(key, jnp.zeros((1, 1, width)))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        features, lengths = log_mel(batch.audio, batch.lengths, config.log_mel, batch.ends)
        stacked = best_rq.stack_frames(features, encoder.subsampling)
        codes = best_rq.quantize(quantizer, stacked)
        stacks = strided_lengths(lengths, encoder.subsampling)
        span_key, noise_key = jax.random.split(rngs['mask'])
        mask = best_rq.sample_mask(span_key, stacks, stacked.shape[1], options.mask_probability, options.mask_frames)
        masked = best_rq.mask_features(features, mask, encoder.subsampling, noise_key, options.noise)
        hidden, lengths = encode(encoder, params, masked, lengths, dtype=config.compute_dtype, rngs=rngs)
        logits = head.apply({'params': params['heads'][name]}, hidden)
        logits = logits.reshape(*codes.shape, options.codebook_size)
        value, metrics = best_rq.masked_prediction(logits, codes, mask)
        return LossOutput(value.sum, value.weight, metrics)

    return Level(name, init, loss)


def cpc_level(name: str, config: Config, encoder: nn.Module, width: int, vocab_size: int) -> Level:
    """CPC: from the last hidden frame of a window's past, its future frames, among others of the batch."""
    del vocab_size
    options = config.cpc
    past, future = (
        encoder.subsampling * max(round(seconds / config.log_mel.hop / encoder.subsampling), 1)
        for seconds in (options.context_seconds, options.future_seconds)
    )
    head = PredictiveHead(future // encoder.subsampling, options.dim)

    def init(key: jax.Array) -> Params:
        return head.init(key, jnp.zeros((1, width)), jnp.zeros((1, head.steps, width)))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        features, lengths = log_mel(batch.audio, batch.lengths, config.log_mel, batch.ends)
        before, after, valid = cpc.cut_windows(features, lengths, past, future)
        rows = jnp.full(valid.shape, 1, jnp.int32)
        other_rngs = {'dropout': jax.random.fold_in(rngs['dropout'], 1)}
        seen, _ = encode(encoder, params, before, past * rows, dtype=config.compute_dtype, rngs=rngs)
        unseen, _ = encode(encoder, params, after, future * rows, dtype=config.compute_dtype, rngs=other_rngs)
        predicted, target = head.apply({'params': params['heads'][name]}, seen[:, -1], unseen)
        value, metrics = cpc.info_nce(
            predicted, target, valid, rngs['mask'], negatives=options.negatives, temperature=options.temperature
        )
        return LossOutput(value.sum, value.weight, metrics)

    return Level(name, init, loss)


def distillation_level(
    name: str, config: Config, encoder: nn.Module, width: int, vocab_size: int, *, teacher: nn.Module, upper: str
) -> Level:
    """What the teacher makes of clean features, from SpecAugmented ones: its hidden frames and its CTC posteriors.

    The level's head, a projection, predicts the hidden frames. The posteriors are those of the head of the level
    `upper`, which belongs to that level and is a constant here, as is the teacher, `params['teacher']`: the gradient
    reaches the encoder and the level's own head alone.
    """
    options = config.distillation
    head = LinearHead(hidden_width(teacher, config.log_mel.mels))
    recognizer = LinearHead(vocab_size)

    def init(key: jax.Array) -> Params:
        return head.init(key, jnp.zeros((1, 1, width)))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        knowing = jax.lax.stop_gradient(params['teacher'])
        features, frames = log_mel(batch.audio, batch.lengths, config.log_mel, batch.ends)
        target, _ = encode(teacher, knowing, features, frames, dtype=config.compute_dtype)
        augmented = spec_augment(features, frames, rngs['augment'], config.spec_augment)
        hidden, lengths = encode(encoder, params, augmented, frames, dtype=config.compute_dtype, rngs=rngs)
        predicted = head.apply({'params': params['heads'][name]}, hidden)
        distance = distillation.feature_distance(predicted, target, lengths)
        total, metrics = options.feature_weight * distance.sum, {'feature_distance': distance}
        if options.posterior_weight > 0:
            own = jax.lax.stop_gradient(params['heads'][upper])
            ours = recognizer.apply({'params': own}, hidden)
            theirs = recognizer.apply({'params': knowing['heads'][upper]}, target)
            divergence = distillation.posterior_divergence(ours, theirs, lengths, options.temperature)
            total += options.posterior_weight * divergence.sum
            metrics['posterior_divergence'] = divergence
            metrics['agreement'] = distillation.label_agreement(ours, theirs, lengths)
        return LossOutput(total, distance.weight, metrics)

    return Level(name, init, loss)


MakeLevel = Callable[[str, Config, nn.Module, int, int], Level]
SUPERVISED: dict[str, MakeLevel] = {'ctc': ctc_level}
UNSUPERVISED: dict[str, MakeLevel] = {'best_rq': best_rq_level, 'cpc': cpc_level}


def make_level(
    name: str,
    level: LevelConfig,
    objectives: Mapping[str, MakeLevel],
    config: Config,
    encoder: nn.Module,
    width: int,
    vocab_size: int,
) -> Level:
    """The level `name` with the one of `objectives` (`SUPERVISED` or `UNSUPERVISED`) that `level` names.

    Raises:
      UserError: if it is not among them.
    """
    if level.objective not in objectives:
        raise UserError(
            f'config.levels.{name}.objective must be one of {", ".join(objectives)}, not {level.objective!r}.'
        )
    return objectives[level.objective](name, config, encoder, width, vocab_size)
