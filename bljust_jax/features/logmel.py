"""Log-mel filterbank features, and the one place that fixes the scale of audio.

Everywhere else audio is int16 PCM. Here a sample x becomes x / 32768, in [-1, 1), the scale of `librosa.load`.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np

from bljust_jax.config import SAMPLE_RATE, LogMelConfig
from bljust_jax.fourier import rfft
from bljust_jax.masking import frame_lengths, length_mask, zero_padding

# 24 dB above the mel energy of int16 rounding noise (about 4e-10). The empty upper half of telephone speech in a
# 16 kHz file thus reads as a constant, not as rounding noise that normalisation would blow up.
ENERGY_FLOOR = 1e-7
# Added to the variance for the same reason; speech has a variance of 2 to 10 in the log domain.
VARIANCE_FLOOR = 1e-2


def log_mel(
    audio: jax.Array, lengths: jax.Array, config: LogMelConfig, ends: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Log-mel energies of a batch, `log(mel + 1e-7)`.

    `mel` equals `librosa.feature.melspectrogram(y=audio / 32768, sr=16000, n_fft=512, win_length=400,
    hop_length=160, window='hann', center=False, power=2, htk=False, norm='slaney')` at the default config. A frame
    needs `fft_size` samples, so what follows an utterance in its row never reaches the valid frames.

    Args:
      audio: int16 PCM at 16 kHz `[batch, samples]`.
      lengths: valid samples of each row `[batch]`, int32.
      config: see `LogMelConfig`; with `normalize`, every mel of every utterance gets mean 0 and standard deviation 1
        over the valid frames (`VARIANCE_FLOOR` is added to the variance).
      ends: where each utterance of a packed row ends `[batch, utterances]`, in samples, 0 for none; by default a row is
        one utterance. A frame belongs to the utterance at its middle.

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
    sample_lengths, lengths = lengths, frame_lengths(lengths, config.fft_size, hop)
    real, imaginary = rfft(_windows(audio.astype(jnp.float32) / 32768, config), config.fft_size, axis=2)
    power = real**2 + imaginary**2
    mel = jnp.einsum('btf,mf->btm', power, _mel_filters(config), precision=jax.lax.Precision.HIGHEST)
    features = jnp.log(mel + ENERGY_FLOOR)
    if config.normalize:
        middles = jnp.arange(features.shape[1]) * hop + config.fft_size // 2
        utterances = _utterances(middles, sample_lengths[:, None] if ends is None else ends)
        features = _normalize(features, utterances & length_mask(lengths, features.shape[1])[:, :, None])
    return zero_padding(features, lengths), lengths


def utterances_of_frames(ends: jax.Array, frames: int, config: LogMelConfig, subsampling: int = 1) -> jax.Array:
    """Which utterance of its row each frame belongs to, that at the middle of the first of its feature frames.

    Args:
      ends: where each utterance of a row ends `[batch, utterances]`, in samples, 0 for none.
      frames: their number.
      config: of the features.
      subsampling: feature frames to a frame.

    Returns:
      int32 `[batch, frames]`, from 0; after the last utterance, the number of utterances.
    """
    hop = round(config.hop * SAMPLE_RATE)
    middles = subsampling * hop * jnp.arange(frames) + config.fft_size // 2
    ended = (ends > 0)[:, None, :] & (ends[:, None, :] <= middles[None, :, None])
    return ended.sum(axis=-1, dtype=jnp.int32)


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


def _utterances(positions: jax.Array, ends: jax.Array) -> jax.Array:
    """Which utterance of its row lies where: `positions [position]`, `ends [batch, utterances]`, both in samples.

    Returns:
      bool `[batch, position, utterances]`.
    """
    starts = jnp.pad(ends[:, :-1], ((0, 0), (1, 0)))
    position = positions[None, :, None]
    return (starts[:, None, :] <= position) & (position < ends[:, None, :])


def _normalize(features: jax.Array, utterances: jax.Array) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation, for each mel of each utterance.

    `utterances [batch, time, utterances]` says which frames are whose; those of none become 0.
    """
    member = utterances.astype(features.dtype)
    share = member / jnp.maximum(member.sum(axis=1, keepdims=True), 1)
    dot = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    mean = dot('btu,btm->bum', share, features)
    centred = features - dot('btu,bum->btm', member, mean)
    variance = dot('btu,btm->bum', share, centred**2)
    return centred * dot('btu,bum->btm', member, jax.lax.rsqrt(variance + VARIANCE_FLOOR))


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
