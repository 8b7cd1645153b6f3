"""HuBERT on untranscribed audio."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from bljust_jax.data.units import Units, load_units
from bljust_jax.errors import UserError
from bljust_jax.features import log_mel
from bljust_jax.features.mfcc import mfcc
from bljust_jax.losses.unsupervised.best_rq import stack_frames
from bljust_jax.losses.unsupervised.hubert import nearest, unit_prediction
from bljust_jax.losses.unsupervised.span_mask import sample_mask
from bljust_jax.masking import length_mask, strided_lengths
from bljust_jax.models import widths
from bljust_jax.models.masked import UnitHead
from bljust_jax.objectives.setup import Frames, Setup
from bljust_jax.types import Batch, Level, LossOutput, Params, PyTree, Rngs

MFCC_MELS = 40  # whatever the encoder's features are


def hubert_level(setup: Setup) -> Level:
    """The k-means units of clean speech, predicted from speech whose latents are masked.

    Raises:
      UserError: there is no file of units, or they are of something else than `config.hubert.layer`.
    """
    options = setup.config.hubert
    units_of, centroids = unit_frames(setup), jnp.asarray(_load(setup).centroids)
    head = UnitHead(len(centroids), options.dim, options.temperature)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.latent, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        own = setup.head(params)
        frames, _ = units_of(jax.lax.stop_gradient(params.get('teacher', ())), batch)
        units = nearest(centroids, frames)
        latents, lengths = setup.latents(params, *setup.clean(batch))
        mask = sample_mask(rngs['mask'], lengths, latents.shape[1], options.mask_probability, options.mask_frames)
        hidden, _ = setup.context(params, head.apply(own, latents, mask, method='mask'), lengths, rngs)
        logits = head.apply(own, hidden, method='predict')
        valid = length_mask(lengths, latents.shape[1])
        value, metrics = unit_prediction(logits, units, mask, valid, options.unmasked_weight)
        return LossOutput(value.sum, value.weight, metrics)

    return Level(setup.name, init, loss)


def unit_frames(setup: Setup) -> Callable[[PyTree, Batch], Frames]:
    """`(teacher's parameters, batch) -> (frames [batch, time', feature], lengths)`: what the units are clusters of.

    MFCC of as many feature frames as make a hidden one, one after the other; or a layer of the teacher.

    Raises:
      UserError: `config.hubert.layer` is none of the layers of a run.
    """
    config = setup.config
    if config.hubert.layer == 0:
        plain = dataclasses.replace(config.log_mel, mels=MFCC_MELS, normalize=False)

        def cepstra(teacher: PyTree, batch: Batch) -> Frames:
            del teacher
            features, lengths = log_mel(batch.audio, batch.lengths, plain)
            stacked = stack_frames(mfcc(features, lengths), setup.encoder.subsampling)
            return stacked, strided_lengths(lengths, setup.encoder.subsampling)

        return cepstra
    if config.teacher.momentum:
        raise UserError(
            f'config.hubert.layer={config.hubert.layer} is a layer of another run, whose units stay what they are: '
            'name its folder in config.teacher.workdir, and set config.teacher.momentum to 0.'
        )
    teacher = setup.of_teacher()
    layers = len(widths(teacher.encoder, config.log_mel.mels).layers)
    if config.hubert.layer > layers:
        raise UserError(f"config.hubert.layer must be at most the teacher's {layers}, not {config.hubert.layer}.")

    def hidden(params: PyTree, batch: Batch) -> Frames:
        latents, lengths = teacher.latents(params, *teacher.clean(batch))
        return teacher.context(params, latents, lengths)[1][config.hubert.layer - 1], lengths

    return hidden


def unit_source(setup: Setup) -> str:
    """What `unit_frames` depends on, apart from the teacher's parameters."""
    features = dataclasses.asdict(setup.config.log_mel)
    if setup.config.hubert.layer == 0:
        features |= {'mels': MFCC_MELS, 'normalize': False}
    return json.dumps({'layer': setup.config.hubert.layer, 'subsampling': setup.encoder.subsampling, **features})


def _load(setup: Setup) -> Units:
    path, command = setup.config.hubert.units, 'python -m bljust_jax.units --config=... --out=FILE.npz --clusters=N'
    if not path:
        raise UserError(f'config.hubert.units names no file: make one with {command}.')
    try:
        units = load_units(Path(path).expanduser())
    except UserError as error:
        raise UserError(f'config.hubert.units={path}: {error} Make the file with {command}.') from error
    if units.source != unit_source(setup):
        raise UserError(
            f'config.hubert.units={path} are clusters of other features ({units.source}) than this config has '
            f'({unit_source(setup)}): make another file with {command}.'
        )
    return units
