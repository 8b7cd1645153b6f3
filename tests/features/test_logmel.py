import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.config import LogMelConfig
from bljust_jax.features import log_mel, utterances_of_frames
from bljust_jax.features.logmel import ENERGY_FLOOR, VARIANCE_FLOOR

NORMALISED = LogMelConfig()
PLAIN = dataclasses.replace(NORMALISED, normalize=False)
SECOND = np.arange(16000) / 16000
jitted = jax.jit(log_mel, static_argnums=2)


def signals(samples=16000):
    random = np.random.default_rng(0)
    time = np.arange(samples) / 16000
    audio = {
        'loud noise': random.integers(-32768, 32768, samples),
        'rounding noise': random.integers(-1, 2, samples),
        'low tone': 32000 * np.sin(2 * np.pi * 440 * time),
        'high tone': 20000 * np.sin(2 * np.pi * 7900 * time),
        'tone in quiet': 16000 * np.sin(2 * np.pi * 1000 * time) + 2 * random.normal(size=samples),
        'bursts': np.exp(4 * np.sin(7 * time)) * 100 * random.normal(size=samples),
        'click': 32767 * (np.arange(samples) == samples // 2),
        'silence': np.zeros(samples),
    }
    return {name: np.clip(values, -32768, 32767).astype(np.int16) for name, values in audio.items()}


def reference(audio, config=PLAIN):
    """librosa's energies in float64 and their logarithm `[time, mels]`."""
    energies = librosa.feature.melspectrogram(
        y=audio / 32768,
        sr=16000,
        n_fft=config.fft_size,
        win_length=round(16000 * config.window),
        hop_length=round(16000 * config.hop),
        n_mels=config.mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
        window='hann',
        center=False,
        power=2,
        htk=False,
        norm='slaney',
    )
    return np.log(energies.T + ENERGY_FLOOR)


def features_of(audio, config=PLAIN, padding=0):
    row = jnp.asarray(np.pad(audio, (0, padding)))[None]
    features, lengths = jitted(row, jnp.array([len(audio)]), config)
    return np.asarray(features[0]), int(lengths[0])


@pytest.mark.parametrize('name', signals())
def test_equals_librosa(name):
    audio = signals()[name]
    features, frames = features_of(audio)
    assert features.dtype == np.float32
    assert features.shape == (frames, 80)
    np.testing.assert_allclose(features, reference(audio), rtol=0, atol=1e-3)


@pytest.mark.parametrize('samples', [512, 513, 671, 672, 673, 1000, 1151, 1152, 4001])
def test_equals_librosa_at_any_length(samples):
    audio = signals(samples)['bursts']
    features, frames = features_of(audio)
    assert frames == len(features)
    np.testing.assert_allclose(features, reference(audio), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    'config',
    [
        LogMelConfig(mels=40, window=0.032, normalize=False),
        LogMelConfig(mels=64, window=0.02, hop=0.0125, fft_size=400, low_hz=0.0, high_hz=4000.0, normalize=False),
        LogMelConfig(mels=23, window=0.01, hop=0.02, low_hz=100.0, normalize=False),
    ],
)
def test_equals_librosa_in_other_configs(config):
    audio = signals()['loud noise']
    np.testing.assert_allclose(features_of(audio, config)[0], reference(audio, config), rtol=0, atol=1e-3)


def test_normalisation_equals_numpy():
    audio = signals()['bursts']
    plain = reference(audio)
    expected = (plain - plain.mean(axis=0)) / np.sqrt(plain.var(axis=0) + VARIANCE_FLOOR)
    np.testing.assert_allclose(features_of(audio, NORMALISED)[0], expected, rtol=0, atol=1e-3)


def test_normalisation_is_that_of_each_row_and_ignores_padding():
    rows = [signals()['bursts'], signals()['loud noise'][:7000]]
    batch = np.stack([np.pad(row, (0, 20000 - len(row)), constant_values=999) for row in rows])
    features, lengths = jitted(jnp.asarray(batch), jnp.array([16000, 7000]), NORMALISED)
    for row, length, audio in zip(features, lengths, rows, strict=True):
        np.testing.assert_allclose(row[:length], features_of(audio, NORMALISED)[0], rtol=0, atol=1e-4)
        assert not row[length:].any()
        np.testing.assert_allclose(np.asarray(row[:length]).mean(axis=0), 0, atol=1e-4)


def test_each_utterance_of_a_packed_row_is_normalised_by_itself():
    """By mean and deviation of the frames whose middle lies in it."""
    pieces = [signals()['bursts'], signals(9600)['loud noise'], signals(12800)['tone in quiet']]
    row = jnp.asarray(np.concatenate(pieces))[None]
    ends = np.cumsum([len(piece) for piece in pieces])
    features, _ = jitted(row, jnp.array([len(row[0])]), NORMALISED, jnp.asarray([[*ends, 0, 0]]))
    plain = reference(np.asarray(row[0]))
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        frames = [t for t in range(len(plain)) if start <= 160 * t + 256 < end]
        expected = plain[frames] - plain[frames].mean(axis=0)
        expected /= np.sqrt(plain[frames].var(axis=0) + VARIANCE_FLOOR)
        np.testing.assert_allclose(features[0, frames], expected, rtol=0, atol=1e-3)
    whole, _ = jitted(row, jnp.array([len(row[0])]), NORMALISED)
    assert np.abs(np.asarray(whole - features)).max() > 0.5


@pytest.mark.parametrize('subsampling', [1, 4])
def test_each_frame_belongs_to_the_utterance_at_its_middle(subsampling):
    ends = np.array([[3000, 3200, 9000], [5000, 0, 0]], np.int32)
    owners = np.asarray(utterances_of_frames(jnp.asarray(ends), 60 // subsampling, PLAIN, subsampling))
    for row, found in zip(ends, owners, strict=True):
        middles = 256 + 160 * subsampling * np.arange(60 // subsampling)
        np.testing.assert_array_equal(found, np.searchsorted(row[row > 0], middles, side='right'))
    assert set(owners[0]) == ({0, 1, 2, 3} if subsampling == 1 else {0, 2, 3})


def test_normalisation_does_not_blow_up_an_empty_band():
    """Telephone speech in a 16 kHz file: nothing but rounding noise above 4 kHz."""
    narrow = librosa.resample(signals()['loud noise'] / 4.0, orig_sr=16000, target_sr=8000)
    wide = librosa.resample(narrow, orig_sr=8000, target_sr=16000).astype(np.int16)
    features, _ = features_of(wide, NORMALISED)
    assert np.abs(features[:, 70:]).max() < 0.5
    assert features[:, :40].std() > 0.9


@settings(max_examples=25)
@given(st.integers(0, 3000), st.sampled_from([1, 160, 2000]), st.booleans())
def test_padding_changes_nothing(samples, padding, normalize):
    config = NORMALISED if normalize else PLAIN
    audio = np.random.default_rng(samples).integers(-3000, 3000, 3000, dtype=np.int16)
    audio = jnp.asarray(audio[None])
    loud = jnp.full((1, padding), 32767, jnp.int16)
    lengths = jnp.array([samples])
    features, frames = jitted(audio, lengths, config)
    padded, padded_frames = jitted(jnp.concatenate([audio, loud], axis=1), lengths, config)
    assert frames == padded_frames == max((samples - 512) // 160 + 1, 0)
    np.testing.assert_allclose(padded[:, : features.shape[1]], features, rtol=0, atol=2e-5)
    assert not padded[:, int(frames[0]) :].any()


@pytest.mark.parametrize('config', [PLAIN, NORMALISED])
def test_empty_and_short_rows_have_no_frames(config):
    features, lengths = jitted(jnp.ones((4, 2000), jnp.int16), jnp.array([0, 1, 511, 512]), config)
    assert lengths.tolist() == [0, 0, 0, 1]
    assert np.isfinite(features).all()
    assert not features[:3].any()


@pytest.mark.parametrize('samples', [0, 1, 400, 511])
def test_batch_shorter_than_a_window(samples):
    features, lengths = jitted(jnp.zeros((2, samples), jnp.int16), jnp.array([0, samples]), NORMALISED)
    assert features.shape == (2, 0, 80)
    assert lengths.tolist() == [0, 0]


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.int32])
def test_other_dtypes_are_refused_with_a_hint(dtype):
    with pytest.raises(ValueError, match=r'int16 PCM, not \w+32.*librosa.load'):
        log_mel(jnp.zeros((1, 600), dtype), jnp.array([600]), NORMALISED)
