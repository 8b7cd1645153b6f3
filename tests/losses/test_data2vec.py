"""data2vec's targets and loss, against PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.losses.unsupervised.data2vec import layer_targets, masked_regression

LENGTHS = np.array([6, 3, 0])


def draw(seed, scale=1.0):
    return np.random.default_rng(seed).normal(0.5, scale, size=(3, 6, 4)).astype(np.float32)


LAYERS = [draw(seed, 10.0**seed) for seed in range(3)]
MASK = np.array([[0, 1, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0], [0] * 6], bool)


@pytest.mark.parametrize('top', [1, 2, 3])
def test_targets_are_means_of_instance_normalised_layers(top):
    result = layer_targets(LAYERS, LENGTHS, top)
    for row, length in enumerate(LENGTHS[:2]):
        layers = torch.tensor(np.stack(LAYERS)[-top:, row, :length], dtype=torch.float64)
        normalised = torch.nn.functional.instance_norm(layers.transpose(1, 2), eps=1e-5)
        np.testing.assert_allclose(result[row, :length], normalised.mean(dim=0).T, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(result[row, length:], 0)
    np.testing.assert_array_equal(result[2], 0)


def test_targets_do_not_depend_on_padding():
    padded = [np.where(np.arange(6)[None, :, None] < LENGTHS[:, None, None], layer, 1e6) for layer in LAYERS]
    np.testing.assert_array_equal(layer_targets(padded, LENGTHS, 2), layer_targets(LAYERS, LENGTHS, 2))


@pytest.mark.parametrize('top', [0, 4])
def test_there_must_be_as_many_layers(top):
    with pytest.raises(ValueError, match=rf'the top {top} layers is asked for, and there are 3'):
        layer_targets(LAYERS, LENGTHS, top)


@pytest.mark.parametrize('beta', [0.0, 0.25, 2.0])
def test_loss_and_gradient_are_those_of_torch(beta):
    predicted, target = draw(3), draw(4)
    x = torch.tensor(predicted[MASK], dtype=torch.float64, requires_grad=True)
    # PyTorch takes beta 0 for the plain absolute error.
    loss = torch.nn.functional.smooth_l1_loss if beta else torch.nn.functional.mse_loss
    options = {'beta': beta} if beta else {}
    expected = loss(x, torch.tensor(target[MASK], dtype=torch.float64), reduction='none', **options).mean(-1).sum()
    expected.backward()
    value, grads = jax.value_and_grad(lambda x: masked_regression(x, target, MASK, beta)[0].sum)(predicted)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(grads)[MASK], x.grad, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(grads)[~MASK], 0)
    assert masked_regression(predicted, target, MASK, beta)[0].weight == float(MASK.sum())


def test_deviations_are_those_of_the_masked_frames():
    predicted, target = draw(3), draw(4)
    _, metrics = masked_regression(predicted, target, MASK, 0.0)
    np.testing.assert_allclose(metrics['prediction_std'].sum, predicted[MASK].std(axis=0).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics['target_std'].sum, target[MASK].std(axis=0).mean(), rtol=1e-5)
    _, collapsed = masked_regression(jnp.ones_like(predicted), target, MASK, 0.0)
    assert collapsed['prediction_std'] == (0, 1)


def test_nothing_masked_weighs_nothing():
    loss, metrics = masked_regression(draw(3), draw(4), np.zeros_like(MASK), 0.0)
    assert loss == (0, 0)
    assert all(ratio.weight == 0 and np.isfinite(ratio.sum) for ratio in metrics.values())
