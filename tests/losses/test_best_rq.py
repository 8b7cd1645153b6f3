import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.config import BestRqConfig
from bljust_jax.losses.unsupervised.best_rq import (
    make_quantizer,
    mask_features,
    masked_prediction,
    quantize,
    stack_frames,
)

CONFIG = BestRqConfig(codebooks=2, codebook_size=16, code_dim=4)


def test_the_quantizer_is_a_function_of_the_config_alone():
    first, same = make_quantizer(CONFIG, 12), make_quantizer(CONFIG, 12)
    other = make_quantizer(dataclasses.replace(CONFIG, seed=1), 12)
    assert first.projection.shape == (2, 12, 4) and first.codes.shape == (2, 16, 4)
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()
    np.testing.assert_allclose(jnp.linalg.norm(first.codes, axis=-1), jnp.ones((2, 16)), rtol=1e-5)
    assert (first.projection[0] != first.projection[1]).all() and (first.codes[0] != first.codes[1]).all()


def test_codes_are_the_nearest_after_normalisation():
    """As published: the Euclidean nearest neighbour of the normalised projection, here in float64."""
    stacked = jax.random.normal(jax.random.key(0), (3, 50, 12))
    quantizer = make_quantizer(CONFIG, 12)
    result = np.asarray(quantize(quantizer, stacked))
    projection, codes = (np.asarray(x, np.float64) for x in quantizer)
    projected = np.einsum('btf,cfd->btcd', np.asarray(stacked, np.float64), projection)
    projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
    distance = ((projected[:, :, :, None] - codes) ** 2).sum(axis=-1)
    assert result.shape == (3, 50, 2) and result.dtype == np.int32
    chosen = np.take_along_axis(distance, result[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, distance.min(axis=-1), atol=1e-6)
    assert (result == distance.argmin(axis=-1)).mean() > 0.99
    assert len(np.unique(result)) == 16


def test_codes_do_not_depend_on_the_scale_of_the_features():
    stacked = jax.random.normal(jax.random.key(0), (1, 50, 12))
    quantizer = make_quantizer(CONFIG, 12)
    np.testing.assert_array_equal(quantize(quantizer, 7 * stacked), quantize(quantizer, stacked))
    assert jnp.isfinite(quantize(quantizer, jnp.zeros((1, 2, 12)))).all()


@pytest.mark.parametrize('time', [1, 7, 8, 9])
def test_stacks_hold_consecutive_frames_and_end_in_zeros(time):
    features = np.random.default_rng(0).normal(size=(2, time, 3)).astype(np.float32)
    stacked = stack_frames(jnp.asarray(features), 4)
    stacks = -(-time // 4)
    assert stacked.shape == (2, stacks, 12)
    flat = np.asarray(stacked).reshape(2, stacks * 4, 3)
    np.testing.assert_array_equal(flat[:, :time], features)
    np.testing.assert_array_equal(flat[:, time:], 0)


@pytest.mark.parametrize('time', [8, 9, 11])  # 9 frames make 3 stacks of 4, not of 3
def test_noise_replaces_exactly_the_masked_frames(time):
    features = jnp.full((2, time, 40), 7.0)
    mask = jnp.zeros((2, -(-time // 4)), bool).at[0, 1].set(True).at[1, -1].set(True)
    result = np.asarray(mask_features(features, mask, 4, jax.random.key(0), 0.1))
    masked = np.repeat(np.asarray(mask), 4, axis=1)[:, :time]
    np.testing.assert_array_equal(result[~masked], 7.0)
    noise = result[masked]
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 0.1) < 0.02 and len(np.unique(noise)) == noise.size


def prediction(seed=0, batch=3, time=6):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, time, 2, 5)).astype(np.float32)
    codes = rng.choice(5, (batch, time, 2), p=[0.6, 0.2, 0.1, 0.1, 0.0]).astype(np.int32)
    return logits, codes, rng.random((batch, time)) < 0.6


def value(ratio):
    return float(ratio.sum) / float(ratio.weight)


def test_masked_prediction_equals_torch():
    logits, codes, mask = prediction()
    loss, metrics = masked_prediction(logits, codes, mask)
    chosen = torch.tensor(logits[mask].reshape(-1, 5), dtype=torch.float64)
    targets = torch.tensor(codes[mask].reshape(-1), dtype=torch.long)
    assert float(loss.weight) == 2 * mask.sum() == len(targets)
    expected = torch.nn.functional.cross_entropy(chosen, targets, reduction='sum')
    assert float(loss.sum) == pytest.approx(expected.item(), rel=1e-5)
    assert value(metrics['accuracy']) == pytest.approx((chosen.argmax(dim=-1) == targets).double().mean().item())


def test_the_loss_of_each_codebook_is_told():
    logits, codes, mask = prediction()
    loss, metrics = masked_prediction(logits, codes, mask)
    for book in range(2):
        chosen = torch.tensor(logits[mask][:, book], dtype=torch.float64)
        expected = torch.nn.functional.cross_entropy(chosen, torch.tensor(codes[mask][:, book]).long())
        assert value(metrics[f'loss_codebook_{book}']) == pytest.approx(expected.item(), rel=1e-5)
    assert value(loss) == pytest.approx(np.mean([value(metrics[f'loss_codebook_{i}']) for i in range(2)]), rel=1e-6)
    _, alone = masked_prediction(logits[:, :, :1], codes[:, :, :1], mask)
    assert not any(name.startswith('loss_codebook') for name in alone)


def test_chance_and_perplexity_describe_the_codes_of_the_masked_frames():
    logits, codes, mask = prediction()
    _, metrics = masked_prediction(logits, codes, mask)
    counts = np.stack([np.bincount(codes[mask][:, book], minlength=5) for book in range(2)])
    assert value(metrics['chance']) == pytest.approx(counts.max(axis=1).sum() / counts.sum())
    assert value(metrics['code_usage']) == pytest.approx((counts > 0).mean())
    share = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
    assert value(metrics['perplexity']) == pytest.approx(np.exp(entropy).mean(), rel=1e-5)


@pytest.mark.parametrize(('codes', 'perplexity', 'chance'), [(np.full(30, 3), 1, 1), (np.arange(30) % 5, 5, 0.2)])
def test_perplexity_runs_from_collapse_to_uniform_use(codes, perplexity, chance):
    codes = np.repeat(codes[None, :, None], 2, axis=2).astype(np.int32)
    logits = jax.nn.one_hot(codes, 5) * 10
    loss, metrics = masked_prediction(logits, codes, np.ones((1, 30), bool))
    assert value(metrics['perplexity']) == pytest.approx(perplexity, rel=1e-5)
    assert value(metrics['chance']) == pytest.approx(chance) and value(metrics['accuracy']) == 1
    assert value(loss) == pytest.approx(np.log(1 + 4 * np.exp(-10)), rel=0.01)


def test_padding_and_unmasked_frames_do_not_count():
    logits, codes, mask = prediction()
    rng = np.random.default_rng(1)
    longer_logits = rng.normal(size=(5, 9, 2, 5)).astype(np.float32)
    longer_codes = rng.integers(0, 5, (5, 9, 2)).astype(np.int32)
    longer_mask = np.zeros((5, 9), bool)
    longer_logits[:3, :6][mask], longer_codes[:3, :6][mask], longer_mask[:3, :6] = logits[mask], codes[mask], mask
    loss, metrics = masked_prediction(logits, codes, mask)
    same_loss, same_metrics = masked_prediction(longer_logits, longer_codes, longer_mask)
    assert same_loss.weight == loss.weight
    assert value(same_loss) == pytest.approx(value(loss), rel=1e-6)
    for name in ('accuracy', 'chance', 'perplexity'):
        assert value(same_metrics[name]) == pytest.approx(value(metrics[name]), rel=1e-6)


def test_nothing_masked_weighs_nothing():
    logits, codes, mask = prediction()
    loss, metrics = masked_prediction(logits, codes, np.zeros_like(mask))
    assert loss.sum == 0 and loss.weight == 0
    assert all(np.isfinite(ratio.sum) for ratio in metrics.values())


def test_gradients_reach_the_logits_of_masked_frames_alone():
    logits, codes, mask = prediction()
    gradient = np.asarray(jax.grad(lambda logits: masked_prediction(logits, codes, mask)[0].sum)(logits))
    np.testing.assert_array_equal(gradient[~mask], 0)
    assert (gradient[mask] != 0).all()
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-6)


def test_quantizing_has_no_gradient():
    """Codes are integers: nothing can flow into the projection, the codes or the features."""
    quantizer = make_quantizer(CONFIG, 12)
    stacked = jax.random.normal(jax.random.key(0), (1, 4, 12))
    codes, pullback = jax.vjp(lambda quantizer, stacked: quantize(quantizer, stacked), quantizer, stacked)
    assert jnp.issubdtype(codes.dtype, jnp.integer)
    for cotangent in jax.tree.leaves(pullback(np.zeros(codes.shape, jax.dtypes.float0))):
        np.testing.assert_array_equal(cotangent, jnp.zeros_like(cotangent))
