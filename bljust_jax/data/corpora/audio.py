"""Audio files as they come to the one form all corpora are kept in: int16 mono at 16 kHz."""

import io

import numpy as np
import soundfile
import soxr

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.errors import UserError


def duration(recording: bytes) -> float:
    """Seconds of sound in the bytes of an audio file, by decoding: the headers of MP3 overstate it."""
    audio, rate = _read(recording, 'int16')
    return len(audio) / rate


def decode(recording: bytes) -> np.ndarray:
    """Decodes the bytes of an audio file to int16 [samples] at 16 kHz; several channels are averaged."""
    audio, rate = _read(recording, 'float32')
    audio = soxr.resample(audio.mean(axis=1), rate, SAMPLE_RATE, quality='HQ')
    return np.clip(np.round(audio * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _read(recording: bytes, dtype: str) -> tuple[np.ndarray, int]:
    """Returns [samples, channels] and the rate; what libsndfile cannot read is a `UserError`."""
    try:
        return soundfile.read(io.BytesIO(recording), dtype=dtype, always_2d=True)
    except soundfile.LibsndfileError as error:
        version = soundfile.__libsndfile_version__
        raise UserError(f'A recording cannot be decoded by libsndfile {version}: {error} (MP3 needs 1.1.)') from error
