"""HuBERT's targets and loss, against scikit-learn and PyTorch."""

import jax
import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances_argmin

from bljust_jax.losses.unsupervised.hubert import nearest, unit_prediction

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 6, 5)).astype(np.float32)
UNITS = RNG.integers(0, 5, (3, 6)).astype(np.int32)
VALID = np.arange(6)[None, :] < np.array([6, 4, 0])[:, None]
MASK = VALID & (RNG.random((3, 6)) < 0.5)


def test_units_are_the_nearest_centroids():
    frames, centroids = RNG.normal(size=(2, 40, 7)).astype(np.float32), RNG.normal(size=(9, 7)).astype(np.float32)
    expected = pairwise_distances_argmin(frames.reshape(-1, 7), centroids)
    np.testing.assert_array_equal(np.asarray(nearest(centroids, frames)).ravel(), expected)


@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
def test_loss_and_gradient_are_those_of_torch(weight):
    x = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(x.flatten(0, 1), torch.tensor(UNITS.ravel()).long(), reduction='none')
    counts = torch.tensor(np.where(MASK, 1.0, np.where(VALID, weight, 0.0)).ravel())
    expected = (losses * counts).sum() / counts.sum()
    expected.backward()

    def value(logits):
        loss, metrics = unit_prediction(logits, UNITS, MASK, VALID, weight)
        return loss.sum / loss.weight, metrics

    (result, metrics), grads = jax.value_and_grad(value, has_aux=True)(LOGITS)
    np.testing.assert_allclose(result, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(grads, x.grad, rtol=1e-4, atol=1e-6)
    hits = LOGITS.argmax(axis=-1) == UNITS
    np.testing.assert_allclose(metrics['accuracy'].sum / metrics['accuracy'].weight, hits[MASK].mean(), rtol=1e-6)
    if weight:
        others = metrics['unmasked_accuracy']
        np.testing.assert_allclose(others.sum / others.weight, hits[VALID & ~MASK].mean(), rtol=1e-6)
