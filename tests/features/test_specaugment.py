import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.config import SpecAugmentConfig
from bljust_jax.features import spec_augment

BANDS = SpecAugmentConfig(frequency_masks=1, frequency_width=20, time_masks=0)
SPANS = SpecAugmentConfig(frequency_masks=0, time_masks=1, time_width=40, time_ratio=1.0)
BOTH = SpecAugmentConfig()
jitted = jax.jit(spec_augment, static_argnums=3)


def masked(lengths, config, seed=0, time=100, mels=80):
    """What is masked of features of ones, bool `[batch, time, mels]`."""
    features = jnp.ones((len(lengths), time, mels))
    return np.asarray(jitted(features, jnp.asarray(lengths), jax.random.key(seed), config)) == 0


def test_masked_is_zero_and_the_rest_untouched():
    features = jax.random.normal(jax.random.key(1), (8, 100, 80)) + 10
    result = jitted(features, jnp.full(8, 100), jax.random.key(0), BOTH)
    assert result.dtype == features.dtype
    assert ((result == 0) | (result == features)).all()
    assert 0.02 < (result == 0).mean() < 0.6


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_keeps_the_dtype(dtype):
    assert jitted(jnp.ones((2, 50, 80), dtype), jnp.array([50, 20]), jax.random.key(0), BOTH).dtype == dtype


def test_a_band_is_contiguous_and_spans_all_frames():
    mask = masked([100] * 500, BANDS)
    assert (mask == mask[:, :1]).all()
    edges = np.diff(np.pad(mask[:, 0].astype(int), ((0, 0), (1, 1))), axis=1)
    assert ((edges == 1).sum(axis=1) <= 1).all()


def test_a_span_is_contiguous_and_covers_all_mels():
    mask = masked([100] * 500, SPANS)
    assert (mask == mask[:, :, :1]).all()
    edges = np.diff(np.pad(mask[:, :, 0].astype(int), ((0, 0), (1, 1))), axis=1)
    assert ((edges == 1).sum(axis=1) <= 1).all()


def test_widths_are_uniform_up_to_the_largest():
    widths = masked([100] * 4200, BANDS)[:, 0].sum(axis=1)
    counts = np.bincount(widths, minlength=21)
    assert len(counts) == 21
    assert (np.abs(counts - 200) < 5 * np.sqrt(200)).all()


def test_every_mel_and_frame_can_be_masked():
    assert masked([100] * 2000, BANDS)[:, 0].any(axis=0).all()
    assert masked([100] * 2000, SPANS)[:, :, 0].any(axis=0).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 100), min_size=6, max_size=6), st.integers(0, 1000))
def test_time_masks_stay_within_the_utterance_and_its_ratio(lengths, seed):
    config = SpecAugmentConfig(frequency_masks=0, time_masks=3, time_width=8, time_ratio=0.1)
    frames = masked(lengths, config, seed)[:, :, 0]
    for row, length in zip(frames, lengths, strict=True):
        assert not row[length:].any()
        assert row.sum() <= 3 * min(8, length // 10)


def test_time_ratio_is_reached_exactly():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=1, time_width=40, time_ratio=0.1)
    for length in (10, 30, 70, 90):
        assert masked([length] * 300, config)[:, :, 0].sum(axis=1).max() == length // 10


def test_a_band_wider_than_the_mels():
    config = SpecAugmentConfig(frequency_masks=1, frequency_width=20, time_masks=0)
    assert masked([100] * 200, config, mels=8)[:, 0].sum(axis=1).max() == 8


def test_no_masks():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=0)
    assert not masked([100] * 3, config).any()


def test_rows_and_keys_differ_and_equal_keys_agree():
    first = masked([100] * 20, BOTH)
    assert len({row.tobytes() for row in first}) > 15
    np.testing.assert_array_equal(first, masked([100] * 20, BOTH))
    assert (first != masked([100] * 20, BOTH, seed=1)).any()


def test_empty_rows_and_no_frames():
    assert not masked([0, 0], SPANS).any()
    assert jitted(jnp.ones((2, 0, 80)), jnp.array([0, 0]), jax.random.key(0), BOTH).shape == (2, 0, 80)


def test_time_masks_adapt_in_number():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=4, time_width=6, time_ratio=1.0, time_masks_ratio=0.02)
    lengths = [0, 49, 50, 120, 200, 1000]
    most = np.zeros(len(lengths), int)
    for seed in range(200):
        frames = masked(lengths, config, seed, time=1000, mels=1)[:, :, 0]
        edges = np.diff(np.pad(frames.astype(int), ((0, 0), (1, 1))), axis=1)
        most = np.maximum(most, (edges == 1).sum(axis=1))
        assert (frames.sum(axis=1) <= [0, 0, 6, 12, 24, 24]).all()
    assert most.tolist() == [0, 0, 1, 2, 4, 4]


def test_masks_that_adapt_are_the_first_of_those_that_do_not():
    fixed = SpecAugmentConfig(frequency_masks=1, time_masks=2, time_width=30, time_ratio=0.5)
    adaptive = dataclasses.replace(fixed, time_masks_ratio=0.02)
    np.testing.assert_array_equal(masked([100] * 9, adaptive), masked([100] * 9, fixed))
    assert (masked([99] * 9, adaptive) <= masked([99] * 9, fixed)).all()


def test_the_default_draws_what_it_always_drew():
    counts = masked([100, 70, 30], SpecAugmentConfig(), seed=5).sum(axis=(1, 2))
    assert counts.tolist() == [3476, 2078, 1088]
