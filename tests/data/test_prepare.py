import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bljust_jax import prepare
from bljust_jax.config import DataConfig
from bljust_jax.data import dataset
from bljust_jax.data.corpora import CORPORA
from bljust_jax.data.corpora.digest import SplitDigest, digest_split
from bljust_jax.data.preparing import pinned, shards
from bljust_jax.errors import UserError
from tests.data import fakes

ROOT = Path(__file__).parents[2]
LABELLED = SplitDigest(2, 0.0004, digest_split([('a', 'good bye', 0), ('b', 'hello there', 0)]).sha256)

# Registers the tiny corpus in a process of its own; {body} prepares it.
SCRIPT = """
import os, signal, sys
from bljust_jax import prepare
from bljust_jax.data.corpora import CORPORA
from bljust_jax.data.preparing import examples
from tests.data import fakes
CORPORA['tiny'] = fakes.tiny_corpus()
{body}
prepare.prepare_corpus('tiny', sys.argv[1])
"""


def run_script(body: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, '-c', SCRIPT.format(body=body), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def tiny(monkeypatch):
    corpus = fakes.tiny_corpus()
    monkeypatch.setitem(CORPORA, corpus.name, corpus)
    return corpus


@pytest.fixture
def data_dir(tiny, tmp_path):
    prepare.prepare_corpus('tiny', tmp_path / 'data')
    return tmp_path / 'data'


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def test_prepared_corpus_is_read_back(data_dir):
    split = dataset.load_split(data_dir, 'tiny', 'train_labelled')
    assert split.ids.tolist() == ['a', 'b'] and len(split) == len(split.source) == 2
    assert split.samples.tolist() == [16000, 8000] and split.samples.dtype == np.int32
    assert split.characters.tolist() == [8, 11] and split.characters.dtype == np.int32
    assert split.hours == pytest.approx(1.5 / 3600)
    record = split.source[0]
    assert {name: type(value) for name, value in record.items()} == {
        'id': str, 'audio': np.ndarray, 'text': str, 'speaker': str
    }  # fmt: skip
    assert (record['id'], record['text'], record['speaker']) == ('a', 'good bye', 'bob')
    assert record['audio'].dtype == np.int16 and record['audio'].shape == (16000,)
    assert [record['id'] for record in split.source] == ['a', 'b']


def test_transcripts_can_be_left_unread(data_dir):
    record = dataset.load_split(data_dir, 'tiny', 'train_labelled', text=False).source[0]
    assert sorted(record) == ['audio', 'id', 'speaker']


def test_source_in_threads_and_processes(data_dir):
    source = pickle.loads(pickle.dumps(dataset.load_split(data_dir, 'tiny', 'train_labelled', text=False).source))
    assert 'text' not in source[0]
    found = []
    threads = [threading.Thread(target=lambda: found.extend(source[i % 2]['id'] for i in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ['a'] * 400 + ['b'] * 400


def test_whole_corpus_is_not_prepared_again(data_dir, monkeypatch):
    monkeypatch.setattr(pinned, 'prepare_pinned', lambda *_: pytest.fail('prepared again'))
    assert prepare.prepare_corpus('tiny', data_dir) == data_dir / 'tiny' / '1.0.0'


def test_nothing_is_left_but_the_corpus(data_dir):
    assert visible(data_dir) == ['tiny']
    assert [path.name for path in data_dir.iterdir() if path.name.startswith('.')] == ['.tiny.lock']


def test_killed_run_leaves_nothing_whole_and_is_finished_by_the_next(tiny, tmp_path):
    body = """
blocks, calls = examples.blocks, []
def deadly(recording):
    calls.append(recording)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return blocks(recording)
examples.blocks = deadly
"""
    process = run_script(body, str(tmp_path))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert visible(tmp_path) == [] and (tmp_path / '.tiny.partial').is_dir()
    with pytest.raises(UserError, match='is not prepared'):
        dataset.load_split(tmp_path, 'tiny', 'test')
    prepare.prepare_corpus('tiny', tmp_path)
    assert len(dataset.load_split(tmp_path, 'tiny', 'train_labelled')) == 2
    assert not (tmp_path / '.tiny.partial').exists()


def test_two_processes_at_once(tiny, tmp_path):
    processes = [run_script('', str(tmp_path)) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(dataset.load_split(tmp_path, 'tiny', 'train_labelled').source[1]['audio']) == 8000


@pytest.mark.parametrize(
    ('digest', 'message'),
    [
        (SplitDigest(3, LABELLED.hours, LABELLED.sha256), '2 utterances instead of 3'),
        (SplitDigest(2, LABELLED.hours, '0' * 64), 'other ids or transcripts'),
        (SplitDigest(2, 1.0, LABELLED.sha256), '0.0004 hours of audio instead of 1.0'),
    ],
)
def test_corpus_that_is_not_the_pinned_one_is_refused(monkeypatch, tmp_path, digest, message):
    monkeypatch.setitem(CORPORA, 'tiny', fakes.tiny_corpus(digests={'train_labelled': digest}))
    with pytest.raises(UserError, match=f'tiny/train_labelled is not the corpus expected: {message}'):
        prepare.prepare_corpus('tiny', tmp_path)
    assert visible(tmp_path) == [] and not (tmp_path / '.tiny.partial').exists()


def test_pinned_corpus_is_accepted(monkeypatch, tmp_path):
    monkeypatch.setitem(CORPORA, 'tiny', fakes.tiny_corpus(digests={'train_labelled': LABELLED}))
    assert prepare.prepare_corpus('tiny', tmp_path).is_dir()


def test_full_disk_is_an_os_error(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError('write() failed: No space left on device; writing x')

    monkeypatch.setattr(shards, 'ArrayRecordWriter', full)
    with pytest.raises(OSError, match='No space left'):
        prepare.prepare_corpus('tiny', tmp_path)


def test_missing_things_say_what_there_is(data_dir):
    with pytest.raises(UserError, match="'huge' is unknown: choose one of .*phone_prompts"):
        dataset.load_split(data_dir, 'huge', 'test')
    with pytest.raises(UserError, match="no split 'dev': choose one of train_labelled, train_unlabelled, test"):
        dataset.load_split(data_dir, 'tiny', 'dev')
    with pytest.raises(UserError, match=r'\(there: tiny\): run "python -m bljust_jax.prepare --corpus=phone_prompts'):
        dataset.load_split(data_dir, 'phone_prompts', 'dev')


@pytest.mark.parametrize(
    'name', ['dataset_info.json', 'features.json', 'test.lengths.npz', 'tiny-test.array_record-00000-of-00001']
)
@pytest.mark.parametrize('damage', [os.remove, lambda path: os.truncate(path, 10)])
def test_damaged_corpus(data_dir, name, damage):
    damage(data_dir / 'tiny' / '1.0.0' / name)
    with pytest.raises(UserError, match='is damaged .*: delete it and run "python -m bljust_jax.prepare'):
        _ = dataset.load_split(data_dir, 'tiny', 'test').source[0]


def test_tokenizer_is_trained_once_on_labelled_text(data_dir, monkeypatch):
    tokenizer = dataset.load_or_train_tokenizer(data_dir, 'tiny')
    assert tokenizer.alphabet == ''.join(sorted(set('hello there' + 'good bye')))
    assert visible(data_dir / 'tiny' / '1.0.0' / 'tokenizers') == ['char.json']
    monkeypatch.setattr(dataset, 'train_tokenizer', lambda *_: pytest.fail('trained again'))
    assert dataset.load_or_train_tokenizer(data_dir, 'tiny').alphabet == tokenizer.alphabet


def test_each_split_has_a_tokenizer_of_its_own(data_dir):
    texts = dataset.texts_of(dataset.load_split(data_dir, 'tiny', 'test'))
    tokenizer = dataset.load_or_train_tokenizer(data_dir, 'tiny', split='test')
    assert tokenizer.alphabet == ''.join(sorted({' ', *''.join(texts)}))
    assert tokenizer.alphabet != dataset.load_or_train_tokenizer(data_dir, 'tiny').alphabet
    least = len(tokenizer.alphabet) + 3
    dataset.load_or_train_tokenizer(data_dir, 'tiny', 'bpe', least, 'test')
    assert visible(data_dir / 'tiny' / '1.0.0' / 'tokenizers') == [
        f'bpe-{least}-test.json',
        'char-test.json',
        'char.json',
    ]
    with pytest.raises(UserError, match="no split 'train'"):
        dataset.load_or_train_tokenizer(data_dir, 'tiny', split='train')


def test_default_folder(monkeypatch):
    monkeypatch.delenv('BLJUST_DATA_DIR', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', '/c')
    assert dataset.default_data_dir() == Path('/c/bljust_jax/data')
    monkeypatch.setenv('BLJUST_DATA_DIR', '/d')
    assert dataset.default_data_dir() == Path('/d')
    assert dataset.data_dir_of(DataConfig()) == Path('/d')
    monkeypatch.setenv('HOME', '/home/ann')
    assert dataset.data_dir_of(DataConfig(data_dir='~/speech')) == Path('/home/ann/speech')


def test_the_audit_can_wait(tiny, tmp_path):
    audit = prepare.prepare_corpus('tiny', tmp_path, audit=False) / 'audit.json'
    assert not audit.exists()
    prepare.prepare_corpus('tiny', tmp_path)
    assert audit.exists()


def test_folder_that_is_a_file(tiny, tmp_path):
    (tmp_path / 'file').write_text('')
    for folder in ('file', 'file/below'):
        with pytest.raises(UserError, match='is or lies below a file'):
            prepare.prepare_corpus('tiny', tmp_path / folder)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ([], 'either --corpus'),
        (['--corpus=huge'], '--corpus=huge is unknown: choose one of phone_prompts'),
        (['--corpus=librispeech'], '--corpus=librispeech needs one --source'),
        (['--corpus=phone_prompts', '--dev=x.csv'], '--dev is for --name'),
        (['--corpus=phone_prompts', '--name=x'], 'either --corpus'),
        (['--name=x'], '--name=x needs one of --labelled'),
        (['--name=smoke', '--dev=x.csv'], 'not that of a known corpus'),
        (['--name=../x', '--dev=x.csv'], "--name='../x' must be a-z"),
        (['--name=x', '--dev=/nowhere.csv'], '/nowhere.csv'),
        (['--name=x', '--dev=/x.csv', '--source=/x'], '--source is for --corpus'),
        (['--corpus=phone_prompts', '--source=/nowhere'], '--source=/nowhere does not exist'),
        (['--corpus=phone_prompts', '--tokenizer=bpe'], 'needs a vocab_size'),
        (['--corpus=phone_prompts', 'stray'], "Unexpected argument 'stray'"),
        (['--corpus=phone_prompts', '--colour=red'], 'colour'),
        (['--corpus=phone_prompts'], 'apt-get is not installed here'),
    ],
)
def test_command_line_mistakes(tmp_path, flags, message):
    command = [sys.executable, '-m', 'bljust_jax.prepare', f'--data_dir={tmp_path}', *flags]
    environment = {**os.environ, 'PATH': str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1
    assert any(part in result.stderr for part in message.split('|'))


def test_help_names_every_flag():
    command = [sys.executable, '-m', 'bljust_jax.prepare', '--help']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    for flag in (
        '--corpus',
        '--name',
        '--labelled',
        '--manifest',
        '--workers',
        'librispeech',
        '--data_dir',
        '--source',
        '--tokenizer',
        '--vocab_size',
    ):
        assert flag in result.stdout
    assert 'phone_prompts|amazon_queen' in ''.join(result.stdout.split())
