import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from bljust_jax.data.preparing.audio import blocks, decode, duration
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.utterance import AudioFile

RATE = 16000
LOSSLESS = [
    ('WAV', 'PCM_16'),
    ('WAV', 'PCM_24'),
    ('WAV', 'PCM_32'),
    ('WAV', 'FLOAT'),
    ('WAV', 'DOUBLE'),
    ('AIFF', 'PCM_16'),
    ('AU', 'PCM_16'),
    ('NIST', 'PCM_16'),
    ('W64', 'PCM_16'),
    ('RF64', 'PCM_16'),
    ('FLAC', 'PCM_16'),
    ('FLAC', 'PCM_24'),
]
# Format, subtype and the largest error, as a part of full scale.
LOSSY = [
    ('WAV', 'PCM_U8', 0.01),
    ('WAV', 'ULAW', 0.02),
    ('WAV', 'ALAW', 0.02),
    ('NIST', 'ULAW', 0.02),
    ('WAV', 'IMA_ADPCM', 0.05),
    ('OGG', 'VORBIS', 0.05),
    ('OGG', 'OPUS', 0.05),
    ('MP3', None, 0.05),
]


def tones(seconds: float = 3.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """A voice-like sum of tones below 3 kHz: float64 [samples, channels], another pitch in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.2 * np.sin(2 * np.pi * f * time) * np.sin(7 * time) for f in 440 + 300 * np.arange(channels)], 1)


def written(path: Path, audio: np.ndarray, rate: int = RATE, kind: str = 'WAV', subtype: str | None = 'PCM_16') -> Path:
    soundfile.write(path, audio, rate, format=kind, subtype=subtype)
    return path


def reason_of(recording: AudioFile | bytes) -> Reason:
    with pytest.raises(Unusable) as caught:
        decode(recording)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(('kind', 'subtype'), LOSSLESS)
def test_lossless_formats(tmp_path, kind, subtype):
    audio = tones()[:, 0]
    path = written(tmp_path / 'a', audio, kind=kind, subtype=subtype)
    found = decode(AudioFile(path))
    assert found.dtype == np.int16 and np.abs(found - audio * 2**15).max() <= 1
    np.testing.assert_array_equal(decode(path.read_bytes()), found)
    assert duration(path.read_bytes()) == 3.0


@pytest.mark.parametrize(('kind', 'subtype', 'error'), LOSSY)
def test_lossy_formats(tmp_path, kind, subtype, error):
    audio = tones()[:, 0]
    found = decode(AudioFile(written(tmp_path / 'a', audio, kind=kind, subtype=subtype)))
    assert abs(len(found) - len(audio)) <= 1024
    size = min(len(found), len(audio))
    assert np.abs(found[:size] / 2**15 - audio[:size])[800:-800].max() < error


@pytest.mark.parametrize('rate', [8000, 11025, 22050, 44100, 48000, 96000])
def test_rates_against_scipy(tmp_path, rate):
    audio = tones(rate=rate)[:, 0]
    found = decode(AudioFile(written(tmp_path / 'a', audio, rate)))
    expected = scipy.signal.resample_poly(audio, RATE, rate)
    assert abs(len(found) - len(expected)) <= 1
    size = min(len(found), len(expected))
    assert np.abs(found[:size] / 2**15 - expected[:size])[500:-500].max() < 2e-3


@pytest.mark.parametrize(('kind', 'subtype'), [*LOSSLESS[::3], ('NIST', 'ULAW'), ('OGG', 'VORBIS'), ('MP3', None)])
@pytest.mark.parametrize('rate', [8000, 16000, 44100])
def test_parts(tmp_path, kind, subtype, rate):
    path = written(tmp_path / 'a', tones(4.0, rate), rate, kind, subtype)
    whole = decode(AudioFile(path)).astype(int)
    part = decode(AudioFile(path, 1.5, 2.0))
    assert abs(len(part) - 32000) <= 1
    assert np.abs(part[:31999] - whole[24000:55999])[500:-500].max() <= 2
    assert abs(len(decode(AudioFile(path, 3.0))) - 16000) <= 1


def test_channels(tmp_path):
    audio = tones(channels=3)
    path = written(tmp_path / 'a', audio)
    for channel in range(3):
        assert np.abs(decode(AudioFile(path, channel=channel)) - audio[:, channel] * 2**15).max() <= 1
    assert np.abs(decode(AudioFile(path)) - audio.mean(axis=1) * 2**15).max() <= 1.5  # each is rounded
    assert reason_of(AudioFile(path, channel=3)) == reason_of(AudioFile(path, channel=-1)) == Reason.NO_SUCH_PART


@pytest.mark.parametrize(('kind', 'subtype'), [('WAV', 'PCM_16'), ('FLAC', 'PCM_16'), ('OGG', 'VORBIS'), ('MP3', None)])
def test_blocks_of_any_size_come_to_the_same(tmp_path, monkeypatch, kind, subtype):
    path = written(tmp_path / 'a', tones(2.0, 22050, 2), 22050, kind, subtype)
    expected = decode(AudioFile(path))
    for size in (1000, 2**15):
        monkeypatch.setattr('bljust_jax.data.preparing.audio._BLOCK_VALUES', size)
        assert np.abs(decode(AudioFile(path)).astype(int) - expected).max() <= 1  # of MP3, by rounding


@pytest.mark.parametrize(
    ('start', 'seconds'),
    [(-1.0, None), (3.0, None), (9.0, 1.0), (1.0, 9.0), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.nan)],
)
def test_parts_that_are_not_there(tmp_path, start, seconds):
    path = written(tmp_path / 'a', tones())
    assert reason_of(AudioFile(path, start, seconds)) == Reason.NO_SUCH_PART


def test_end_may_be_rounded_up(tmp_path):
    path = written(tmp_path / 'a', tones())
    assert len(decode(AudioFile(path, 2.0, 1.4))) == 16000


@pytest.mark.parametrize(
    ('kind', 'subtype'), [*LOSSLESS, ('NIST', 'ULAW'), ('OGG', 'VORBIS'), ('OGG', 'OPUS'), ('MP3', None)]
)
@pytest.mark.parametrize('share', [0.4, 0.95])
def test_truncated(tmp_path, kind, subtype, share):
    path = written(
        tmp_path / 'a', tones() + 0.01 * np.random.default_rng(0).normal(size=(48000, 1)), kind=kind, subtype=subtype
    )
    os.truncate(path, int(path.stat().st_size * share))
    assert reason_of(AudioFile(path)) == Reason.TRUNCATED
    assert reason_of(AudioFile(path, 2.0, 1.0)) == Reason.TRUNCATED


@pytest.mark.parametrize('subtype', ['VORBIS', 'OPUS'])
def test_ogg_cut_between_two_pages(tmp_path, subtype):
    path = written(tmp_path / 'a', tones(20.0), kind='OGG', subtype=subtype)
    whole = path.read_bytes()
    cut = whole[: whole.rindex(b'OggS')]
    assert len(cut) > len(whole) / 2 and len(decode(whole)) >= 20 * RATE - 1024
    assert reason_of(cut) == Reason.TRUNCATED


@pytest.mark.parametrize('promised', [2**31 - 2**12, 2**31 - 1, 2**32 - 1, 3 * 2**30])
def test_wav_that_promises_gigabytes(promised):
    stream = io.BytesIO()
    soundfile.write(stream, tones(), RATE, format='WAV', subtype='PCM_16')
    content = bytearray(stream.getvalue())
    place = content.index(b'data')
    content[place + 4 : place + 8] = promised.to_bytes(4, 'little')
    if promised == 3 * 2**30:  # three GiB may well have been recorded; the others are what is written to a pipe
        assert reason_of(bytes(content)) == Reason.TRUNCATED
    else:
        assert len(decode(bytes(content))) == 3 * RATE


@pytest.mark.parametrize('kind', ['WAV', 'NIST', 'AU'])
def test_part_of_a_truncated_file_that_is_there(tmp_path, kind):
    path = written(tmp_path / 'a', tones(), kind=kind)
    os.truncate(path, int(path.stat().st_size * 0.8))
    assert len(decode(AudioFile(path, 0.5, 1.0))) == 16000


def test_length_that_was_not_known_when_the_header_was_written(tmp_path):
    content = bytearray(written(tmp_path / 'a', tones()).read_bytes())
    content[40:44] = content[4:8] = b'\xff\xff\xff\xff'
    assert len(decode(bytes(content))) == 48000


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('place', [0, 47999])
def test_not_finite(tmp_path, value, place):
    audio = tones()
    audio[place] = value
    assert reason_of(AudioFile(written(tmp_path / 'a', audio, subtype='FLOAT'))) == Reason.NOT_FINITE


@pytest.mark.parametrize(
    'content',
    [b'', b'RIFF', b'RIFF\0\0\0\0WAVE', b'<html></html>', bytes(5000), b'ID3' + b'\x7f' * 50, b'NIST_1A\n   1024\n'],
)
def test_not_audio(tmp_path, content):
    path = tmp_path / 'a.wav'
    path.write_bytes(content)
    assert reason_of(AudioFile(path)) == reason_of(content) == Reason.NOT_AUDIO


def test_sphere_in_shorten_says_what_to_do(tmp_path):
    header = b'NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n'
    with pytest.raises(Unusable, match='sph2pipe'):
        decode(header.ljust(1024) + bytes(1000))


def test_rates_that_nobody_speaks_at(tmp_path):
    content = bytearray(written(tmp_path / 'a', tones(0.1)).read_bytes())
    content[24:28] = (3).to_bytes(4, 'little')
    assert reason_of(bytes(content)) == Reason.NOT_AUDIO


def test_files_that_cannot_be_opened(tmp_path):
    assert reason_of(AudioFile(tmp_path / 'none.wav')) == Reason.MISSING
    assert reason_of(AudioFile(written(tmp_path / 'a', tones()) / 'b')) == Reason.MISSING
    assert reason_of(AudioFile(Path('a\0b'))) == Reason.UNREADABLE
    assert reason_of(AudioFile(tmp_path)) == Reason.UNREADABLE
    os.mkfifo(tmp_path / 'pipe')
    assert reason_of(AudioFile(tmp_path / 'pipe')) == Reason.UNREADABLE
    assert reason_of(AudioFile(Path('/dev/zero'))) == Reason.UNREADABLE


def test_no_permission(tmp_path, monkeypatch):
    path = written(tmp_path / 'a', tones())

    def forbidden(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(os, 'open', forbidden)  # root may read anything
    with pytest.raises(Unusable, match='unreadable file: Permission denied'):
        decode(AudioFile(path))


def test_wrong_extension(tmp_path):
    assert len(decode(AudioFile(written(tmp_path / 'a.mp3', tones(), kind='FLAC')))) == 48000


def test_zero_and_one_sample(tmp_path):
    assert len(decode(AudioFile(written(tmp_path / 'a', np.zeros(0))))) == 0
    assert len(decode(AudioFile(written(tmp_path / 'b', np.zeros(1))))) == 1


def test_memory_of_an_hour(tmp_path):
    path = tmp_path / 'hour.flac'
    minute = (tones(60.0, 44100, 2) * 2**15).astype(np.int16)
    with soundfile.SoundFile(path, 'w', 44100, 2, format='FLAC') as file:
        for _ in range(60):
            file.write(minute)
    tracemalloc.start()
    try:
        samples = sum(len(block) for block in blocks(AudioFile(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert samples == 3600 * RATE
    assert peak < 30e6  # an hour is 115 MB


def test_errors_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(Unusable(Reason.SILENT, 'why')))
    assert (error.reason, error.detail, str(error)) == (Reason.SILENT, 'why', 'silent: why')


def test_bytes_are_read_like_files():
    file = io.BytesIO()
    soundfile.write(file, tones(1.0), RATE, format='FLAC')
    assert len(np.concatenate(list(blocks(file.getvalue())))) == RATE
