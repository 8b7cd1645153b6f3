import gzip
import json
import logging
import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.sources.manifests import read_manifest
from bljust_jax.errors import UserError
from tests.data.sources import samples


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write_all(tmp_path_factory.mktemp('manifests'))


def read(path: Path, split: str = 'dev', transcribed: bool = True, root: Path | None = None) -> list:
    return list(read_manifest(path, split, transcribed=transcribed, root=root))


def only(path: Path, **options) -> Utterance | Rejection:
    (found,) = read(path, **options)
    return found


def manifest(folder: Path, name: str, content: str | bytes) -> Path:
    """A manifest in a folder that has `a.wav`."""
    folder.joinpath('a.wav').write_bytes(b'RIFF')
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize('kind', [kind for kind in samples.KINDS if kind != 'audio'])
@pytest.mark.parametrize('transcribed', [True, False])
def test_every_kind_says_the_same(folder, kind, transcribed):
    expected = [
        Utterance(f'u{i}', AudioFile(folder / 'audio' / name, start, seconds), text, speaker, 'dev')
        for i, (name, text, speaker, start, seconds) in enumerate(
            zip(samples.NAMES, samples.TEXTS, samples.SPEAKERS, samples.STARTS, samples.SECONDS, strict=True)
        )
    ]
    found = read(folder / kind, transcribed=transcribed, root=folder)
    for utterance, wanted in zip(found, expected, strict=True):
        channel = 0 if kind.startswith('cuts') else None
        assert utterance.recording == AudioFile(
            wanted.recording.path, wanted.recording.start, wanted.recording.seconds, channel
        )
        assert (utterance.id, utterance.speaker, utterance.split) == (wanted.id, wanted.speaker, 'dev')
        assert utterance.text == (wanted.text if transcribed else None)


@pytest.mark.parametrize('kind', ['nemo.jsonl', 'cuts.jsonl', 'comma.csv', 'tabs.tsv'])
def test_rows_name_their_splits(folder, kind):
    found = read(folder / kind, split='')
    assert [utterance.split for utterance in found] == ['dev'] * 4


@pytest.mark.parametrize('kind', ['kaldi', 'audio'])
def test_folders_name_no_splits(folder, kind):
    with pytest.raises(UserError, match='names no splits'):
        read(folder / kind, split='', root=folder)


def test_rows_of_the_unlabelled_split_have_no_transcript(tmp_path):
    path = manifest(tmp_path, 'm.csv', 'path,text,split\na.wav,secret,train_unlabelled\na.wav,said,train_labelled\n')
    assert [row.text for row in read(path, split='')] == [None, 'said']


def test_a_folder_of_audio(folder):
    found = read(folder / 'audio', transcribed=True)
    assert [row.id for row in found] == ['ann-a', 'ann-b', 'bob-c', 'bob-d ü']
    assert [row.speaker for row in found] == list(samples.SPEAKERS)
    assert [row.text for row in found] == list(samples.TEXTS)
    assert [row.recording for row in found] == [AudioFile(folder / 'audio' / name) for name in samples.NAMES]
    assert [row.text for row in read(folder / 'audio', transcribed=False)] == [None] * 4


