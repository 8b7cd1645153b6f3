"""The encoder in bfloat16 on float32 parameters, and with rematerialisation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.config import ConformerConfig
from bljust_jax.models import encode, encode_context, encode_latents
from bljust_jax.models.conformer import conformer
from tests.params import random_params
from tests.products import products

pytestmark = pytest.mark.standard_dtypes  # linen's norms subtract a float32 mean from bfloat16

TINY = ConformerConfig(layers=3, width=16, heads=2, expansion=2, kernel=3, channels=8, dropout=0.2)
FEATURES = np.random.default_rng(0).normal(size=(4, 120, 6)).astype(np.float32)
LENGTHS = np.array([120, 90, 7, 0], np.int32)
RNGS = {'dropout': jax.random.key(1)}


def shapes(config):
    variables = jax.eval_shape(lambda: conformer(config).init(jax.random.key(0), FEATURES, LENGTHS, False))
    return {'encoder': variables['params']}


@functools.cache
def params(scan=False):
    return random_params(shapes(dataclasses.replace(TINY, scan=scan)))


def hidden_of(config, dtype):
    return jax.jit(lambda params: encode(conformer(config), params, FEATURES, LENGTHS, dtype=dtype, rngs=RNGS)[0])


def loss_of(config, dtype='float32'):
    """A loss whose gradient every valid frame takes part in."""

    def loss(params):
        hidden, lengths = encode(conformer(config), params, FEATURES, LENGTHS, dtype=dtype, rngs=RNGS)
        valid = jnp.arange(hidden.shape[1])[None, :] < lengths[:, None]
        return jnp.where(valid[:, :, None], jnp.sin(hidden), 0).sum()

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize('scan', [False, True])
def test_latents_and_context_are_the_two_parts_of_it(scan):
    """And the layers are the outputs of the blocks, of which the last is the encoder's."""
    config = dataclasses.replace(TINY, scan=scan)

    @jax.jit
    def parts(params):
        latents, lengths = encode_latents(conformer(config), params, FEATURES, LENGTHS, dtype='float32')
        return encode_context(conformer(config), params, latents, lengths, dtype='float32', rngs=RNGS), lengths

    (hidden, layers), lengths = parts(params(scan))
    np.testing.assert_allclose(hidden, hidden_of(config, 'float32')(params(scan)), atol=1e-6)
    np.testing.assert_array_equal(lengths, -(-LENGTHS // 4))
    assert len(layers) == TINY.layers and {layer.shape for layer in layers} == {hidden.shape}
    np.testing.assert_array_equal(layers[-1], hidden)
    assert not np.allclose(layers[0], layers[1])


@pytest.mark.parametrize('scan', [False, True])
@pytest.mark.parametrize('norm', ['layer', 'group'])
def test_everything_is_multiplied_in_bfloat16(norm, scan):
    config = dataclasses.replace(TINY, norm=norm, scan=scan)
    assert set(products(loss_of(config, 'bfloat16'), shapes(config))) == {'bf16'}
    assert set(products(loss_of(config), shapes(config))) == {'f32'}
    result = jax.eval_shape(loss_of(config, 'bfloat16'), shapes(config))
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype('float32')}


def test_bfloat16_is_close_to_float32():
    exact, rounded = (np.asarray(hidden_of(TINY, dtype)(params())) for dtype in ('float32', 'bfloat16'))
    assert rounded.dtype == np.float32
    error = np.sqrt(np.mean((exact - rounded)[0] ** 2) / np.mean(exact[0] ** 2))
    assert 1e-4 < error < 0.02


@pytest.fixture(scope='module')
def kept():
    """For blocks in a loop and unrolled, what a gradient is and the memory it takes without rematerialisation."""
    return {scan: value_and_memory(dataclasses.replace(TINY, scan=scan)) for scan in (False, True)}


def value_and_memory(config):
    compiled = loss_of(config).lower(params(config.scan)).compile()
    return compiled(params(config.scan)), compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(('remat', 'scan'), [('dots', True), ('full', True), ('full', False)])
def test_rematerialisation_changes_nothing_but_memory(remat, scan, kept):
    """Neither loss nor gradient, dropout included. Unrolled, XLA on CPU orders blocks so that nothing is saved."""
    (value, gradient), memory = value_and_memory(dataclasses.replace(TINY, scan=scan, remat=remat))
    (expected, expected_gradient), most = kept[scan]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), gradient, expected_gradient)
    assert not scan or memory < 0.8 * most
