import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.config import Config, ConformerConfig
from bljust_jax.errors import UserError
from bljust_jax.models import make_encoder
from bljust_jax.models.conformer import conformer
from tests.params import random_params

TINY = ConformerConfig(layers=2, width=16, heads=2, expansion=2, kernel=5, channels=8, dropout=0.2)
MELS, TIME = 6, 29
LENGTHS = np.array([29, 16, 7, 1, 0], np.int32)
HIDDEN_LENGTHS = np.array([8, 4, 2, 1, 0])
NORMS = pytest.mark.parametrize('norm', ['layer', 'group'])


@functools.cache
def encoder(norm):
    return conformer(dataclasses.replace(TINY, norm=norm))


@functools.cache
def variables(norm):
    return random_params(initial(norm))


@functools.cache
def initial(norm):
    return jax.jit(encoder(norm).init, static_argnums=3)(
        jax.random.key(0), jnp.zeros((1, 8, MELS)), jnp.full((1,), 8), False
    )


@functools.cache
def evaluate(norm):
    params = variables(norm)
    return jax.jit(lambda features, lengths: encoder(norm).apply(params, features, lengths, False))


@functools.cache
def train():
    params = variables('layer')

    def apply(features, lengths, key):
        return encoder('layer').apply(params, features, lengths, True, rngs={'dropout': key})[0]

    return jax.jit(apply)


def features(time=TIME, padding=0.0):
    """Random rows of `LENGTHS` frames, `[batch, time, mel]`, with `padding` after them."""
    x = np.random.default_rng(0).normal(size=(len(LENGTHS), TIME, MELS)).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, time - TIME), (0, 0)))
    return jnp.asarray(np.where(np.arange(time)[:, None] < LENGTHS[:, None, None], x, np.float32(padding)))


def valid_frames(hidden):
    return np.concatenate([row[:length] for row, length in zip(np.asarray(hidden), HIDDEN_LENGTHS, strict=True)])


@NORMS
def test_a_quarter_of_the_frames_rounded_up(norm):
    hidden, lengths = evaluate(norm)(features(), LENGTHS)
    assert hidden.shape == (5, 8, 16) and hidden.dtype == jnp.float32
    np.testing.assert_array_equal(lengths, HIDDEN_LENGTHS)
    for time in (1, 2, 3, 4, 5, 30, 31, 32, 33):
        shape, _ = jax.eval_shape(evaluate(norm), jax.ShapeDtypeStruct((2, time, MELS), jnp.float32), jnp.zeros(2, int))
        assert shape.shape == (2, -(-time // 4), 16)


@NORMS
@pytest.mark.parametrize(('time', 'padding'), [(TIME, 100.0), (TIME + 1, -3.0), (TIME + 2, 0.0), (TIME + 8, 50.0)])
def test_valid_frames_do_not_depend_on_padding(norm, time, padding):
    expected, _ = evaluate(norm)(features(), LENGTHS)
    hidden, lengths = evaluate(norm)(features(time, padding), LENGTHS)
    np.testing.assert_array_equal(lengths, HIDDEN_LENGTHS)
    np.testing.assert_allclose(valid_frames(hidden), valid_frames(expected), atol=1e-4)


@NORMS
@pytest.mark.parametrize('row', [1, 2])
def test_a_row_alone_gives_what_it_gives_in_a_batch(norm, row):
    """Short rows depend neither on their neighbours nor on how far they are padded."""
    batch, _ = evaluate(norm)(features(padding=10.0), LENGTHS)
    alone, _ = evaluate(norm)(features()[row : row + 1, : LENGTHS[row]], LENGTHS[row : row + 1])
    np.testing.assert_allclose(batch[row, : HIDDEN_LENGTHS[row]], alone[0], atol=1e-4)


@NORMS
def test_gradients_are_finite_and_zero_at_padding(norm):
    """With zero-length rows and infinite padding, too: neither may poison the parameters."""
    weights = jax.random.normal(jax.random.key(1), (5, 8, 16))
    weights = jnp.where(jnp.arange(8)[None, :, None] < HIDDEN_LENGTHS[:, None, None], weights, 0)

    def loss(params, x):
        return (encoder(norm).apply(params, x, LENGTHS, False)[0] * weights).sum()

    params_gradient, gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables(norm), features(padding=jnp.inf))
    for leaf in jax.tree.leaves(params_gradient):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any()
    valid = np.arange(TIME) < LENGTHS[:, None]
    np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0)
    assert (np.abs(np.asarray(gradient)[valid]).sum(axis=-1) > 0).all()