def test_a_folder_with_everything_in_it(tmp_path, caplog):
    corpus, elsewhere = tmp_path / 'corpus', tmp_path / 'elsewhere.wav'
    (corpus / 'deep' / 'er').mkdir(parents=True)
    for name in ('z.WAV', 'deep/er/a.mp3', 'deep/notes.pdf', 'deep/._a.mp3', 'README'):
        (corpus / name).write_bytes(b'x')
    elsewhere.write_bytes(b'x')
    (corpus / 'deep' / 'loop').symlink_to(corpus)
    (corpus / 'out.wav').symlink_to(elsewhere)
    (corpus / 'self.wav').symlink_to('self.wav')
    (corpus / 'broken.wav').symlink_to('nothing')
    os.mkdir(os.fsencode(corpus) + b'/\xff')
    with open(os.fsencode(corpus) + b'/\xff/a.wav', 'wb') as file:
        file.write(b'x')
    with caplog.at_level(logging.INFO):
        found = read(corpus, transcribed=False)
    assert [row.id for row in found if isinstance(row, Utterance)] == ['deep-er-a', 'z']
    assert [row.speaker for row in found if isinstance(row, Utterance)] == ['deep-er', '']
    rejected = {row.id: row.reason for row in found if isinstance(row, Rejection)}
    assert rejected == {
        'out.wav': Reason.OUTSIDE,
        'self.wav': Reason.OUTSIDE,
        'broken.wav': Reason.MISSING,
        '\\udcff/a.wav': Reason.BAD_ROW,
    }
    assert '4 files and links are not audio and ignored' in caplog.text
    assert [row.id for row in read(corpus, transcribed=False, root=tmp_path) if isinstance(row, Utterance)] == [
        'deep-er-a',
        'out',
        'z',
    ]


def test_transcripts_beside_the_audio(tmp_path):
    for name, text in {'a': b'good', 'b': b'\xff', 'c': b'nul\0', 'd': None, 'e': b'x' * (2 << 20)}.items():
        (tmp_path / f'{name}.wav').write_bytes(b'RIFF')
        if text is not None:
            (tmp_path / f'{name}.txt').write_bytes(text)
    good, *bad = read(tmp_path)
    assert good.text == 'good'
    assert [row.reason for row in bad] == [Reason.BAD_TEXT, Reason.BAD_TEXT, Reason.MISSING, Reason.BAD_TEXT]


def test_a_folder_nested_deeper_than_recursion_goes(tmp_path):
    (tmp_path / 'a.wav').write_bytes(b'x')
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir('d', dir_fd=here)
            inner = os.open('d', os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        assert only(tmp_path, transcribed=False).id == 'a'
    finally:
        os.close(here)
        subprocess.run(['rm', '-rf', tmp_path / 'd'], check=True)  # which shutil cannot


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('m.txt', 'hello', 'is no manifest'),
        ('m', 'hello', 'is no manifest'),
        ('m.json', '[{"audio_filepath": "a.wav"}]', 'not a list'),
        ('m.jsonl', '{"a": 1}\n', 'is no manifest'),
        ('m.jsonl', '', 'is no manifest'),
        ('m.csv', '', 'is empty'),
        ('m.csv', 'a.wav,hello\n', 'no column of paths'),
        ('m.csv', b'\xff\n', 'no header'),
        ('m.csv', 'path,text\n', 'has no rows'),
        ('m.csv', 'path,duration\na.wav,1\n', 'no column of transcripts'),
        ('m.csv', 'path,text,transcript\na.wav,x,y\n', 'mean the same'),
        ('m.tsv', 'path\ttext\na.wav\tx\n'.encode('utf-16'), 'UTF-16'),
        ('m.jsonl.gz', 'not gzip', 'cannot be read'),
        ('m.csv.gz', gzip.compress(os.urandom(5000))[:2000], 'cannot be read|no header'),
    ],
)
def test_what_is_no_manifest(tmp_path, name, content, message):
    path = manifest(tmp_path, name, content)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_manifest(tmp_path / 'no.csv', 'dev', transcribed=False)
    with pytest.raises(UserError, match='not a folder'):
        read_manifest(manifest(tmp_path, 'm.csv', 'path\na.wav\n'), 'dev', transcribed=False, root=tmp_path / 'no')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no audio'):
        read(tmp_path / 'empty')
    with pytest.raises(UserError, match='no column called split'):
        read(tmp_path / 'm.csv', split='', transcribed=False)


