"""Attention, hybrid and the options of CTC against the losses on arrays that they are made of."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.config import (
    AttentionDecoderConfig,
    BestRqConfig,
    Config,
    ConformerConfig,
    CtcConfig,
    LevelConfig,
    LogMelConfig,
    SpecAugmentConfig,
    StrategyConfig,
    TeacherConfig,
)
from bljust_jax.data.text import CharTokenizer
from bljust_jax.errors import UserError
from bljust_jax.features import log_mel
from bljust_jax.losses import attention_loss, ctc_loss
from bljust_jax.models import encode_context, encode_latents, make_encoder
from bljust_jax.models.attention_decoder import AttentionDecoder
from bljust_jax.step import level_gradient
from bljust_jax.streams import open_stream
from bljust_jax.types import Batch
from tests.params import random_params
from tests.runs import tiny_config

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

VOCAB = 5
CONFIG = Config(
    log_mel=LogMelConfig(mels=8),
    spec_augment=SpecAugmentConfig(0, 0, 0, 0),
    conformer=ConformerConfig(layers=2, width=8, heads=2, expansion=2, kernel=3, channels=4, dropout=0.0),
    attention_decoder=AttentionDecoderConfig(layers=1, width=8, heads=2, expansion=2, dropout=0.0, ctc_weight=0.4),
    best_rq=BestRqConfig(codebook_size=6, code_dim=4),
)
OPTIONS = CtcConfig(intermediate_layers=(1,), intermediate_weight=0.25, label_smoothing=0.1)
BATCH = Batch(
    audio=np.random.default_rng(0).normal(scale=3000, size=(5, 6400)).astype(np.int16),
    lengths=np.array([6400, 5600, 600, 300, 0], np.int32),  # 10, 8, 1, 0 and 0 hidden frames
    labels=np.array([[1, 2, 2], [3, 0, 0], [4, 1, 4], [2, 0, 0], [0, 0, 0]], np.int32),
    label_lengths=np.array([3, 1, 3, 1, 0], np.int32),
    ends=np.array([[6400], [5600], [600], [300], [0]], np.int32),
)
FEASIBLE = {'ctc': [0, 1], 'hybrid': [0, 1], 'attention': [0, 1, 2]}


def with_objective(objective, **groups):
    levels = dataclasses.replace(CONFIG.levels, sup=LevelConfig(objective))
    return dataclasses.replace(CONFIG, levels=levels, **groups)


@functools.cache
def compiled(config):
    """Parameters, and the gradient of the upper level."""
    system = build(config, VOCAB)
    params = random_params(jax.eval_shape(system.init_params, 0))
    run = jax.jit(lambda params, batch: level_gradient(system.levels[0], batch, params, jnp.int32(0), jnp.int32(3)))
    return params, run


def gradient(config, batch=BATCH):
    """Parameters, and value, gradient and metrics of the upper level."""
    params, run = compiled(config)
    return params, run(params, batch)


@jax.jit
def frames(encoder_params):
    """Hidden frames, layers and lengths of the batch."""
    encoder, params = make_encoder(CONFIG), {'encoder': encoder_params}
    features, lengths = log_mel(BATCH.audio, BATCH.lengths, CONFIG.log_mel, BATCH.ends)
    latents, lengths = encode_latents(encoder, params, features, lengths, dtype='float32')
    hidden, layers = encode_context(encoder, params, latents, lengths, dtype='float32')
    return hidden, layers, lengths


def expected_ctc(params, head, options):
    """Per row, of the rows that are feasible for CTC; PyTorch agrees with `ctc_loss` elsewhere."""
    hidden, layers, lengths = frames(params['encoder'])

    def smoothed(x):
        logits = x @ head['Dense_0']['kernel'] + head['Dense_0']['bias'][None, None]
        losses = np.asarray(ctc_loss(logits, lengths, BATCH.labels, BATCH.label_lengths), np.float64)
        divergences = []
        for row, length in zip(np.asarray(logits, np.float64), lengths, strict=True):
            posteriors = np.exp(row[:length]) / np.exp(row[:length]).sum(axis=1, keepdims=True)
            divergences.append((np.log(1 / VOCAB / posteriors) / VOCAB).sum())
        return (1 - options.label_smoothing) * losses + options.label_smoothing * np.array(divergences)

    chosen = [smoothed(layers[number - 1]) for number in options.intermediate_layers]
    weight = options.intermediate_weight if chosen else 0.0
    losses = (1 - weight) * smoothed(hidden) + weight * sum(chosen) / max(len(chosen), 1)
    return losses[:2]


def expected_attention(params, head, rows):
    decoder = AttentionDecoder(CONFIG.attention_decoder, VOCAB)
    hidden, _, lengths = frames(params['encoder'])
    logits = jax.jit(decoder.apply)({'params': head}, hidden, lengths, BATCH.labels)
    losses = attention_loss(logits, lengths, BATCH.labels, BATCH.label_lengths, label_smoothing=0.1)
    return np.asarray(losses)[rows], (logits.argmax(axis=-1), lengths)


def labels_of(rows):
    return BATCH.label_lengths[rows].sum()


def test_ctc_with_its_options():
    smoothed = CtcConfig(label_smoothing=OPTIONS.label_smoothing)
    (params, plain), (_, both) = (gradient(with_objective('ctc', ctc=options)) for options in (smoothed, OPTIONS))
    head = params['heads']['sup']
    np.testing.assert_allclose(plain.value, expected_ctc(params, head, smoothed).sum() / 4, rtol=1e-5)
    np.testing.assert_allclose(both.value, expected_ctc(params, head, OPTIONS).sum() / 4, rtol=1e-5)
    assert both.metrics['infeasible/sup'].sum == 2 and both.metrics['infeasible/sup'].weight == 4
    assert both.metrics['intermediate_loss/sup'].weight == 4


def test_the_gradient_of_an_intermediate_layer_reaches_it_and_those_below():
    """Those above have the last layer's loss alone, with what is left of the weight."""
    smoothed = CtcConfig(label_smoothing=OPTIONS.label_smoothing)
    (_, plain), (_, both) = (gradient(with_objective('ctc', ctc=options)) for options in (smoothed, OPTIONS))
    below, above = (
        [grads.grads['encoder']['context'][block] for grads in (plain, both)] for block in ('block_0', 'block_1')
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(0.75 * a, b, rtol=1e-4, atol=1e-5), *above)
    for a, b in zip(*map(jax.tree.leaves, below), strict=True):
        assert np.isfinite(b).all() and not np.allclose(0.75 * a, b, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize('chosen', [(2,), (1, 3)])
def test_layers_that_there_are_not(chosen):
    config = with_objective('ctc', ctc=CtcConfig(intermediate_layers=chosen))
    with pytest.raises(UserError, match='intermediate_layers must be below 2, the last of .*=conformer, not '):
        build(config, VOCAB)
    with pytest.raises(UserError, match=r'config.ctc.intermediate_layers must be positive, not \(0,\)'):
        with_objective('ctc', ctc=CtcConfig(intermediate_layers=(0,)))


@pytest.mark.parametrize('objective', ['attention', 'hybrid'])
def test_losses_per_label_and_what_is_infeasible(objective):
    rows = FEASIBLE[objective]
    params, result = gradient(with_objective(objective, ctc=OPTIONS))
    head = params['heads']['sup']
    losses, (best, lengths) = expected_attention(params, head['decoder'] if objective == 'hybrid' else head, rows)
    expected, names = losses.sum(), {'loss', 'accuracy', 'infeasible'}
    if objective == 'hybrid':
        ctc = expected_ctc(params, head['ctc'], OPTIONS).sum()
        np.testing.assert_allclose(result.metrics['ctc_loss/sup'].sum, ctc, rtol=1e-5)
        np.testing.assert_allclose(result.metrics['attention_loss/sup'].sum, expected, rtol=1e-5)
        expected = 0.4 * ctc + 0.6 * expected
        names |= {'blank', 'intermediate_loss', 'ctc_loss', 'attention_loss'}
    assert lengths.tolist() == [10, 8, 1, 0, 0]
    np.testing.assert_allclose(result.value, expected / labels_of(rows), rtol=1e-5)
    assert set(result.metrics) == {f'{name}/sup' for name in names | {'spread_time', 'spread_batch'}}
    infeasible = result.metrics['infeasible/sup']
    assert (infeasible.sum, infeasible.weight) == (4 - len(rows), 4)
    targets = [np.append(BATCH.labels[row, : BATCH.label_lengths[row]], 0) for row in rows]
    right = sum((best[row, : len(target)] == target).sum() for row, target in zip(rows, targets, strict=True))
    accuracy = result.metrics['accuracy/sup']
    assert (accuracy.sum, accuracy.weight) == (right, labels_of(rows) + len(rows))

    # Infeasible rows leave no trace in the gradient, which is that of the others alone.
    others = [row for row in range(5) if row not in rows]
    emptied = jax.tree.map(np.copy, BATCH)
    for array in (emptied.audio, emptied.lengths, emptied.labels, emptied.label_lengths, emptied.ends):
        array[others] = 0
    _, alone = gradient(with_objective(objective, ctc=OPTIONS), emptied)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), result.grads, alone.grads)


