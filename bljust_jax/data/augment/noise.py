"""Additive noise at a ratio of speech to noise."""

import numpy as np


def add_noise(audio: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`audio` with `noise` so loud that the mean power of `audio` over that of the noise is `snr_db` decibels.

    Where either of them is silent there is no such ratio, and `audio` is returned as it is.

    Args:
      audio: floats `[samples]`.
      noise: floats `[samples]`, as many.
      snr_db: ratio of mean powers, in decibels.

    Raises:
      ValueError: the shapes differ.
    """
    if audio.shape != noise.shape:
        raise ValueError(f'noise must be as long as audio, but has shape {noise.shape}, and audio {audio.shape}')
    speech_energy, noise_energy = (float(np.vdot(x, x)) for x in (audio.astype(np.float64), noise.astype(np.float64)))
    if not (speech_energy and noise_energy):
        return audio
    scale = np.sqrt(speech_energy / noise_energy / 10 ** (snr_db / 10))
    return audio + np.float32(scale) * noise