def test_a_manifest_that_breaks_off(tmp_path):
    rows = ''.join(f'{{"audio_filepath": "a.wav", "id": "u{i}", "text": "{i * 7919}"}}\n' for i in range(5000))
    whole = gzip.compress(rows.encode())
    path = manifest(tmp_path, 'm.jsonl.gz', whole[: len(whole) // 2])
    with pytest.raises(UserError, match='cannot be read beyond line'):
        read(path)


BAD_ROWS = {
    '{"audio_filepath": "../a.wav", "text": "x"}': Reason.OUTSIDE,
    '{"audio_filepath": "/etc/passwd", "text": "x"}': Reason.OUTSIDE,
    '{"audio_filepath": "b.wav", "text": "x"}': Reason.MISSING,
    '{"audio_filepath": ".", "text": "x"}': Reason.NOT_AUDIO,
    '{"audio_filepath": "a.wav\\u0000", "text": "x"}': Reason.BAD_ROW,
    '{"audio_filepath": 7, "text": "x"}': Reason.BAD_ROW,
    '{"audio_filepath": null, "text": "x"}': Reason.BAD_ROW,
    '{"text": "x"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "audio": "a.wav", "text": "x"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "text": "y"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": null}': Reason.EMPTY_TEXT,
    '{"audio_filepath": "a.wav"}': Reason.EMPTY_TEXT,
    '{"audio_filepath": "a.wav", "text": 7}': Reason.BAD_TEXT,
    '{"audio_filepath": "a.wav", "text": "x\\u0000y"}': Reason.BAD_TEXT,
    '{"audio_filepath": "a.wav", "text": "x\\u202ey"}': Reason.BAD_TEXT,
    '{"audio_filepath": "a.wav", "text": "x\\u200fy"}': Reason.BAD_TEXT,
    '{"audio_filepath": "a.wav", "text": "\\ud800"}': Reason.BAD_TEXT,
    '{"audio_filepath": "a.wav", "text": "x", "offset": -1}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "offset": NaN}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "offset": 1e300}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "offset": true}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "offset": [1]}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "duration": 0}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "duration": Infinity}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "duration": "soon"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "duration": 1' + '0' * 400 + '}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "duration": 1' + '0' * 5000 + '}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "start": 2, "end": 1}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "end": 2, "duration": 1}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "channel": -1}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "channel": 1.0}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "channel": false}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "id": "a\\nb"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "id": " "}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "id": "' + 'i' * 201 + '"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "speaker": "a\\tb"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "x", "speaker": {}}': Reason.BAD_ROW,
    '["audio_filepath"]': Reason.BAD_ROW,
    '[' * 100_000: Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": "' + 'x' * (1 << 20) + '"}': Reason.BAD_ROW,
    '{"audio_filepath": "a.wav", "text": ': Reason.BAD_ROW,
}


def test_bad_rows_of_json(tmp_path):
    good = '{"audio_filepath": "a.wav", "text": "fine", "offset": 0, "channel": 1}'
    path = manifest(tmp_path, 'm.jsonl', '\n\n'.join([good, *BAD_ROWS, good]))
    first, *found, last = read(path)
    assert first == last == Utterance('a-1', AudioFile(tmp_path / 'a.wav', channel=1), 'fine', '', 'dev')
    for index, (row, (line, reason)) in enumerate(zip(found, BAD_ROWS.items(), strict=True)):
        assert isinstance(row, Rejection), line[:100]
        assert (row.reason, row.split, row.source) == (reason, 'dev', str(path)), (row, line[:100])
        assert f'm.jsonl:{2 * index + 3}: ' in row.detail
        assert row.id.isprintable() and row.detail.isprintable() and len(row.detail) < 400


def test_one_line_that_is_not_utf8(tmp_path):
    path = manifest(tmp_path, 'm.csv', b'path,text\na.wav,one\na.wav,\xff\na.wav,three\n')
    assert [getattr(row, 'text', None) for row in read(path)] == ['one', None, 'three']
    assert read(path)[1].reason is Reason.BAD_TEXT


@pytest.mark.parametrize(
    ('content', 'texts'),
    [
        ('path,text\na.wav,"one\nand two"\na.wav,three\n', ['one\nand two', 'three']),
        ('path, text\na.wav, "one, two"\na.wav, three \n', ['one, two', 'three']),
        ('path,text\na.wav,"open\na.wav,two\na.wav,"three"\n', [None, 'two', 'three']),
        ('path,text\na.wav,5" disk\na.wav,two\n', ['5" disk', 'two']),
        ('path,text\na.wav,"last\n', [None]),
        ('path;text\na.wav;1,5\n', ['1,5']),
        ('PATH\ttext\na.wav\t"x"\n', ['x']),
        ('path,text\na.wav\na.wav,x,y\na.wav,x,,\n', [None, None, 'x']),
        ('path,text,speaker\na.wav,,\n', ['']),
        ('path,text\na.wav,"' + 'x' * 140_000 + '"\na.wav,two\n', [None, 'two']),
        ('path,text\na.wav,"open\n' + 'a.wav,two\n' * 100, [None] + ['two'] * 100),
    ],
)
def test_quotes_and_columns(tmp_path, content, texts):
    path = manifest(tmp_path, 'm.csv', content)
    assert [getattr(row, 'text', None) for row in read(path)] == texts
    assert {row.reason for row in read(path) if isinstance(row, Rejection)} <= {Reason.BAD_ROW}


def test_quotes_in_a_tsv_are_letters(tmp_path):
    path = manifest(tmp_path, 'm.tsv', 'path\ttext\na.wav\t"Well\na.wav\t"all ""quoted"""\na.wav\tit\'s "so"\n')
    assert [row.text for row in read(path)] == ['"Well', 'all "quoted"', 'it\'s "so"']


def test_columns_that_are_ignored_are_said(tmp_path, caplog):
    path = manifest(tmp_path, 'm.csv', 'path,text,Mood\na.wav,x,good\n')
    with caplog.at_level(logging.INFO):
        read(path)
    assert "the columns 'Mood' are ignored" in caplog.text


def test_ids_from_paths(tmp_path):
    (tmp_path / 'x' / 'y').mkdir(parents=True)
    (tmp_path / 'x' / 'y' / 'a.wav').write_bytes(b'x')
    long = '/'.join(['d' * 60] * 5)
    (tmp_path / long).mkdir(parents=True)
    (tmp_path / long / 'a.wav').write_bytes(b'x')
    rows = ['x/y/a.wav,0', './x//y/../y/a.wav,1.5', f'{tmp_path}/x/y/a.wav,', f'{long}/a.wav,', f'{long}/a.wav,1']
    found = [row.id for row in read(manifest(tmp_path, 'm.csv', '\n'.join(['path,start', *rows])), transcribed=False)]
    assert found[:3] == ['x-y-a', 'x-y-a-1.500', 'x-y-a']
    assert all(len(id) < 200 and id.startswith('d' * 60 + '-') for id in found[3:]) and found[3] != found[4]


def test_audio_in_another_folder(tmp_path):
    (tmp_path / 'sound').mkdir()
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'sound' / 'b.wav').write_bytes(b'x')
    path = manifest(tmp_path / 'lists', 'm.csv', f'path\nb.wav\n{tmp_path}/sound/b.wav\n../sound/b.wav\n../lists/a.wav')
    reasons = [row.reason for row in read(path, transcribed=False)[:3]]
    assert reasons == [Reason.MISSING, Reason.OUTSIDE, Reason.OUTSIDE]
    found = read(path, transcribed=False, root=tmp_path / 'sound')
    assert [row.recording.path.name for row in found[:3]] == ['b.wav'] * 3
    assert found[3].reason is Reason.OUTSIDE


def kaldi(folder: Path, **files: str | bytes) -> Path:
    manifest(folder, 'wav.scp', b'')
    for name, content in files.items():
        content = content.encode() if isinstance(content, str) else content
        folder.joinpath(name.replace('_', '.')).write_bytes(content)
    return folder


def test_kaldi_without_segments(tmp_path):
    folder = kaldi(tmp_path, wav_scp='r2 a.wav\nr1\ta.wav\n', text='r1 one\nr2  two  words\nr3 nobody\n')
    found = read(folder)
    assert [(row.id, row.text, row.speaker, row.recording) for row in found] == [
        ('r2', 'two  words', '', AudioFile(tmp_path / 'a.wav')),
        ('r1', 'one', '', AudioFile(tmp_path / 'a.wav')),
    ]
    assert found == read(folder / 'wav.scp')


def test_commands_are_never_run(tmp_path):
    mark = tmp_path / 'mark'
    folder = kaldi(
        tmp_path, wav_scp=f'r1 touch {mark} |\nr2 | touch {mark}\nr3 touch {mark}|\n', text='r1 a\nr2 b\nr3 c\n'
    )
    found = read(folder)
    assert [row.reason for row in found] == [Reason.BAD_ROW] * 3
    assert all('a command, which is never run' in row.detail for row in found)
    assert not mark.exists()


def test_bad_rows_of_kaldi(tmp_path):
    segments = {
        'u0 r 0 1': None,
        'u1 r 1.5 -1 1': None,
        'u2 r 1 1': Reason.BAD_ROW,
        'u3 r 1': Reason.BAD_ROW,
        'u4 nobody 0 1': Reason.MISSING,
        'u5 r nan 1': Reason.BAD_ROW,
        'u6 r 0 inf': Reason.BAD_ROW,
        'u7 r 0 1 A': Reason.BAD_ROW,
        'u8 r 0 1': Reason.EMPTY_TEXT,
        'u9 r 0 1': Reason.BAD_TEXT,
        'u10 r 0 1': Reason.BAD_TEXT,
        'u11 r 0 1': Reason.BAD_ROW,
    }
    folder = kaldi(
        tmp_path,
        wav_scp='r a.wav\nr b.wav\n',
        segments='\n'.join(segments),
        text=b''.join(b'u%d x\n' % i for i in (*range(8), 11)) + b'u9 \xff\nu10 \xe2\x80\xae\n',
        utt2spk=b'u0 ann\nu11 \xe2\x80\xae\n',
    )
    twice, *found = read(folder)
    assert (twice.reason, twice.id) == (Reason.DUPLICATE_ID, f'{tmp_path.name}/wav.scp:2')
    assert [getattr(row, 'reason', None) for row in found] == list(segments.values())
    assert found[0] == Utterance('u0', AudioFile(tmp_path / 'a.wav', 0.0, 1.0), 'x', 'ann', 'dev')
    assert found[1].recording == AudioFile(tmp_path / 'a.wav', 1.5, None, 1)


@pytest.mark.parametrize('name', ['text', 'wav.scp', 'segments', 'utt2spk'])
def test_a_pipe_in_place_of_a_file_of_kaldi_holds_nobody_up(tmp_path, name):
    folder = kaldi(tmp_path, text='a hi', utt2spk='a ann', **{'wav.scp': 'a a.wav'})
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=f'{name} cannot be read beyond line 0: not a regular file'):
        read(folder)


