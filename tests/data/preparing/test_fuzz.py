"""Mutated recordings of many formats: each is an example or rejected with a reason, whatever its bytes are."""

import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.examples import Example, examples
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.preparing.rules import Rules

FORMATS = {
    'wav': ('WAV', 'PCM_16', 16000, 1),
    'wav24': ('WAV', 'PCM_24', 44100, 2),
    'float': ('WAV', 'FLOAT', 8000, 1),
    'mulaw': ('WAV', 'ULAW', 8000, 2),
    'flac': ('FLAC', 'PCM_16', 16000, 1),
    'ogg': ('OGG', 'VORBIS', 22050, 1),
    'opus': ('OGG', 'OPUS', 48000, 1),
    'mp3': ('MP3', 'MPEG_LAYER_III', 16000, 1),
    'sphere': ('NIST', 'PCM_16', 8000, 2),
    'aiff': ('AIFF', 'PCM_16', 16000, 1),
}
RULES = Rules(cut_seconds=60.0)
HEADER_BYTES = 100


def recording(kind: str) -> bytes:
    """A tone in noise, 0.4 s."""
    format, subtype, rate, channels = FORMATS[kind]
    rng = np.random.default_rng(0)
    times = np.arange(round(0.4 * rate))[:, None] / rate
    audio = 0.3 * np.sin(2 * np.pi * 300 * times) + 0.03 * rng.standard_normal((len(times), channels))
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=format, subtype=subtype)
    return file.getvalue()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed (half of the time in the header), cut out, cut off, inserted or put twice."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 2, 5))):
        end = HEADER_BYTES if rng.random() < 0.5 else len(found)
        place = rng.randrange(min(end, len(found)) or 1)
        match rng.randrange(5):
            case 0:
                found[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del found[place : place + rng.choice((1, 4, 100, 10_000))]
            case 2:
                found[place:place] = rng.randbytes(rng.choice((1, 4, 100)))
            case 3:
                found[place : place + 4] = rng.choice((b'\xff' * 4, b'\0' * 4, b'\xff\xff\xff\x7f', b'\0\0\xc0\x7f'))
            case 4:
                found += found[place:]
    return bytes(found[: rng.randrange(len(found) + 1)] if rng.random() < 0.2 else found)


def outcomes(path: Path, kind: str, cases: int, seed: int) -> Counter[str]:
    rng = random.Random(f'{kind} {seed}')
    original = recording(kind)
    found: Counter[str] = Counter()
    for _ in range(cases):
        path.write_bytes(mutated(original, rng))
        part = rng.choice([(), (), (0.1, 0.2), (0.3, 5.0), (1e6, 1.0), (0.0, None, 1), (0.0, None, 9)])
        made = list(examples(Utterance('u', AudioFile(path, *part), None, 'ann', 'train_unlabelled'), RULES))
        assert made
        found.update(check(row) for row in made)
    return found


def check(row: Example | Rejection) -> str:
    """What a row is, once it is seen to be sound."""
    if isinstance(row, Rejection):
        assert row.reason in Reason and row.detail and row.id == 'u'
        assert '\n' not in row.detail and len(row.detail) < 1000
        return row.reason
    assert row.audio.dtype == np.int16 and row.audio.ndim == 1 and row.text == ''
    assert RULES.min_seconds <= len(row.audio) / SAMPLE_RATE <= RULES.cut_seconds
    assert np.ptp(row.audio.astype(np.int32)) >= RULES.silent_peak
    return 'example'


@pytest.mark.parametrize('kind', FORMATS)
def test_mutated_recordings(tmp_path, kind):
    """100 cases a format, 1,000 in all."""
    found = outcomes(tmp_path / f'a.{kind}', kind, cases=100, seed=0)
    assert found['example'] > 0 and found.keys() & {Reason.NOT_AUDIO, Reason.TRUNCATED}, found


@pytest.mark.slow
@pytest.mark.parametrize('kind', FORMATS)
def test_many_mutated_recordings(tmp_path, kind):
    assert outcomes(tmp_path / f'a.{kind}', kind, cases=2000, seed=1).total() >= 2000
