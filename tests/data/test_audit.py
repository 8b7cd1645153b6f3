"""The leakage audit: leaks of every kind are found where they were planted, and nowhere else."""

import dataclasses
import io

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.audit import audit_corpus, audit_folders, check_training, is_tested
from bljust_jax.data.auditing import traits
from bljust_jax.data.auditing.findings import Kind, read_audit
from bljust_jax.data.auditing.fingerprint import Index, fingerprint
from bljust_jax.data.corpora import CORPORA, Corpus, Utterance
from bljust_jax.errors import UserError
from bljust_jax.prepare import prepare_corpus

RATE = 16_000
SPLITS = ('train_labelled', 'train_unlabelled', 'dev', 'test', 'test_unseen')


def voice(seed: int, seconds: float = 2.5) -> np.ndarray:
    """Something like speech, int16 [samples]: noise through bands that come and go at the pace of syllables."""
    random = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    audio = np.zeros(samples)
    for low, high in zip(np.geomspace(150, 5000, 20), np.geomspace(180, 6000, 20), strict=True):
        band = np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 0), samples)
        knots = random.exponential(1.0, round(seconds * 8) + 2)
        audio += band * np.interp(np.linspace(0, len(knots) - 1, samples), np.arange(len(knots)), knots)
    return np.round(audio / np.abs(audio).max() * 12_000).astype(np.int16)


def encoded(audio: np.ndarray, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format=kind, subtype=subtype)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype='int16')[0]


def noisy(audio: np.ndarray) -> np.ndarray:
    level = np.sqrt(np.mean(audio.astype(float) ** 2)) / 10
    return np.round(audio + level * np.random.default_rng(0).standard_normal(len(audio))).astype(np.int16)


def at_8_khz(audio: np.ndarray) -> np.ndarray:
    return np.round(soxr.resample(soxr.resample(audio.astype(float), RATE, 8000), 8000, RATE)).astype(np.int16)


CHANGES = {
    'quieter': lambda audio: np.round(audio / 4).astype(np.int16),
    'MP3': lambda audio: decoded(encoded(audio, 'MP3', 'MPEG_LAYER_III')),
    'Opus': lambda audio: decoded(encoded(audio, 'OGG', 'OPUS')),
    '8 kHz': at_8_khz,
    'noise': noisy,
    'later': lambda audio: np.concatenate([np.zeros(4800, np.int16), audio]),
    'cut': lambda audio: audio[4900:],
    'inside': lambda audio: np.concatenate([voice(900), audio, voice(901)]),
}


def utterance(name: str, split: str, audio: np.ndarray, text: str = '', speaker: str = '') -> Utterance:
    speaker = speaker or f'speaker of {split}'
    return Utterance(name, encoded(audio, 'WAV', 'PCM_16'), text or f'words of {name}', speaker, split)


def clean(start: int = 0) -> list[Utterance]:
    """Three utterances a split, with nothing in common."""
    return [
        utterance(f'{split}-{number}', split, voice(start + 10 * place + number))
        for place, split in enumerate(SPLITS)
        for number in range(3)
    ]


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    """Prepares utterances as a corpus and returns its folder."""

    def prepare(utterances, name='made_up', splits=SPLITS, **options):
        corpus = Corpus(
            name=name, version='1.0.0', packages=(), splits=splits, utterances=lambda _: utterances, digests={},
            description='', licence='', citation='', homepage='', **options,
        )  # fmt: skip
        monkeypatch.setitem(CORPORA, name, corpus)
        return prepare_corpus(name, tmp_path)

    return prepare


def summary(audit):
    return {(finding.kind, finding.split, finding.other, finding.error, finding.count) for finding in audit.findings}


def test_a_clean_corpus_is_clean(prepared):
    folder = prepared(clean())
    audit = audit_corpus(folder)
    assert audit.findings == () and audit.splits == {f'made_up/{split}': 3 for split in SPLITS}
    assert audit.table().startswith('Nothing is shared')
    assert read_audit(folder) == audit
    file = folder / 'audit.json'
    file.write_text(file.read_text().replace('"version": 2', '"version": 1'))
    assert read_audit(folder) is None


PLANTED = {
    # kind: what is planted in a training split, after `test-0` of split test
    Kind.SAME_AUDIO: (lambda: utterance('x', 'train_unlabelled', voice(30)), True),
    Kind.SIMILAR_AUDIO: (lambda: utterance('x', 'train_unlabelled', CHANGES['MP3'](voice(30))), True),
    Kind.SAME_ID: (lambda: utterance('test-0', 'train_unlabelled', voice(99), 'hm'), False),
    Kind.SAME_SPEAKER: (lambda: utterance('x', 'train_unlabelled', voice(99), speaker='speaker of test'), False),
    Kind.SAME_TEXT: (lambda: utterance('x', 'train_unlabelled', voice(99), 'Words of TEST 0!'), False),
}


