"""Heads of masked prediction: what the mask replaces, and HuBERT's logits."""

import jax
import numpy as np
import pytest
import torch

from bljust_jax.models.masked import RegressionHead, UnitHead, Wav2Vec2Head
from tests.params import random_params

X = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
MASK = np.random.default_rng(1).random((2, 5)) < 0.5
HEADS = {
    'data2vec': RegressionHead(7),
    'hubert': UnitHead(units=4, dim=3, temperature=0.1),
    'wav2vec2': Wav2Vec2Head(groups=2, codes=3, quantizer_dim=4, dim=5),
}


def params_of(head):
    return random_params(jax.eval_shape(head.init, jax.random.key(0), X, X[:, :, :4]))


@pytest.mark.parametrize('head', HEADS.values(), ids=HEADS)
def test_the_learned_vector_replaces_masked_latents_alone(head):
    params = params_of(head)
    masked = np.asarray(head.apply(params, X, MASK, method='mask'))
    np.testing.assert_array_equal(masked[~MASK], X[~MASK])
    np.testing.assert_array_equal(masked[MASK], np.tile(params['params']['masking']['embedding'], (MASK.sum(), 1)))


def test_logits_of_units_are_cosines_over_the_temperature():
    head = HEADS['hubert']
    params = params_of(head)
    logits = head.apply(params, X[:, :, :4], method='predict')
    weights = params['params']
    hidden, kernel, bias, embeddings = (
        torch.tensor(np.asarray(x), dtype=torch.float64)
        for x in (X[:, :, :4], weights['projection']['kernel'], weights['projection']['bias'], weights['embeddings'])
    )
    projected = hidden @ kernel + bias
    expected = torch.cosine_similarity(projected[:, :, None], embeddings[None, None], dim=-1) / 0.1
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
