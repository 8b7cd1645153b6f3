import gzip

import numpy as np
import pytest

from bljust_jax.data.corpora import phone_prompts
from bljust_jax.data.corpora.splits import hash_fraction, is_usable
from bljust_jax.data.preparing.audio import decode, duration
from bljust_jax.errors import UserError
from tests.data import fakes

TEXT = b'; a comment\n\nhello: Hello.\ndigits/1: one\nbeep: [a beep]\nkey: press #\nlong: x\nspy: IAX (no "2")\n'
FOLDERS = {
    'en': 'en_US_f_Allison',
    'es': 'es_MX_f_Allison',
    'fr': 'fr_CA_f_June',
    'it': 'it_IT_m_Carlo',
    'ru': 'ru_RU_f_I',
}


@pytest.fixture
def packages(tmp_path):
    """The six packages with a few prompts each."""
    contents = {phone_prompts._TEXT_PACKAGE: {phone_prompts._TEXT_FILE: gzip.compress(TEXT)}}
    for language, folder in FOLDERS.items():
        prompts = {'hello': 0.6, 'digits/1': 0.5, 'beep': 0.5, 'key': 1.0, 'long': 20.5, 'spy': 0.3}
        contents[phone_prompts._wav_package(language)] = {
            f'usr/share/asterisk/sounds/{folder}/{name}.wav': fakes.sound(seconds) for name, seconds in prompts.items()
        }
    paths = {}
    for name, files in contents.items():
        paths[name] = tmp_path / f'{name}.deb'
        paths[name].write_bytes(fakes.deb(files))
    return paths


def test_utterances(packages):
    found = {(utterance.id, utterance.speaker, utterance.text) for utterance in phone_prompts.utterances(packages)}
    english = {('hello', 'allison', 'hello'), ('digits-1', 'allison', 'one')}
    voices = {'es': 'allison-es', 'fr': 'june-fr', 'it': 'carlo-it', 'ru': 'i-ru'}
    foreign = {
        (f'{language}-{name}', voice, None)
        for language, voice in voices.items()
        for name in ('hello', 'digits-1', 'key')
    }
    copies = {
        (f'en-{name}', 'allison', None) for name, _, text in english if phone_prompts.split_of(text)[:5] == 'train'
    }
    assert found == english | copies | foreign


def test_transcripts_are_read(packages):
    path = packages[phone_prompts._TEXT_PACKAGE]
    assert phone_prompts.read_transcripts(path)['digits/1'] == 'one'
    with pytest.raises(UserError, match='is not the package asterisk-core-sounds-en'):
        phone_prompts.read_transcripts(packages['asterisk-core-sounds-en-wav'])


def test_splits():
    assert phone_prompts.split_of('extension') == 'dev'
    assert phone_prompts.split_of('zero') == 'test'
    assert phone_prompts.split_of('two') == 'train_labelled'
    assert hash_fraction('') == int('da39a3ee', 16) / 2**32


@pytest.mark.parametrize(
    ('raw', 'text', 'seconds', 'usable'),
    [
        ('Hello.', 'hello', 1.0, True),
        ('...', '', 1.0, False),
        ('Hello 123456', 'hello one two three four five six', 3.0, False),
        ('press #', 'press', 1.0, False),
        ('Hello [#]', 'hello', 1.0, True),
        ('Hello.', 'hello', 0.39, False),
        ('Hello.', 'hello', 2.51, False),
        ('x', 'x' * 25, 1.0, False),
        ('x', 'x' * 200, 20.01, False),
    ],
)
def test_usable(raw, text, seconds, usable):
    assert is_usable(raw, text, seconds) is usable


@pytest.mark.parametrize(('rate', 'kind'), [(8000, 'WAV'), (11025, 'MP3'), (16000, 'FLAC'), (44100, 'WAV')])
def test_audio_becomes_int16_at_16_khz(rate, kind):
    recording = fakes.sound(0.5, rate, kind)
    audio = decode(recording)
    assert audio.dtype == np.int16 and audio.ndim == 1
    assert abs(len(audio) / 16000 - duration(recording)) < 0.001
    middle = audio[2000:6000].astype(float)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440 * 4000 // 16000
    assert np.abs(middle).max() == pytest.approx(0.3 * 2**15, rel=0.1)


def test_recording_that_cannot_be_decoded():
    with pytest.raises(UserError, match='^not audio: libsndfile [0-9]'):
        decode(b'no audio')
