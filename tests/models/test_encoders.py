"""What every encoder keeps to, whatever it is made of."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax import models
from bljust_jax.config import (
    Config,
    ConformerConfig,
    EBranchformerConfig,
    FastConformerConfig,
    LstmConfig,
    TransformerConfig,
)
from bljust_jax.errors import UserError
from bljust_jax.models import encode, make_encoder
from bljust_jax.models.conformer import conformer, fast_conformer
from bljust_jax.models.e_branchformer import e_branchformer
from bljust_jax.models.lstm import lstm_encoder
from bljust_jax.models.transformer import transformer
from tests.params import random_params
from tests.products import products

SIZES = {'layers': 2, 'width': 16, 'heads': 2, 'expansion': 2, 'kernel': 5, 'channels': 8, 'dropout': 0.2}
# Encoders of blocks, as what makes them and of what.
BLOCKS = {
    'conformer': (conformer, ConformerConfig(**SIZES)),
    'fast_conformer': (fast_conformer, FastConformerConfig(**SIZES)),
    'e_branchformer': (e_branchformer, EBranchformerConfig(**SIZES, gate_expansion=3, merge_kernel=3)),
    'transformer': (transformer, TransformerConfig(**SIZES, groups=4)),
    'lstm': (lstm_encoder, LstmConfig(layers=2, width=16, channels=8, dropout=0.2)),
}
ENCODERS = {name: make(config) for name, (make, config) in BLOCKS.items()} | {
    'conformer, group norm': conformer(ConformerConfig(**SIZES, norm='group', groups=2)),
    'transformer, norms before': transformer(TransformerConfig(**SIZES, groups=4, norm='pre')),
    'lstm, without norms': lstm_encoder(LstmConfig(layers=2, width=16, channels=8, dropout=0.2, norm='none')),
}
WIDTH, MELS, TIME = 16, 6, 29
LENGTHS = np.array([29, 16, 7, 1, 0], np.int32)
every_encoder = pytest.mark.parametrize('name', ENCODERS)
every_kind_of_block = pytest.mark.parametrize('name', BLOCKS)
every_residual_block = pytest.mark.parametrize('name', [name for name in BLOCKS if name != 'lstm'])


def initialise(name):
    return ENCODERS[name].init(jax.random.key(0), jnp.zeros((1, 8, MELS)), jnp.full((1,), 8), False)


@functools.cache
def initial(name):
    return jax.jit(initialise, static_argnums=0)(name)


@functools.cache
def initial_shapes(name):
    return jax.eval_shape(lambda: initialise(name))


@functools.cache
def variables(name):
    return random_params(initial_shapes(name))


@functools.cache
def compiled(name):
    """In evaluation."""
    return jax.jit(lambda variables, *rows: ENCODERS[name].apply(variables, *rows, False))


def evaluate(name):
    return functools.partial(compiled(name), variables(name))


@functools.cache
def train(name):
    def apply(params, features, lengths, key):
        return ENCODERS[name].apply(params, features, lengths, True, rngs={'dropout': key})[0]

    return functools.partial(jax.jit(apply), variables(name))


def features(padding=0.0):
    """Random rows of `LENGTHS` frames, `[batch, time, mel]`, with `padding` after them."""
    x = np.random.default_rng(0).normal(size=(len(LENGTHS), TIME, MELS)).astype(np.float32)
    return jnp.asarray(np.where(np.arange(TIME)[:, None] < LENGTHS[:, None, None], x, np.float32(padding)))


def hidden_lengths(name):
    return -(-LENGTHS // ENCODERS[name].subsampling)


def valid_frames(name, hidden):
    return np.concatenate([row[:n] for row, n in zip(np.asarray(hidden), hidden_lengths(name), strict=True)])


def stack_of(params):
    """The parameters of the blocks, by name: all of the context network, or a part of it."""
    context = params['context']
    return context.get('Stack_0', context)


def with_stack(params, stack):
    """`params` with other blocks."""
    context = params['context']
    return {**params, 'context': {**context, 'Stack_0': stack} if 'Stack_0' in context else stack}


@every_encoder
def test_frames_are_fewer_by_the_factor_rounded_up(name):
    hidden, lengths = evaluate(name)(features(), LENGTHS)
    factor = ENCODERS[name].subsampling
    assert hidden.shape == (5, -(-TIME // factor), WIDTH) and hidden.dtype == jnp.float32
    np.testing.assert_array_equal(lengths, hidden_lengths(name))
    latents = functools.partial(ENCODERS[name].apply, variables(name), method='latents')
    for time in (1, 2, 3, 4, 5, 7, 8, 9, 30, 31, 32, 33):
        shape, _ = jax.eval_shape(latents, jax.ShapeDtypeStruct((2, time, MELS), jnp.float32), jnp.zeros(2, int))
        assert shape.shape[:2] == (2, -(-time // factor))


@every_encoder
@settings(max_examples=10, deadline=None)
@given(padding=st.floats(width=32))
def test_valid_frames_do_not_depend_on_what_lies_in_the_padding(name, padding):
    expected, _ = evaluate(name)(features(), LENGTHS)
    hidden, lengths = evaluate(name)(features(padding), LENGTHS)
    np.testing.assert_array_equal(lengths, hidden_lengths(name))
    np.testing.assert_allclose(valid_frames(name, hidden), valid_frames(name, expected), atol=1e-4)


@every_encoder
def test_short_rows_depend_neither_on_their_neighbours_nor_on_how_far_they_are_padded(name):
    rows = slice(1, 4)
    batch, _ = evaluate(name)(features(padding=10.0), LENGTHS)
    among_themselves, _ = evaluate(name)(features()[rows, : LENGTHS[1]], LENGTHS[rows])
    for one, other, length in zip(batch[rows], among_themselves, hidden_lengths(name)[rows], strict=True):
        np.testing.assert_allclose(one[:length], other[:length], atol=1e-4)


@every_encoder
def test_gradients_are_finite_and_zero_at_padding(name):
    """With zero-length rows and infinite padding, too: neither may poison the parameters."""
    lengths = hidden_lengths(name)
    weights = jax.random.normal(jax.random.key(1), (5, lengths[0], WIDTH))
    weights = jnp.where(jnp.arange(lengths[0])[None, :, None] < lengths[:, None, None], weights, 0)

    def loss(params, x):
        return (ENCODERS[name].apply(params, x, LENGTHS, False)[0] * weights).sum()

    params_gradient, gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables(name), features(padding=jnp.inf))
    for leaf in jax.tree.leaves(params_gradient):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any()
    valid = np.arange(TIME) < LENGTHS[:, None]
    np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0)
    assert (np.abs(np.asarray(gradient)[valid]).sum(axis=-1) > 0).all()


@every_encoder
def test_rows_of_length_zero_are_finite(name):
    hidden, lengths = evaluate(name)(features(padding=jnp.nan), jnp.zeros(5, jnp.int32))
    assert jnp.isfinite(hidden).all() and lengths.tolist() == [0] * 5


@every_encoder
def test_frames_see_the_whole_utterance(name):
    x = features()
    hidden, _ = evaluate(name)(x, LENGTHS)
    changed, _ = evaluate(name)(x.at[0, 0].add(5.0), LENGTHS)
    assert (np.abs(np.asarray(changed - hidden)[0]).max(axis=-1) > 1e-4).all()
    np.testing.assert_array_equal(changed[1:], hidden[1:])


@every_encoder
def test_dropout_is_off_in_evaluation_and_differs_by_key_in_training(name):
    evaluated = np.asarray(evaluate(name)(features(), LENGTHS)[0])
    np.testing.assert_array_equal(evaluated, evaluate(name)(features(), LENGTHS)[0])
    first, same, other = (np.asarray(train(name)(features(), LENGTHS, jax.random.key(key))) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other, atol=0.01) and not np.allclose(first, evaluated, atol=0.01)


@every_encoder
@pytest.mark.standard_dtypes
def test_everything_is_multiplied_in_the_compute_dtype(name):
    """Other than parameters and hidden frames, which are float32."""

    def loss(params, dtype):
        hidden, lengths = encode(
            ENCODERS[name], params, features(), LENGTHS, dtype=dtype, rngs={'dropout': jax.random.key(0)}
        )
        valid = jnp.arange(hidden.shape[1])[None, :] < lengths[:, None]
        return jnp.where(valid[:, :, None], jnp.sin(hidden), 0).sum()

    params = {'encoder': initial_shapes(name)['params']}
    for dtype, short in (('float32', 'f32'), ('bfloat16', 'bf16')):
        gradient = jax.jit(jax.value_and_grad(functools.partial(loss, dtype=dtype)))
        assert set(products(gradient, params)) == {short}
        assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(gradient, params))} == {jnp.dtype('float32')}


@every_residual_block
def test_blocks_begin_as_the_identity_up_to_their_norm(name):
    """Nothing but the front end counts: the blocks' other parameters, exchanged, change nothing."""
    params = initial(name)['params']
    blocks = stack_of(params)
    exchanged = with_stack(params, dict.fromkeys(blocks, blocks['block_0']))
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(exchanged), strict=True))
    hidden = [compiled(name)({'params': one}, features(), LENGTHS)[0] for one in (params, exchanged)]
    np.testing.assert_array_equal(*hidden)