@pytest.mark.parametrize('kind', list(PLANTED))
def test_a_planted_leak_is_found_and_nothing_else(prepared, kind):
    plant, error = PLANTED[kind]
    folder = prepared([*clean(), plant()])
    audit = audit_corpus(folder)
    assert summary(audit) == {(kind, 'made_up/test', 'made_up/train_unlabelled', error, 1)}
    [finding] = audit.findings
    assert finding.total == (1 if kind is Kind.SAME_SPEAKER else 3)
    assert finding.examples[0][0] == ('speaker of test' if kind is Kind.SAME_SPEAKER else 'test-0')
    assert kind.value in audit.table() and ('ERROR' in audit.table()) == error
    assert read_audit(folder) == audit
    if error:
        with pytest.raises(UserError, match=r'1 of 3 utterances of made_up/test .*test-0.*--allow_leakage'):
            check_training({'made_up': folder}, ['made_up/train_unlabelled'])
        check_training({'made_up': folder}, ['made_up/train_labelled'])
        with pytest.raises(UserError, match='made_up/test is for tests'):
            check_training({'made_up': folder}, ['made_up/test'])
        check_training({'made_up': folder}, ['made_up/train_unlabelled'], allow_leakage=True)
    else:
        check_training({'made_up': folder}, ['made_up/train_unlabelled'])


def test_a_speaker_who_should_be_unseen_is_an_error(prepared):
    heard = utterance('x', 'train_labelled', voice(99), speaker='speaker of test_unseen')
    audit = audit_corpus(prepared([*clean(), heard]))
    assert summary(audit) == {(Kind.SAME_SPEAKER, 'made_up/test_unseen', 'made_up/train_labelled', True, 1)}


def test_what_is_only_trained_on_twice_is_a_note(prepared):
    audit = audit_corpus(prepared([*clean(), utterance('x', 'train_unlabelled', voice(0), 'hm')]))
    assert summary(audit) == {(Kind.SAME_AUDIO, 'made_up/train_labelled', 'made_up/train_unlabelled', False, 1)}


def test_splits_have_the_role_that_their_name_says():
    tested = ('dev', 'dev_clean', 'development', 'test', 'test_swb', 'eval2000', 'evaluation', 'valid', 'validation_1')
    trained = ('train', 'train_clean_100', 'validated', 'other', 'small', 'duplicate', 'latest', 'my_test_like')
    assert all(map(is_tested, tested)) and all(is_tested(f'test/{split}') for split in tested)
    assert not any(map(is_tested, trained)) and not any(is_tested(f'test/{split}') for split in trained)


def test_splits_of_common_voice_can_be_trained_on_unless_they_leak(prepared):
    splits = ('train', 'dev', 'test', 'validated', 'other')
    own = [
        utterance(f'{split}-{number}', split, voice(10 * place + number))
        for place, split in enumerate(splits)
        for number in range(2)
    ]
    shared = [dataclasses.replace(own[number], split='validated') for number in range(2)]  # those of `train`
    folder = prepared([*own, *shared], 'voices', splits)
    assert not audit_corpus(folder).errors
    check_training({'voices': folder}, ['voices/train', 'voices/validated', 'voices/other'])
    leaky = utterance('x', 'other', CHANGES['MP3'](voice(20)), 'hm')
    folder = prepared([*own, *shared, leaky], 'leaky', splits)
    assert summary(audit_corpus(folder)) >= {(Kind.SIMILAR_AUDIO, 'leaky/test', 'leaky/other', True, 1)}
    with pytest.raises(UserError, match='leaky/other'):
        check_training({'leaky': folder}, ['leaky/other'])


def test_corpora_of_a_mixture_are_to_be_compared_by_hand(prepared, caplog):
    folders = {name: prepared(clean(), name) for name in ('calls', 'news')}
    check_training(folders, ['calls/train_labelled', 'news/train_labelled'])
    assert 'python -m bljust_jax.audit --corpus=calls --corpus=news' in caplog.text
    caplog.clear()
    check_training({'calls': folders['calls']}, ['calls/train_labelled'])
    assert not caplog.text


def test_a_known_leak_is_a_note(prepared):
    audit = audit_corpus(prepared([*clean(), PLANTED[Kind.SAME_AUDIO][0]()], known_leaks=frozenset({'test-0'})))
    assert [(finding.kind, finding.error) for finding in audit.findings] == [(Kind.SAME_AUDIO, False)]


def test_corpora_are_compared_with_each_other(prepared):
    one = prepared(clean())
    leak = dataclasses.replace(utterance('x', 'train_labelled', voice(30), 'hm'), speaker='somebody')
    others = [
        dataclasses.replace(each, id=f'o-{each.id}', speaker=f'o {each.speaker}', text=f'o {each.text}')
        for each in clean(500)
    ]
    other = prepared([*others, leak], name='other')
    audit = audit_folders([one, other])
    assert summary(audit) == {(Kind.SAME_AUDIO, 'made_up/test', 'other/train_labelled', True, 1)}


