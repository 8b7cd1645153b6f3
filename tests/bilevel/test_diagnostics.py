"""Tests of what the Gram matrix of the gradients tells."""

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.bilevel import diagnostics

LEVELS = 3


def random_gradients(seed=0):
    """`[levels, 7]`, and the same cut into leaves of three shapes."""
    flat = np.random.default_rng(seed).normal(size=[LEVELS, 7])
    leaves = [[jnp.asarray(flat[i, a:b].reshape(shape), jnp.float32) for i in range(LEVELS)] for a, b, shape in CUTS]
    return flat, leaves


CUTS = ((0, 2, [2]), (2, 6, [2, 2]), (6, 7, []))


def test_gram_is_the_matrix_of_inner_products():
    flat, leaves = random_gradients()
    np.testing.assert_allclose(diagnostics.gram(leaves, LEVELS), flat @ flat.T, rtol=1e-5, atol=1e-6)


def test_gram_of_stacked_layers_is_that_of_each():
    rng = np.random.default_rng(0)
    leaves = [[rng.normal(size=shape).astype(np.float32) for _ in range(LEVELS)] for shape in ((2, 5), (2, 3, 4), (2,))]
    each = [diagnostics.gram([[grads[layer] for grads in leaf] for leaf in leaves], LEVELS) for layer in range(2)]
    np.testing.assert_allclose(diagnostics.gram(leaves, LEVELS, stacked=True), each, rtol=1e-5, atol=1e-6)


def test_gram_of_nothing_is_zero():
    np.testing.assert_array_equal(diagnostics.gram([], LEVELS), np.zeros([LEVELS, LEVELS]))


def test_gram_is_summed_in_float32():
    ones = jnp.ones([4096], jnp.bfloat16)  # in bfloat16 the sum would stop at 256
    np.testing.assert_array_equal(diagnostics.gram([(ones, ones)], 2), np.full([2, 2], 4096.0))


def test_inner_products_and_norms_of_combinations():
    flat, leaves = random_gradients()
    gram = diagnostics.gram(leaves, LEVELS)
    a, b = np.array([1.0, 0.5, 2.0], np.float32), np.array([-1.0, 3.0, 0.1], np.float32)
    np.testing.assert_allclose(diagnostics.inner(gram, a, b), (a @ flat) @ (b @ flat), rtol=1e-5)
    np.testing.assert_allclose(diagnostics.norm(gram, a), np.linalg.norm(a @ flat), rtol=1e-5)
    assert diagnostics.norm(jnp.ones([LEVELS, LEVELS]), jnp.asarray([1.0, -1.0, 0.0])) == 0


def test_norms_cosines_and_shares():
    flat, leaves = random_gradients()
    gram, norms = diagnostics.gram(leaves, LEVELS), np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(diagnostics.norms(gram), norms, rtol=1e-5)
    np.testing.assert_allclose(diagnostics.cosines(gram), flat @ flat.T / np.outer(norms, norms), rtol=1e-4, atol=1e-6)
    weights = np.array([1.0, 0.5, 3.0], np.float32)
    np.testing.assert_allclose(diagnostics.shares(gram, weights), weights * norms / (weights @ norms), rtol=1e-5)


def test_zero_gradients_have_cosine_and_share_zero():
    gram = jnp.diag(jnp.asarray([4.0, 0.0]))
    np.testing.assert_array_equal(diagnostics.cosines(gram), [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(diagnostics.shares(gram, jnp.ones([2])), [1.0, 0.0])
    np.testing.assert_array_equal(diagnostics.shares(jnp.zeros([2, 2]), jnp.ones([2])), [0.0, 0.0])


def test_one_trace_serves_any_values():
    traces = []

    @jax.jit
    def everything(leaves):
        traces.append(1)
        gram = diagnostics.gram(leaves, LEVELS)
        return diagnostics.cosines(gram), diagnostics.shares(gram, jnp.ones([LEVELS]))

    for seed in range(2):
        assert all(np.isfinite(value).all() for value in everything(random_gradients(seed)[1]))
    assert len(traces) == 1
