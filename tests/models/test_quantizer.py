"""The Gumbel softmax quantiser: what it chooses, how often, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bljust_jax.models.quantizer import ProductQuantizer
from tests.params import random_params

QUANTIZER = ProductQuantizer(groups=2, codes=3, dim=4)
X = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
PARAMS = random_params(jax.eval_shape(QUANTIZER.init, jax.random.key(0), X))


def test_without_noise_the_most_probable_code_is_looked_up():
    vectors, codes, probabilities = QUANTIZER.apply(PARAMS, X)
    layer = PARAMS['params']['DenseGeneral_0']
    logits = np.einsum('btw,wgv->btgv', X, layer['kernel']) + layer['bias']
    np.testing.assert_array_equal(codes, logits.argmax(axis=-1))
    table = PARAMS['params']['vectors']
    expected = np.concatenate([table[0][codes[..., 0]], table[1][codes[..., 1]]], axis=-1)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    np.testing.assert_array_equal(probabilities, np.eye(3)[codes])


def test_codes_are_drawn_with_their_probabilities():
    """Gumbel's trick: the largest of logit + noise is a draw from the softmax."""
    noise = jax.random.gumbel(jax.random.key(0), (4000, 5, 2, 3))
    draws = jax.vmap(lambda one: QUANTIZER.apply(PARAMS, X[:1], one[None]))(noise)
    shares = np.asarray(jax.nn.one_hot(draws.codes, 3).mean(axis=0))
    expected = np.asarray(draws.probabilities[0])
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / 4000))


def test_value_and_straight_through_gradient_are_those_of_torch():
    noise = np.asarray(jax.random.gumbel(jax.random.key(1), (2, 5, 2, 3)))
    weights = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)

    def value(variables, x):
        return (QUANTIZER.apply(variables, x, noise, 0.7).vectors * weights).sum()

    result, (grads, slope) = jax.value_and_grad(value, argnums=(0, 1))(PARAMS, jnp.asarray(X))
    layer = PARAMS['params']['DenseGeneral_0']
    kernel, bias, table, x = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for value in (layer['kernel'], layer['bias'], PARAMS['params']['vectors'], X)
    )
    logits = torch.einsum('btw,wgv->btgv', x, kernel) + bias
    soft = ((logits + torch.tensor(noise)) / 0.7).softmax(-1)
    hard = torch.nn.functional.one_hot(soft.argmax(-1), 3).double()
    chosen = hard - soft.detach() + soft
    expected = (torch.einsum('btgv,gvd->btgd', chosen, table).flatten(2) * torch.tensor(weights)).sum()
    expected.backward()
    np.testing.assert_allclose(result, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(slope, x.grad, rtol=1e-4, atol=1e-5)
    ours = grads['params']['DenseGeneral_0']['kernel'], grads['params']['vectors']
    for mine, theirs in zip(ours, (kernel, table), strict=True):
        np.testing.assert_allclose(mine, theirs.grad, rtol=1e-4, atol=1e-5)