@every_kind_of_block
def test_every_layer_has_its_own_parameters(name):
    blocks = stack_of(initial(name)['params'])
    first, second = (jax.tree.leaves_with_path(blocks[f'block_{index}']) for index in range(SIZES['layers']))
    kernels = [(a, b) for (path, a), (_, b) in zip(first, second, strict=True) if path[-1].key == 'kernel']
    assert kernels and all((a != b).any() or not (a.any() or b.any()) for a, b in kernels)


@every_kind_of_block
def test_scanned_blocks_compute_what_unrolled_ones_do(name):
    make, config = BLOCKS[name]
    params = variables(name)['params']
    blocks = [stack_of(params)[f'block_{index}'] for index in range(config.layers)]
    scanned = with_stack(params, {'blocks': jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)})
    encoder = make(dataclasses.replace(config, scan=True))
    hidden, lengths = jax.jit(encoder.apply, static_argnums=3)({'params': scanned}, features(), LENGTHS, False)
    unrolled, same_lengths = evaluate(name)(features(), LENGTHS)
    np.testing.assert_array_equal(lengths, same_lengths)
    np.testing.assert_allclose(valid_frames(name, hidden), valid_frames(name, unrolled), atol=1e-5)
    drawn = jax.eval_shape(lambda: encoder.init({'params': jax.random.key(0)}, features(), LENGTHS, False)['params'])
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, scanned)


@every_kind_of_block
@pytest.mark.parametrize('remat', ['dots', 'full'])
def test_blocks_can_be_computed_again(name, remat):
    """`remat` leaves the gradient as it is, and computes more for it."""
    assert products_of_gradient(name, remat) > products_of_gradient(name, 'none')


@functools.cache
def products_of_gradient(name, remat):
    """Their number in a step of training."""
    make, config = BLOCKS[name]
    encoder = make(dataclasses.replace(config, remat=remat))

    def loss(params):
        hidden, _ = encoder.apply(params, features(), LENGTHS, True, rngs={'dropout': jax.random.key(0)})
        return jnp.sin(hidden).sum()

    return sum(products(jax.jit(jax.grad(loss)), initial_shapes(name)).values())


def test_all_encoders_are_here():
    assert set(models.ENCODERS) == {name.split(',')[0] for name in ENCODERS}


def test_unknown_encoders_are_named():
    with pytest.raises(UserError, match="config.encoder must be one of conformer.*, not 'zzz'"):
        make_encoder(Config(encoder='zzz'))


@every_kind_of_block
def test_make_encoder_builds_what_the_config_names(name):
    make, config = BLOCKS[name]
    assert make_encoder(Config(**{'encoder': name, name: config})) == make(config)
