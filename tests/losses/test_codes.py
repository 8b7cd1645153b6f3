"""How often codes occur and how many of them, against NumPy and closed forms."""

import jax
import numpy as np
import pytest

from bljust_jax.losses.unsupervised.codes import code_metrics, count_codes

CODES = np.random.default_rng(0).integers(0, 5, (3, 7, 2)).astype(np.int32)
MASK = np.random.default_rng(1).random((3, 7)) < 0.5


def metrics_of(codes, mask, size):
    return jax.tree.map(float, code_metrics(count_codes(np.asarray(codes, np.int32), np.asarray(mask), size)))


def test_only_the_codes_of_the_mask_are_counted():
    expected = [np.bincount(CODES[MASK][:, book], minlength=6) for book in range(2)]
    np.testing.assert_array_equal(count_codes(CODES, MASK, 6), expected)


def test_metrics_of_two_codebooks():
    metrics = metrics_of([[[0, 3], [0, 2], [0, 3], [1, 1]]], [[True, True, True, False]], 4)
    thirds = np.exp(-(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3))
    assert metrics['perplexity'] == (pytest.approx((1 + thirds) / 2, rel=1e-5), 1)
    assert metrics['code_usage'] == (pytest.approx((1 / 3 + 2 / 3) / 2), 1), 'three frames can have three codes'


@pytest.mark.parametrize(('frames', 'size'), [(3, 8), (8, 8), (30, 5)])
def test_usage_of_all_codes_that_could_be_is_1(frames, size):
    codes = (np.arange(frames) % size)[None, :, None]
    metrics = metrics_of(codes, np.ones((1, frames)) > 0, size)
    assert metrics['code_usage'] == (pytest.approx(1), 1)
    assert metrics['perplexity'].sum == pytest.approx(min(frames, size), rel=1e-5)


def test_without_frames_nothing_is_known():
    metrics = metrics_of(CODES, np.zeros_like(MASK), 5)
    assert all(ratio.weight == 0 and np.isfinite(ratio.sum) for ratio in metrics.values())