@NORMS
def test_rows_of_length_zero_are_finite(norm):
    hidden, lengths = evaluate(norm)(features(padding=jnp.nan), jnp.zeros(5, jnp.int32))
    assert jnp.isfinite(hidden).all() and lengths.tolist() == [0] * 5


def test_frames_see_the_whole_utterance():
    x = features()
    hidden, _ = evaluate('layer')(x, LENGTHS)
    changed, _ = evaluate('layer')(x.at[0, 0].add(5.0), LENGTHS)
    assert (np.abs(np.asarray(changed - hidden)[0]).max(axis=-1) > 1e-4).all()
    np.testing.assert_array_equal(changed[1:], hidden[1:])


def test_dropout_is_off_in_evaluation_and_differs_by_key_in_training():
    evaluated = np.asarray(evaluate('layer')(features(), LENGTHS)[0])
    np.testing.assert_array_equal(evaluated, evaluate('layer')(features(), LENGTHS)[0])
    first, same, other = (np.asarray(train()(features(), LENGTHS, jax.random.key(key))) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other, atol=0.01) and not np.allclose(first, evaluated, atol=0.01)


def test_blocks_begin_as_the_identity_up_to_their_norm():
    """Nothing but the subsampling counts: the blocks' other parameters, exchanged, change nothing."""
    params = initial('layer')['params']
    context = dict.fromkeys(params['context'], params['context']['block_0'])
    exchanged = {**params, 'context': context}
    first, second = (
        encoder('layer').apply({'params': tree}, features(), LENGTHS, False)[0] for tree in (params, exchanged)
    )
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(exchanged), strict=True))
    np.testing.assert_array_equal(first, second)


def test_every_layer_has_its_own_parameters():
    params = initial('layer')['params']['context']
    first, second = (jax.tree.leaves_with_path(params[f'block_{index}']) for index in range(TINY.layers))
    kernels = [(a, b) for (path, a), (_, b) in zip(first, second, strict=True) if path[-1].key == 'kernel']
    assert kernels and all((a != b).any() or not (a.any() or b.any()) for a, b in kernels)


def test_scanned_blocks_compute_what_unrolled_ones_do():
    params = variables('layer')['params']
    blocks = [params['context'][f'block_{index}'] for index in range(TINY.layers)]
    scanned = {**params, 'context': {'blocks': jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}}
    module = conformer(dataclasses.replace(TINY, scan=True))
    hidden, lengths = module.apply({'params': scanned}, features(), LENGTHS, False)
    unrolled, same_lengths = evaluate('layer')(features(), LENGTHS)
    np.testing.assert_array_equal(lengths, same_lengths)
    np.testing.assert_allclose(valid_frames(hidden), valid_frames(unrolled), atol=1e-5)
    drawn = module.init({'params': jax.random.key(0)}, features(), LENGTHS, False)['params']
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, scanned)


def parameters(config, mels=80):
    module = conformer(config)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 64, mels)), jnp.full((1,), 64), False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def counted(config, mels=80):
    """Number of parameters of the architecture as published, with rotary positions and 1-d subsampling."""
    d, e, c = config.width, config.expansion * config.width, config.channels
    norm, feed_forward = 2 * d, (d + 1) * e + (e + 1) * d
    attention = (d + 1) * 3 * d + (d + 1) * d
    convolution = (d + 1) * 2 * d + (config.kernel + 1) * d + norm + (d + 1) * d
    block = 2 * (norm + feed_forward) + (norm + attention) + (norm + convolution) + norm
    return (5 * mels + 1) * c + (5 * c + 1) * c + (c + 1) * d + config.layers * block


@pytest.mark.parametrize(
    ('config', 'millions'),
    [
        (ConformerConfig(), 3.5),
        (ConformerConfig(layers=8, width=512, heads=8, kernel=31, channels=512), 50.3),
        (ConformerConfig(layers=17, width=512, heads=8, kernel=31, channels=512), 104.8),
    ],
    ids=['mini', 'paper', 'conformer-l'],
)
def test_number_of_parameters(config, millions):
    """The published Conformer-L (17 x 512 x 8) has 118.8 M, with relative positions and the decoder of a transducer."""
    assert parameters(config) == counted(config)
    assert counted(config) / 1e6 == pytest.approx(millions, abs=0.05)


def test_unknown_encoders_are_named():
    with pytest.raises(UserError, match="config.encoder must be one of conformer.*, not 'zzz'"):
        make_encoder(Config(encoder='zzz'))


def test_make_encoder_states_its_subsampling():
    built = make_encoder(Config(conformer=TINY))
    assert built == conformer(TINY) and built.subsampling == 4
