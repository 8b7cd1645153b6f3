"""Reverberation by the impulse response of a room."""

import numpy as np
from scipy.signal import fftconvolve


def reverberate(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """`audio` as it sounds in the room of `response`: in its place, as long and as loud as it was.

    The strongest sample of the response counts as the way straight from the speaker, and what comes before it as early;
    so speech stays where it is. The tail after the end is cut off.

    Args:
      audio: floats `[samples]`.
      response: impulse response at the same rate, floats `[taps]`.

    Raises:
      ValueError: the response is silent or empty.
    """
    if not np.any(response):
        raise ValueError(f'an impulse response of shape {response.shape} must not be silent')
    if not np.any(audio):
        return audio
    direct = int(np.abs(response).argmax())
    wet = fftconvolve(audio, response)[direct : direct + len(audio)]
    level, wet_level = (np.sqrt(np.mean(np.square(x, dtype=np.float64))) for x in (audio, wet))
    return wet * np.float32(level / wet_level) if wet_level else audio
