"""Audio files as they come to the one form all corpora are kept in: int16 mono at 16 kHz."""

import io

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000


def duration(recording: bytes) -> float:
    """Seconds of sound in the bytes of an audio file, by decoding: the headers of MP3 overstate it."""
    audio, rate = soundfile.read(io.BytesIO(recording), dtype='int16', always_2d=True)
    return len(audio) / rate


def decode(recording: bytes) -> np.ndarray:
    """Decodes the bytes of an audio file to int16 [samples] at 16 kHz; several channels are averaged."""
    audio, rate = soundfile.read(io.BytesIO(recording), dtype='float32', always_2d=True)
    audio = soxr.resample(audio.mean(axis=1), rate, SAMPLE_RATE, quality='HQ')
    return np.clip(np.round(audio * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
