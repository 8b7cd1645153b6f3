"""The objectives on a tiny Conformer: which parameters they reach, what they weigh, what they see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.config import (
    BestRqConfig,
    Config,
    ConformerConfig,
    CpcConfig,
    Data2VecConfig,
    HubertConfig,
    LevelConfig,
    LevelsConfig,
    LogMelConfig,
    MeshConfig,
    PseudoLabelConfig,
    SpecAugmentConfig,
    TeacherConfig,
    TransducerConfig,
    Wav2Vec2Config,
)
from bljust_jax.data.units import save_arrays
from bljust_jax.errors import UserError
from bljust_jax.losses import rnnt_loss
from bljust_jax.losses.unsupervised import cpc
from bljust_jax.models import make_encoder
from bljust_jax.models.transducer import Transducer
from bljust_jax.objectives import SUPERVISED, TAUGHT, UNSUPERVISED, Setup, make_level, setup
from bljust_jax.objectives.hubert import unit_source
from bljust_jax.sharding import batch_putter, make_mesh
from bljust_jax.step import level_gradient
from bljust_jax.types import Batch, Ratio
from tests.params import random_params

pytestmark = pytest.mark.standard_dtypes

VOCAB, SAMPLES = 5, 6400  # 37 feature frames, 10 hidden ones
CONFIG = Config(
    log_mel=LogMelConfig(mels=8),
    spec_augment=SpecAugmentConfig(0, 0, 0, 0),
    conformer=ConformerConfig(layers=2, width=8, heads=2, expansion=2, kernel=3, channels=4, dropout=0.0),
    transducer=TransducerConfig(width=8, joint_dim=6, dropout=0.0, chunk=4),
    best_rq=BestRqConfig(codebooks=2, codebook_size=6, code_dim=4, mask_probability=0.1, mask_frames=3),
    cpc=CpcConfig(context_seconds=0.12, future_seconds=0.08, negatives=1000, dim=4),
    wav2vec2=Wav2Vec2Config(mask_probability=0.1, mask_frames=3, codes=5, code_dim=6, dim=4, distractors=4),
    data2vec=Data2VecConfig(layers=2, mask_probability=0.1, mask_frames=3),
    pseudo_label=PseudoLabelConfig(confidence=0.0),
)
OBJECTIVES = [*SUPERVISED, *UNSUPERVISED]


def make_batch(empty=2):
    """Three rows of speech and `empty` ones."""
    rng = np.random.default_rng(0)
    batch = Batch(
        audio=rng.normal(scale=3000, size=(3, SAMPLES)).astype(np.int16),
        lengths=np.array([6400, 5600, 4100], np.int32),
        labels=np.array([[1, 2, 2], [3, 0, 0], [4, 1, 4]], np.int32),
        label_lengths=np.array([3, 1, 3], np.int32),
        ends=np.array([[2000, 6400], [5600, 0], [4100, 0]], np.int32),
    )
    return Batch(*(np.pad(x, ((0, empty),) + ((0, 0),) * (x.ndim - 1)) for x in batch))


@pytest.fixture(scope='module')
def levels(tmp_path_factory):
    """`{objective: (level, parameters, teacher)}`."""
    units = tmp_path_factory.mktemp('units') / 'units.npz'
    hubert = HubertConfig(str(units), mask_probability=0.1, mask_frames=3, dim=4, unmasked_weight=0.5)
    config = dataclasses.replace(CONFIG, hubert=hubert)
    setup = Setup('unsup', config, make_encoder(config), 8, VOCAB, 'sup')
    centroids = np.random.default_rng(0).normal(scale=3, size=(5, 4 * 39)).astype(np.float32)
    save_arrays(units, centroids=centroids, source=unit_source(setup), teacher='')
    found = {}
    for upper, lower in [*(('ctc', lower) for lower in UNSUPERVISED), *((upper, 'best_rq') for upper in SUPERVISED)]:
        teacher = TeacherConfig(momentum=0.9 if lower in TAUGHT else 0.0)
        system = build(
            dataclasses.replace(config, levels=LevelsConfig(LevelConfig(upper), LevelConfig(lower)), teacher=teacher),
            VOCAB,
        )
        params = random_params(jax.eval_shape(system.init_params, 0))
        teacher = jax.tree.map(lambda leaf: leaf[::-1], params) if system.teacher else ()
        found |= {upper: (system.levels[0], params, ()), lower: (system.levels[1], params, teacher)}
    return found


@pytest.fixture(scope='module')
def gradient(levels):
    """`gradient(objective, batch)`: value, gradient and metrics of one level at a fixed seed and step."""
    jitted = {
        name: jax.jit(
            lambda batch, params, teacher, level=level: level_gradient(
                level, batch, params, jnp.int32(0), jnp.int32(3), teacher
            )
        )
        for name, (level, *_) in levels.items()
    }
    return lambda name, batch: jitted[name](batch, *levels[name][1:])


@pytest.fixture(scope='module')
def loss(levels):
    """`loss(objective, batch, rngs)`."""
    jitted = {name: jax.jit(level.loss) for name, (level, *_) in levels.items()}

    def evaluate(name, batch, rngs):
        _, params, teacher = levels[name]
        return jitted[name](params | {'teacher': teacher}, batch, rngs, jnp.int32(0))

    return evaluate


def keys(**seeds):
    return {name: jax.random.key(seeds.get(name, 0)) for name in ('dropout', 'augment', 'mask')}


def level_name(objective):
    return 'sup' if objective in SUPERVISED else 'unsup'


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_the_gradient_reaches_the_whole_encoder_and_the_own_head_alone(objective, gradient):
    """The published code's penalty reaches no shared parameter at all."""
    result = gradient(objective, make_batch())
    own = level_name(objective)
    (other,) = {'sup', 'unsup'} - {own}
    for path, leaf in jax.tree.leaves_with_path((result.grads['encoder'], result.grads['heads'][own])):
        assert jnp.isfinite(leaf).all()
        assert (leaf != 0).any(), jax.tree_util.keystr(path)
    for leaf in jax.tree.leaves(result.grads['heads'][other]):
        np.testing.assert_array_equal(leaf, jnp.zeros_like(leaf))


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_every_objective_normalises_the_utterances_of_a_row(objective, loss):
    batch = make_batch()
    as_one = batch._replace(ends=np.where(np.arange(2) == 0, batch.lengths[:, None], 0))
    assert not np.isclose(loss(objective, batch, keys()).sum, loss(objective, as_one, keys()).sum, rtol=1e-5)


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_rows_that_fill_up_the_batch_change_nothing(objective, loss):
    """Random numbers are drawn row by row, so that even they do not depend on the number of rows."""
    expected, result = (loss(objective, make_batch(empty), keys()) for empty in (0, 2))
    np.testing.assert_allclose(result.sum, expected.sum, rtol=1e-5)
    assert result.weight == expected.weight > 0
    for name, ratio in result.metrics.items():
        np.testing.assert_allclose(ratio.sum, expected.metrics[name].sum, rtol=1e-5, err_msg=name)
        assert ratio.weight == expected.metrics[name].weight, name


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_what_lies_in_the_padding_changes_no_gradient(objective, gradient):
    batch = make_batch()
    noise = np.random.default_rng(1).integers(-(2**15), 2**15, batch.audio.shape).astype(np.int16)
    audio = np.where(np.arange(SAMPLES) < batch.lengths[:, None], batch.audio, noise)
    labels = np.where(np.arange(3) < batch.label_lengths[:, None], batch.labels, 4).astype(np.int32)
    expected = gradient(objective, batch)
    result = gradient(objective, batch._replace(audio=audio, labels=labels))
    np.testing.assert_allclose(result.value, expected.value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), result.grads, expected.grads)


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_a_batch_of_empty_rows_weighs_nothing_and_is_finite(objective, gradient):
    batch = make_batch()
    empty = batch._replace(lengths=np.zeros_like(batch.lengths), label_lengths=np.zeros_like(batch.label_lengths))
    result = gradient(objective, empty)
    assert result.metrics[f'loss/{level_name(objective)}'].weight == 0
    assert result.value == 0
    for leaf in jax.tree.leaves(result.grads):
        np.testing.assert_array_equal(leaf, jnp.zeros_like(leaf))


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_all_tell_how_far_the_hidden_frames_spread(objective, gradient):
    metrics = gradient(objective, make_batch()).metrics
    spreads = [metrics[f'{name}/{level_name(objective)}'] for name in ('spread_time', 'spread_batch')]
    assert all(spread.weight == 1 and 0.01 < spread.sum < 2 for spread in spreads)


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_rows_on_two_devices_give_the_loss_and_metrics_of_one(objective, loss):
    """What is drawn and counted over the whole batch included: masks, negatives, codes and their diversity."""
    batch = make_batch(empty=1)
    put = batch_putter(make_mesh(MeshConfig()))
    expected, result = loss(objective, batch, keys()), loss(objective, put(batch), keys())
    assert expected.weight > 0 and expected.metrics
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), result, expected)


