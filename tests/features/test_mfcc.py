"""Cepstra and slopes, against librosa."""

import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from bljust_jax.config import LogMelConfig
from bljust_jax.features import log_mel
from bljust_jax.features.mfcc import deltas, mfcc

LENGTHS = np.array([60, 25, 0])


def energies():
    return np.random.default_rng(0).normal(-5, 2, size=(3, 60, 20)).astype(np.float32)


def test_cepstra_and_slopes_are_those_of_librosa():
    features = energies()
    result = np.asarray(mfcc(features, LENGTHS))
    assert result.shape == (3, 60, 39)
    for row, length in enumerate(LENGTHS[:2]):
        cepstra = librosa.feature.mfcc(S=features[row, :length].T, n_mfcc=13, norm='ortho')
        slope = librosa.feature.delta(cepstra, width=9, mode='nearest')
        expected = np.concatenate([cepstra, slope, librosa.feature.delta(slope, width=9, mode='nearest')])
        np.testing.assert_allclose(result[row, :length], expected.T, rtol=1e-4, atol=2e-4)
    assert not result[1, 25:].any() and not result[2].any()


def test_from_audio_they_are_those_of_librosa_in_natural_logarithms():
    """librosa goes by decibels, and cuts off what is 80 below the loudest."""
    audio = np.random.default_rng(0).normal(scale=2000, size=8000).astype(np.int16)
    config = LogMelConfig(normalize=False)
    features, lengths = log_mel(audio[None], jnp.array([8000]), config)
    options = {'n_fft': 512, 'win_length': 400, 'hop_length': 160, 'center': False, 'n_mels': 80, 'fmin': 20}
    expected = librosa.feature.mfcc(y=audio / np.float32(32768), sr=16000, n_mfcc=13, fmax=8000, **options)
    result = np.asarray(mfcc(features, lengths))[0, :, :13]
    np.testing.assert_allclose(result, expected.T * np.log(10) / 10, rtol=1e-3, atol=1e-3)


def test_the_slope_of_a_line_is_its_slope():
    line = 0.5 * np.arange(20, dtype=np.float32)[None, :, None]
    slope = np.asarray(deltas(line, np.array([20])))[0, :, 0]
    np.testing.assert_allclose(slope[4:-4], 0.5, rtol=1e-5)
    assert (slope[:4] < 0.5).all() and (slope[-4:] < 0.5).all()


def test_padding_changes_nothing():
    features = energies()
    noise = np.where(np.arange(60)[None, :, None] < LENGTHS[:, None, None], features, 1e5).astype(np.float32)
    np.testing.assert_array_equal(mfcc(features, LENGTHS), mfcc(noise, LENGTHS))


def test_there_must_be_as_many_mels():
    with pytest.raises(ValueError, match='13 cepstra need as many mels, not 8'):
        mfcc(np.zeros((1, 5, 8), np.float32), np.array([5]))