def test_sentences_in_the_text_of_a_language_model(prepared, tmp_path):
    long = 'never in the field of human conflict'
    folder = prepared(
        [*clean(), utterance('long', 'dev', voice(99), long), utterance('yes', 'dev', voice(98), 'Oh, yes')]
    )
    text = tmp_path / 'text.txt'
    text.write_text(
        f'He said: Never in the field of human CONFLICT, he did.\nOh yes it is\n{long[:-1]}\nWords of test-1.\n'
    )
    audit = audit_folders([folder], [text])
    assert summary(audit) == {
        (Kind.IN_LM_TEXT, 'made_up/dev', str(text), False, 1),
        (Kind.IN_LM_TEXT, 'made_up/test', str(text), False, 1),
    }
    assert {example for finding in audit.findings for example in finding.examples} == {
        (long, 'line 1'), ('words of test 1', 'line 4')
    }  # fmt: skip
    text.write_text(f'{"Well. " * 99}\nNever in\nthe field of\nhuman conflict. Words of\ntest-1 are not a line.\n')
    (finding,) = audit_folders([folder], [text]).findings
    assert finding.examples == ((long, 'line 4'),)
    text.write_bytes(b'\xff\xfe')
    for path in (text, tmp_path / 'none', tmp_path):
        with pytest.raises(UserError, match='--lm_text='):
            audit_folders([folder], [path])


def test_a_damaged_audit_is_told_and_a_missing_one_is_none(prepared):
    folder = prepared(clean())
    (folder / 'audit.json').unlink()  # of `prepare`
    assert read_audit(folder) is None
    check_training({'made_up': folder}, ['made_up/train_labelled'])
    for content in ('{', '[]', '{"version": 2, "splits": {}, "findings": [{"kind": "?"}]}'):
        (folder / 'audit.json').write_text(content)
        with pytest.raises(UserError, match='damaged'):
            read_audit(folder)


@pytest.fixture(scope='module')
def index():
    index = Index()
    for number in range(40):
        index.add(fingerprint(voice(number)))
    return index


@pytest.mark.parametrize('change', list(CHANGES))
def test_a_fingerprint_survives(index, change):
    for number in range(8):
        matches = index.find(fingerprint(CHANGES[change](voice(number))))
        assert [match.number for match in matches] == [number]
        assert 0 <= matches[0].errors <= 0.2


def test_others_are_not_found(index):
    assert len(index) == 40
    assert not any(index.find(fingerprint(voice(1000 + number))) for number in range(40))


@pytest.mark.parametrize('audio', [np.zeros(0), np.zeros(1), np.zeros(3 * RATE), np.ones(300), voice(3, 0.2)])
def test_what_is_too_short_or_silent_matches_nothing_but_itself_by_its_hash(index, audio):
    audio = audio.astype(np.int16)
    assert index.find(fingerprint(audio)) == []
    lone = Index()
    lone.add(fingerprint(audio))
    assert lone.find(fingerprint(voice(0))) == []


samples = st.lists(st.sampled_from([0, 0, 1, -1, 32767, -32768]), max_size=6).map(
    lambda values: np.array(values, np.int16)
)


@settings(max_examples=200)
@given(samples, samples)
def test_hashes_are_of_samples_and_their_number(one, other):
    assert (traits.of_audio(one) == traits.of_audio(other)) == np.array_equal(one, other)
    assert (traits.of_audio(one) == traits.NONE) == (len(one) == 0)


@given(st.text(max_size=12))
def test_words_are_the_same_in_another_case(text):
    assert traits.words(traits.words(text)) == traits.words(text) == traits.words(f'  {text}. ')


def test_words_of_other_alphabets():
    assert traits.words('Привет, МИР!') == 'привет мир' and traits.words('你好。') == '你好'
    assert traits.words('हिन्दी, में।') == 'हिन्दी में' != traits.words('हन्दी म')


def test_records_without_transcripts_are_audited(prepared):
    untold = [dataclasses.replace(each, text=None if 'unlabelled' in each.split else each.text) for each in clean()]
    assert audit_corpus(prepared(untold)).findings == ()


def test_steady_tones_are_not_alike_and_cost_little():
    time = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    tones = [fingerprint((9000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)) for hertz in (500, 1000, 1500)]
    index = Index()
    for tone in tones[:2]:
        index.add(tone)
    assert [index.find(tone) for tone in tones] == [[], [], []]
    assert max(np.unique(tone.frames[tone.audible], return_counts=True)[1].max() for tone in tones) <= 8