def test_ctc_weighs_labels_and_counts_infeasible_rows(gradient):
    metrics = gradient('ctc', make_batch()).metrics
    assert metrics['loss/sup'].weight == 7 and metrics['infeasible/sup'].sum == 0
    assert metrics['infeasible/sup'].weight == 3
    assert metrics['blank/sup'].weight == sum(-(-((samples - 512) // 160 + 1) // 4) for samples in (6400, 5600, 4100))
    short = make_batch()._replace(lengths=np.array([6400, 5600, 600, 0, 0], np.int32))  # one frame for three labels
    metrics = gradient('ctc', short).metrics
    assert metrics['loss/sup'].weight == 4 and metrics['infeasible/sup'].sum == 1


def test_rnnt_weighs_labels_and_counts_infeasible_rows(gradient):
    metrics = gradient('rnnt', make_batch()).metrics
    assert metrics['loss/sup'].weight == 7 and metrics['infeasible/sup'].sum == 0
    assert metrics['infeasible/sup'].weight == 3
    short = make_batch()._replace(lengths=np.array([6400, 600, 300, 0, 0], np.int32))  # one frame, and none at all
    metrics = gradient('rnnt', short).metrics
    assert metrics['loss/sup'].weight == 4 and metrics['infeasible/sup'].sum == 1


def test_rnnt_is_the_loss_of_all_logits(levels, loss):
    """Of the same hidden frames, by the head at once, in float32."""
    level, params, _ = levels['rnnt']
    batch = make_batch()
    output = loss('rnnt', batch, keys())
    system = build(dataclasses.replace(CONFIG, levels=LevelsConfig(LevelConfig('rnnt'))), VOCAB)
    of = Setup(level.name, CONFIG, system.encoder, 8, VOCAB, 'sup')
    hidden, lengths = of.encode(params, *of.clean(batch))
    logits = Transducer(CONFIG.transducer, VOCAB).apply(of.head(params), hidden, batch.labels)
    losses = rnnt_loss(logits, lengths, batch.labels, batch.label_lengths)
    np.testing.assert_allclose(output.sum, losses.sum(), rtol=1e-4)


def test_ctc_is_measured_in_nats_per_label(gradient):
    """A guess among 5 for every frame costs log(5) each, less the alignments: about 10 frames for 7 / 3 labels."""
    assert 1 < gradient('ctc', make_batch()).value < 10 * 3 * np.log(VOCAB) / 7


def test_best_rq_weighs_masked_frames_of_every_codebook(gradient):
    metrics = gradient('best_rq', make_batch()).metrics
    frames = sum(-(-((samples - 512) // 160 + 1) // 4) for samples in (6400, 5600, 4100))
    weight = float(metrics['loss/unsup'].weight)
    assert weight % 2 == 0 and 2 * 3 <= weight <= 2 * frames
    assert metrics['accuracy/unsup'].weight == metrics['chance/unsup'].weight == weight
    assert 1 <= metrics['perplexity/unsup'].sum <= 6
    assert 0.5 * np.log(6) < metrics['loss/unsup'].sum / weight < 3 * np.log(6)


def test_best_rq_has_codes_of_normalised_features_whatever_the_encoder_sees(loss, levels):
    """As published: the targets are those of a run whose encoder sees normalised features."""
    config = dataclasses.replace(CONFIG, log_mel=dataclasses.replace(CONFIG.log_mel, normalize=False))
    level = build(config, VOCAB).levels[1]
    expected = loss('best_rq', make_batch(), keys()).metrics
    result = jax.jit(level.loss)(levels['best_rq'][1], make_batch(), keys(), jnp.int32(0)).metrics
    for name in ('chance', 'perplexity', 'code_usage'):
        np.testing.assert_allclose(result[name].sum, expected[name].sum, rtol=1e-5)


def test_cpc_weighs_the_frames_of_whole_windows(gradient):
    """Windows of 12 + 8 frames: one in a row of 37 frames, one in 32, one in 23; two steps in each."""
    metrics = gradient('cpc', make_batch()).metrics
    assert metrics['loss/unsup'].weight == 3 * 2
    np.testing.assert_allclose(metrics['chance/unsup'].sum / metrics['chance/unsup'].weight, 1 / 6, rtol=1e-6)


def test_transcripts_do_not_reach_the_lower_level(gradient):
    batch = make_batch()
    others = batch._replace(labels=batch.labels[::-1], label_lengths=batch.label_lengths + 1)
    for objective in UNSUPERVISED:
        jax.tree.map(np.testing.assert_array_equal, gradient(objective, batch), gradient(objective, others))
    assert gradient('ctc', batch).value != gradient('ctc', others).value


def test_cpc_predictions_do_not_depend_on_the_future(levels, monkeypatch):
    """Through the objective, with features in place of audio and the compared vectors in place of their loss."""
    level, params, _ = levels['cpc']
    monkeypatch.setattr(setup, 'log_mel', lambda audio, lengths, config, ends: (audio, lengths))

    def reduce(predicted, target, valid, key, **options):
        weights = jax.random.normal(jax.random.key(1), predicted.shape)
        return Ratio((predicted * weights).sum(), (target * weights).sum()), {}

    monkeypatch.setattr(cpc, 'info_nce', reduce)

    def sides(features):
        lengths = jnp.array([20])
        batch = Batch(features, lengths, jnp.zeros((1, 0), jnp.int32), jnp.zeros(1, jnp.int32), lengths[:, None])
        output = level.loss(params, batch, keys(), jnp.int32(0))
        return jnp.stack([output.sum, output.weight])

    reach = np.asarray(jax.jit(jax.jacrev(sides))(jax.random.normal(jax.random.key(0), (1, 20, 8))))
    predicted, target = np.abs(reach[:, 0]).max(axis=-1)
    assert (predicted[:12] > 0).all() and (predicted[12:] == 0).all()
    assert (target[:12] == 0).all() and (target[12:] > 0).all()


def test_objectives_use_their_random_streams(loss):
    """The masks of BEST-RQ come from `mask`, SpecAugment's from `augment`: another key, another loss."""
    first = loss('best_rq', make_batch(), keys()).sum
    assert loss('best_rq', make_batch(), keys(augment=1)).sum == first
    assert loss('best_rq', make_batch(), keys(mask=1)).sum != first


def test_unknown_objectives_are_named():
    config = dataclasses.replace(CONFIG, levels=LevelsConfig(unsup=LevelConfig('ctc')))
    with pytest.raises(UserError, match="config.levels.unsup.objective must be one of best_rq, cpc.*, not 'ctc'"):
        make_level(UNSUPERVISED, Setup('unsup', config, None, 8, VOCAB, 'sup'))
