import io
import pickle

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile

from bljust_jax.config import NormaliserConfig
from bljust_jax.data.preparing import vad
from bljust_jax.data.preparing.examples import Example, _cut, examples
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.utterance import AudioFile, Utterance

RATE = 16000


def wav(audio: np.ndarray, subtype: str = 'PCM_16') -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format='WAV', subtype=subtype)
    return file.getvalue()


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    return level * np.sin(np.arange(round(seconds * RATE)) * 0.2)


def only(utterance: Utterance, rules: Rules = Rules()) -> Example | Rejection:  # noqa: B008
    (result,) = examples(utterance, pickle.loads(pickle.dumps(rules)))
    return result


def of(recording, text: str | None = 'Hello, 3 of you!', **names) -> Utterance:
    return Utterance(**{'id': 'a', 'recording': recording, 'text': text, 'speaker': 'ann', 'split': 'dev'} | names)


def test_example(tmp_path):
    audio = tone(2.0)
    (tmp_path / 'a').write_bytes(wav(audio))
    for recording in (wav(audio), AudioFile(tmp_path / 'a'), lambda: wav(audio)):
        found = only(of(recording))
        assert isinstance(found, Example)
        assert (found.id, found.split, found.text, found.speaker) == ('a', 'dev', 'hello three of you', 'ann')
        assert np.abs(found.audio - audio * 2**15).max() <= 1
    assert only(of(wav(audio), None)).text == ''


@pytest.mark.parametrize(
    ('recording', 'reason'),
    [
        (wav(np.zeros(0)), Reason.TOO_SHORT),
        (wav(np.ones(1)), Reason.TOO_SHORT),
        (wav(tone(0.05)), Reason.TOO_SHORT),
        (wav(np.zeros(RATE)), Reason.SILENT),
        (wav(np.full(RATE, 0.5)), Reason.SILENT),
        (wav(tone(1.0, 1e-4)), Reason.SILENT),
        (wav(np.clip(tone(1.0, 3.0), -1, 1)), Reason.CLIPPED),
        (wav(np.clip(tone(1.0, 3.0), -1, 1), 'ULAW'), Reason.CLIPPED),
        (wav(np.clip(tone(1.0, 3.0), -1, 1), 'PCM_U8'), Reason.CLIPPED),
        (wav(tone(61.0)), Reason.TOO_LONG),
        (wav(np.full(RATE, np.nan), 'FLOAT'), Reason.NOT_FINITE),
        (b'no audio', Reason.NOT_AUDIO),
        (AudioFile(None), Reason.UNREADABLE),
    ],
)  # fmt: skip
def test_bad_audio(recording, reason):
    found = only(of(recording))
    assert isinstance(found, Rejection) and found.reason == reason and found.detail
    assert (found.id, found.split) == ('a', 'dev')


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', Reason.EMPTY_TEXT),
        ('[noise] ...', Reason.EMPTY_TEXT),
        ('a\0b', Reason.BAD_TEXT),
        ('caf\udce9', Reason.BAD_TEXT),
        ('abc\u202edef', Reason.BAD_TEXT),
        ('\u2067abc', Reason.BAD_TEXT),
        ('x' * 51, Reason.TEXT_TOO_LONG),
        ('word ' * 100_000, Reason.TEXT_TOO_LONG),
    ],
)
def test_bad_text(text, reason):
    found = only(of(wav(tone(1.0)), text))
    assert isinstance(found, Rejection) and found.reason == reason and found.detail and len(found.detail) < 300


def test_ctc_needs_a_blank_between_equal_labels():
    second = wav(tone(1.0))  # 25 frames of 40 ms
    assert isinstance(only(of(second, 'ab' * 12 + 'c')), Example)
    assert only(of(second, 'ab' * 13)).reason == Reason.TEXT_TOO_LONG
    assert isinstance(only(of(second, 'a' * 13)), Example)
    assert only(of(second, 'a' * 14)).reason == Reason.TEXT_TOO_LONG


