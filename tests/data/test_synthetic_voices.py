import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bljust_jax import prepare
from bljust_jax.data import dataset
from bljust_jax.data.corpora import CORPORA, espeak, synthetic_sentences, synthetic_voices
from bljust_jax.data.corpora.synthetic_voices import PARTS, Part
from bljust_jax.data.text import normalise
from bljust_jax.errors import UserError

ROOT = Path(__file__).parents[2]
# Prepares an instance of one utterance a voice.
SCRIPT = """
import dataclasses, sys
from bljust_jax import prepare
from bljust_jax.data.corpora import CORPORA, synthetic_voices
parts = [dataclasses.replace(part, utterances=1) for part in synthetic_voices.PARTS]
tiny = dataclasses.replace(
    CORPORA['synthetic_voices'], utterances=lambda packages: synthetic_voices.generate(parts), digests={}
)
CORPORA['synthetic_voices'] = tiny
prepare.prepare_corpus('synthetic_voices', sys.argv[1])
"""


@pytest.fixture(scope='module')
def everything():
    """Every utterance of the whole corpus, unspoken, by split."""
    found = {part.split: [] for part in PARTS}
    for utterance in synthetic_voices.utterances({}):
        found[utterance.split].append(utterance)
    return found


@pytest.fixture(scope='module')
def two_runs(tmp_path_factory):
    """The small instance, prepared by two processes."""
    folders = [tmp_path_factory.mktemp('data') for _ in range(2)]
    commands = [[sys.executable, '-c', SCRIPT, str(folder)] for folder in folders]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    return folders


@pytest.mark.parametrize('split', [part.split for part in PARTS])
def test_two_runs_are_identical_and_of_the_right_length(two_runs, split):
    one, other = (dataset.load_split(folder, 'synthetic_voices', split) for folder in two_runs)
    assert len(one) == len(other) == len(next(part.voices for part in PARTS if part.split == split))
    for first, second in zip(one.source, other.source, strict=True):
        assert first['audio'].dtype == np.int16
        np.testing.assert_array_equal(first['audio'], second['audio'])
        assert (first['id'], first['text'], first['speaker']) == (second['id'], second['text'], second['speaker'])
        assert 2 <= len(first['audio']) / 16000 <= 8
        assert 1000 < np.abs(first['audio'].astype(int)).max() <= 2**15
        assert first['id'].startswith(first['speaker'])


def test_utterances_have_noise_and_content_up_to_8_khz(two_runs):
    audio = dataset.load_split(two_runs[0], 'synthetic_voices', 'dev').source[0]['audio'].astype(float)
    spectrum = np.abs(np.fft.rfft(audio)) ** 2
    kilohertz = len(spectrum) // 8
    assert spectrum[: 4 * kilohertz].sum() > 10 * spectrum[4 * kilohertz :].sum()
    assert spectrum[6 * kilohertz : 7 * kilohertz].mean() > 0
    assert np.count_nonzero(audio) > 0.9 * len(audio)


def test_no_sentence_occurs_twice(everything):
    texts = [utterance.text for utterances in everything.values() for utterance in utterances]
    assert len(set(texts)) == len(texts) == 8 * 41 + 80 * 123 + 2 * 10 * 40


def test_speakers(everything):
    speakers = {split: {utterance.speaker for utterance in utterances} for split, utterances in everything.items()}
    assert {split: len(names) for split, names in speakers.items()} == {
        'train_labelled': 8, 'train_unlabelled': 80, 'dev': 10, 'test': 10
    }  # fmt: skip
    assert speakers['train_labelled'] < speakers['train_unlabelled']
    timbres = {part.split: {voice.timbre for voice in part.voices} for part in PARTS}
    training = timbres['train_labelled'] | timbres['train_unlabelled']
    assert not timbres['dev'] & timbres['test'] and not (timbres['dev'] | timbres['test']) & training
    assert {voice.accent for voice in PARTS[0].voices} == set(synthetic_voices.ACCENTS)


def test_sentences_are_normalised_and_rich(everything):
    texts = [utterance.text for utterances in everything.values() for utterance in utterances]
    assert all(normalise(text) == text for text in texts)
    assert set(''.join(texts)) == set("abcdefghijklmnopqrstuvwxyz '")
    assert len({word for text in texts for word in text.split()}) > 4000


def test_sentences_are_the_same_again(everything):
    again = [utterance.text for utterance in synthetic_voices.generate(PARTS)]
    assert again == [utterance.text for utterances in everything.values() for utterance in utterances]


def test_every_rule_is_used_and_every_symbol_has_one():
    grammar = synthetic_sentences.GRAMMAR
    symbols = set(re.findall('<([^>]*)>', ' '.join(line for lines in grammar.values() for line in lines)))
    assert symbols | {'remark'} == set(grammar)


@pytest.mark.parametrize(
    ('word', 'plural', 'past', 'gerund'),
    [
        ('carry', 'carries', 'carried', 'carrying'),
        ('enjoy', 'enjoys', 'enjoyed', 'enjoying'),
        ('bake', 'bakes', 'baked', 'baking'),
        ('fetch', 'fetches', 'fetched', 'fetching'),
        ('mix', 'mixes', 'mixed', 'mixing'),
        ('lift', 'lifts', 'lifted', 'lifting'),
    ],
)
def test_forms_of_words(word, plural, past, gerund):
    assert synthetic_sentences.plural(word) == plural
    assert synthetic_sentences.past(word) == past
    assert synthetic_sentences.gerund(word) == gerund


def test_espeak_speaks():
    speaker = espeak.Speaker()
    assert speaker.rate == 22050
    slow, quick = (speaker.say('half past seven', 'en-us+f3', words_per_minute=rate) for rate in (120, 240))
    assert slow.dtype == np.int16 and len(slow) > 1.5 * len(quick) > 0.5 * speaker.rate
    assert np.abs(slow.astype(int)).max() > 1000
    with pytest.raises(ValueError, match="no voice 'en-us\\+nobody'|no voice 'xx'"):
        speaker.say('hello', 'xx')


def test_every_voice_is_there():
    speaker = espeak.Speaker()
    for part in PARTS:
        for voice in part.voices:
            assert len(speaker.say('a', f'{voice.accent}+{voice.timbre}')) > 0


def test_missing_library_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'espeakng_loader', None)
    with pytest.raises(UserError, match=r"^eSpeak NG is not installed: pip install 'bljust_jax\[synth\]'\.$"):
        prepare.prepare_corpus('synthetic_voices', tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith('.')] == []
    assert not (tmp_path / '.synthetic_voices.partial').exists()


def test_corpus_is_named_synthetic():
    corpus = CORPORA['synthetic_voices']
    assert corpus.description.startswith('Synthetic') and 'GPL-3.0-or-later' in corpus.licence
    assert set(corpus.digests) == set(corpus.splits)


def test_parts_of_any_size():
    part = Part('dev', synthetic_voices.voices(['m1', 'f1'], 3), 1)
    assert [voice.name for voice in part.voices] == ['m1_en', 'f1_en-us', 'm1_en-us']
    assert dataclasses.replace(part, utterances=0).voices == part.voices
