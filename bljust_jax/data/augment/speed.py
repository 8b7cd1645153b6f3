"""Speed perturbation."""

import numpy as np
import soxr


def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Plays `audio` at `factor` times its speed; tempo and pitch change together (Ko et al., Interspeech 2015).

    Args:
      audio: int16 PCM `[samples]`.
      factor: above 1 is faster and shorter; exactly 1 returns `audio` itself.

    Returns:
      int16 PCM `[round(samples / factor)]`.

    Raises:
      ValueError: `audio` is not int16 of one dimension, or `factor` is not positive.
    """
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise ValueError(f'audio must be int16 of shape [samples], not {audio.dtype} of shape {audio.shape}')
    if not factor > 0:
        raise ValueError(f'factor must be positive, not {factor}')
    if factor == 1:
        return audio
    # soxr only looks at the ratio of the two rates. LQ has 16-bit precision; QQ aliases.
    changed = soxr.resample(audio, factor, 1.0, quality='LQ')[: round(len(audio) / factor)]
    return np.pad(changed, (0, round(len(audio) / factor) - len(changed)))