def test_rules_about_texts():
    sound = wav(tone(3.0))
    assert only(of(sound, 'hello'), Rules(normaliser=NormaliserConfig(alphabet='hel'))).reason == Reason.NOT_IN_ALPHABET
    assert only(of(sound, 'hello'), Rules(normaliser=NormaliserConfig(alphabet='helo'))).text == 'hello'
    assert only(of(sound, None), Rules(transcribed=('dev',))).reason == Reason.EMPTY_TEXT
    assert only(of(sound, None), Rules(transcribed=('test',))).text == ''


@pytest.mark.parametrize(
    'names', [{'id': ''}, {'id': 'a\0'}, {'id': 'a\nb'}, {'id': '\udce9'}, {'id': 'a' * 201}, {'speaker': '\udce9'}]
)
def test_names_that_cannot_be_written(names):
    assert only(of(wav(tone(1.0)), **names)).reason == Reason.BAD_ROW


def test_rejection_names_the_file(tmp_path):
    found = only(of(AudioFile(tmp_path / 'none.wav')))
    assert found.source == str(tmp_path / 'none.wav') and found.reason == Reason.MISSING


def test_long_recording_without_transcript_is_cut(tmp_path, monkeypatch):
    spans = [(1000, 100_000), (100_000, 200_001), (300_000, 480_000)]

    def speech_pieces(blocks, *, min_seconds, max_seconds):
        assert (min_seconds, max_seconds) == (2.0, 20.0) and sum(map(len, blocks)) == 30 * RATE
        yield from spans

    monkeypatch.setattr(vad, 'speech_pieces', speech_pieces)
    audio = np.random.default_rng(0).integers(-9000, 9000, 30 * RATE).astype(np.int16)
    soundfile.write(tmp_path / 'a.flac', audio, RATE)
    found = list(examples(of(AudioFile(tmp_path / 'a.flac'), None), Rules()))
    assert [example.id for example in found] == ['a@0.06-6.25', 'a@6.25-12.50', 'a@18.75-30.00']
    for example, (start, end) in zip(found, spans, strict=True):
        np.testing.assert_array_equal(example.audio, audio[start:end])
    assert only(of(AudioFile(tmp_path / 'a.flac', 1.0, 20.0), None)).id == 'a'


def test_what_is_wrong_with_a_long_recording_is_told_alone(tmp_path, monkeypatch):
    audio = np.concatenate([tone(50.0), [np.nan]])
    assert only(of(wav(audio, 'FLOAT'), None)).reason == Reason.NOT_FINITE
    assert only(of(wav(np.zeros(RATE * 30)), None)).reason == Reason.SILENT
    monkeypatch.setattr(vad, 'speech_pieces', lambda blocks, **_: iter(list(blocks)[:0]))
    assert only(of(wav(tone(30.0)), None)).reason == Reason.SILENT


@hypothesis.given(st.lists(st.integers(0, 30), max_size=12), st.lists(st.integers(0, 300), max_size=8))
def test_cutting(sizes, places):
    audio = np.arange(sum(sizes), dtype=np.int16)
    blocks = np.split(audio, np.cumsum(sizes)[:-1]) if sizes else []
    places = sorted({place for place in places if place <= len(audio)})
    spans = list(zip(places[::2], places[1::2], strict=False))
    found = list(_cut(iter(blocks), spans))
    assert [piece.tolist() for piece in found] == [audio[start:end].tolist() for start, end in spans]


@hypothesis.given(st.binary(max_size=300), st.text(max_size=40), st.sampled_from(['dev', 'train_unlabelled']))
def test_any_record_is_taken_or_rejected(content, text, split):
    valid = wav(tone(1.5))
    for recording in (content, valid[:44] + content, valid):
        for result in examples(of(recording, text, id=text, split=split), Rules()):
            assert isinstance(result, Example | Rejection)