def test_distillation_takes_posteriors_from_ctc_alone():
    def taught(objective, weight):
        return with_objective(
            objective,
            strategy=StrategyConfig('tl_sud'),
            teacher=TeacherConfig(momentum=0.9),
            distillation=dataclasses.replace(CONFIG.distillation, posterior_weight=weight),
        )

    with pytest.raises(UserError, match='posterior_weight must be 0 where config.levels.sup.objective=attention'):
        build(taught('attention', 1.0), VOCAB)
    for objective, weight in [('attention', 0.0), ('hybrid', 1.0)]:
        system = build(taught(objective, weight), VOCAB)
        params = jax.eval_shape(system.init_params, 0)
        rngs = {name: jax.random.key(0) for name in ('dropout', 'augment', 'mask')}
        shapes = jax.eval_shape(system.levels[-1].loss, {**params, 'teacher': params}, BATCH, rngs, jnp.int32(0))
        assert ('agreement' in shapes.metrics) == (weight > 0)


def test_decoders_learn_from_rows_of_one_utterance(data_dir: Path):
    tokenizer = CharTokenizer(' abcdefghijklmnopqrstuvwxyz')
    most = {}
    for objective in ('ctc', 'attention', 'hybrid'):
        levels = dataclasses.replace(CONFIG.levels, sup=LevelConfig(objective))
        config = dataclasses.replace(tiny_config(data_dir), levels=levels)
        batch, _ = next(open_stream(config, 'sup', tokenizer, 0, 1, jax.device_put).batches)
        most[objective] = (np.asarray(batch.ends) > 0).sum(axis=1).max()
    assert most['ctc'] > 1 and most['attention'] == most['hybrid'] == 1