@pytest.mark.parametrize('name', ['a.csv', 'a.csv.gz', 'a.jsonl'])
def test_a_pipe_is_no_manifest(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match='is no manifest that is known'):
        read(tmp_path / name)


def test_kaldi_without_text(tmp_path):
    folder = kaldi(tmp_path, wav_scp='r a.wav\n')
    assert only(folder, transcribed=False).id == 'r'
    with pytest.raises(UserError, match='no file called text'):
        read(folder)


def cuts(folder: Path, **changes) -> Path:
    """A file of one cut of two channels with two supervisions, some of its fields changed."""
    cut = samples.cut('c', 'a.wav', 'one', 'ann', 10.0, 4.0)
    second = {'id': 'c-2', 'start': 1.0, 'duration': 2.0, 'text': 'two', 'speaker': 'bob'}
    cut['supervisions'][0]['duration'] = 1.0
    cut['supervisions'].append(second)
    cut['recording']['sources'][0]['channels'] = [4, 7]
    cut['channel'] = 7
    return manifest(folder, 'cuts.jsonl', json.dumps(cut | changes))


def test_a_cut_of_two_supervisions(tmp_path):
    path = cuts(tmp_path)
    audio = tmp_path / 'a.wav'
    assert read(path) == [
        Utterance('c-s', AudioFile(audio, 10.0, 1.0, 1), 'one', 'ann', 'dev'),
        Utterance('c-2', AudioFile(audio, 11.0, 2.0, 1), 'two', 'bob', 'dev'),
    ]
    assert only(path, transcribed=False) == Utterance('c', AudioFile(audio, 10.0, 4.0, 1), None, '', 'dev')
    both = only(cuts(tmp_path, channel=[4, 7], type='MultiCut'), transcribed=False)
    assert both.recording.channel is None


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'type': 'MixedCut', 'tracks': []}, Reason.BAD_ROW),
        ({'type': 'PaddingCut'}, Reason.BAD_ROW),
        ({'id': None}, Reason.BAD_ROW),
        ({'start': -1}, Reason.BAD_ROW),
        ({'duration': None}, Reason.BAD_ROW),
        ({'channel': 5}, Reason.BAD_ROW),
        ({'channel': []}, Reason.BAD_ROW),
        ({'channel': [4, 5]}, Reason.BAD_ROW),
        ({'recording': None}, Reason.BAD_ROW),
        ({'recording': {'sources': 'a.wav'}}, Reason.BAD_ROW),
        ({'recording': {'sources': [{'type': 'file', 'channels': [7], 'source': '../a.wav'}]}}, Reason.OUTSIDE),
        ({'recording': {'sources': [{'type': 'command', 'channels': [7], 'source': 'touch x'}]}}, Reason.BAD_ROW),
        ({'recording': {'sources': [{'type': 'url', 'channels': [7], 'source': 'a.wav'}]}}, Reason.BAD_ROW),
        ({'recording': {'sources': [{'type': 'file', 'channels': [7], 'source': None}]}}, Reason.BAD_ROW),
        ({'recording': {'sources': [], 'transforms': [{'name': 'Speed'}]}}, Reason.BAD_ROW),
        ({'supervisions': []}, Reason.EMPTY_TEXT),
        ({'supervisions': [{'id': 's', 'start': 0, 'duration': 1}]}, Reason.EMPTY_TEXT),
        ({'supervisions': [{'id': 's', 'start': 0, 'duration': 9, 'text': 'x'}]}, Reason.BAD_ROW),
        ({'supervisions': [{'id': 's', 'start': -1, 'duration': 1, 'text': 'x'}]}, Reason.BAD_ROW),
        ({'supervisions': [{'id': 's', 'start': 0, 'duration': 1, 'text': '\0'}]}, Reason.BAD_TEXT),
        ({'supervisions': ['x']}, Reason.BAD_ROW),
    ],
)
def test_bad_cuts(tmp_path, changes, reason):
    found = only(cuts(tmp_path, **changes))
    assert isinstance(found, Rejection) and found.reason is reason


def test_cuts_that_name_no_good_split(tmp_path):
    for custom in ('x', {}, {'split': 'Dev set'}, {'split': 7}):
        assert only(cuts(tmp_path, custom=custom), split='').reason is Reason.BAD_ROW


def test_memory_is_flat(tmp_path):
    """Ten times the rows, as much memory."""
    peaks = []
    for rows in (300, 3000):
        path = manifest(tmp_path, f'{rows}.csv', 'path,text\n' + f'a.wav,{"x" * 1000}\n' * rows)
        tracemalloc.start()
        assert sum(1 for _ in read_manifest(path, 'dev', transcribed=True)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
