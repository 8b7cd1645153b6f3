"""Log-mel filterbank features, and the one place that fixes the scale of audio.

Everywhere else audio is int16 PCM. Here a sample x becomes x / 32768, in [-1, 1), the scale of `librosa.load`.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np

from bljust_jax.config import SAMPLE_RATE, LogMelConfig
from bljust_jax.masking import frame_lengths, length_mask, zero_padding

# 24 dB above the mel energy of int16 rounding noise (about 4e-10). The empty upper half of telephone speech in a
# 16 kHz file thus reads as a constant, not as rounding noise that normalisation would blow up.
ENERGY_FLOOR = 1e-7
# Added to the variance for the same reason; speech has a variance of 2 to 10 in the log domain.
VARIANCE_FLOOR = 1e-2


def log_mel(audio: jax.Array, lengths: jax.Array, config: LogMelConfig) -> tuple[jax.Array, jax.Array]:
    """Log-mel energies of a batch, `log(mel + 1e-7)`.

    `mel` equals `librosa.feature.melspectrogram(y=audio / 32768, sr=16000, n_fft=512, win_length=400,
    hop_length=160, window='hann', center=False, power=2, htk=False, norm='slaney')` at the default config. A frame
    needs `fft_size` samples, so what follows an utterance in its row never reaches the valid frames.

    Args:
      audio: int16 PCM at 16 kHz `[batch, samples]`.
      lengths: valid samples of each row `[batch]`, int32.
      config: see `LogMelConfig`; with `normalize`, every mel of every utterance gets mean 0 and standard deviation 1
        over the valid frames (`VARIANCE_FLOOR` is added to the variance).

    Returns:
      Features `[batch, time, mels]`, float32 and 0 beyond the valid frames, and the number of those `[batch]`.

    Raises:
      ValueError: `audio` is not int16.
    """
    if audio.dtype != jnp.int16:
        raise ValueError(
            f'audio must be int16 PCM, not {audio.dtype}. librosa.load returns floats in [-1, 1]: '
            'multiply by 32768, clip and round them first, or the features come out on another scale.'
        )
    hop = round(config.hop * SAMPLE_RATE)
    lengths = frame_lengths(lengths, config.fft_size, hop)
    spectrum = jnp.fft.rfft(_windows(audio.astype(jnp.float32) / 32768, config), n=config.fft_size)
    power = spectrum.real**2 + spectrum.imag**2
    mel = jnp.einsum('btf,mf->btm', power, _mel_filters(config), precision=jax.lax.Precision.HIGHEST)
    features = jnp.log(mel + ENERGY_FLOOR)
    if config.normalize:
        features = _normalize(features, lengths)
    return zero_padding(features, lengths), lengths


def _windows(audio: jax.Array, config: LogMelConfig) -> jax.Array:
    """Hann windows `[batch, time, window]` of audio `[batch, samples]`, hop by hop.

    librosa centres the window within `fft_size` samples. The zeros around it only turn phases, so they are left out.
    """
    window, hop = round(config.window * SAMPLE_RATE), round(config.hop * SAMPLE_RATE)
    frames = max((audio.shape[1] - config.fft_size) // hop + 1, 0)
    blocks = -(-window // hop)
    audio = audio[:, (config.fft_size - window) // 2 :]
    missing = max((frames + blocks) * hop - audio.shape[1], 0)
    audio = jnp.pad(audio, ((0, 0), (0, missing)))[:, : (frames + blocks) * hop]
    hops = audio.reshape(audio.shape[0], frames + blocks, hop)
    overlapping = jnp.concatenate([hops[:, i : i + frames] for i in range(blocks)], axis=2)
    return overlapping[:, :, :window] * _hann(window)


def _normalize(features: jax.Array, lengths: jax.Array) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation of the valid frames, for each row and mel."""
    valid = length_mask(lengths, features.shape[1])[:, :, None]
    count = jnp.maximum(lengths, 1).astype(jnp.float32)[:, None, None]
    mean = jnp.sum(features, axis=1, keepdims=True, where=valid) / count
    centred = features - mean
    variance = jnp.sum(centred**2, axis=1, keepdims=True, where=valid) / count
    return centred / jnp.sqrt(variance + VARIANCE_FLOOR)


@functools.lru_cache
def _hann(window: int) -> np.ndarray:
    """The periodic Hann window `[1, 1, window]`."""
    return librosa.filters.get_window('hann', window).astype(np.float32)[None, None]


@functools.lru_cache
def _mel_filters(config: LogMelConfig) -> np.ndarray:
    """Slaney's triangular filters of unit area `[mels, fft_size / 2 + 1]`, float32."""
    return librosa.filters.mel(
        sr=SAMPLE_RATE,
        n_fft=config.fft_size,
        n_mels=config.mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
        htk=False,
        norm='slaney',
    )
