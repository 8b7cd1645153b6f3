"""FLEURS and Common Voice, whose splits are tables."""

import pytest

from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.data.sources.lines import MAX_LINE_BYTES
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, write_audio, write_text

FLEURS = (
    '1442\t10004088.wav\tA "tornado", they said.\ta tornado they said\ta | t o |\t16000\tFEMALE\n'
    '1442\t99900001.wav\tA "tornado", they said.\ta tornado they said\ta | t o |\t16000\tMALE\n'
)
HEADER = 'client_id\tpath\tsentence_id\tsentence\tup_votes\n'


def voice_row(name, sentence='"Добрый" день', speaker='ab12'):
    return f'{speaker}\t{name}\t7f\t{sentence}\t2\n'


def test_fleurs(tmp_path):
    write_text(tmp_path, {'dev.tsv': FLEURS})
    write_audio(tmp_path, 'audio/dev/10004088.wav', 'audio/dev/99900001.wav')
    assert LAYOUTS['fleurs'].present(tmp_path) == ('dev',)
    utterances, rejections = read('fleurs', tmp_path, 'dev')
    assert not rejections
    assert [(one.id, one.text, one.speaker) for one in utterances] == [
        ('10004088', 'A "tornado", they said.', ''),
        ('99900001', 'A "tornado", they said.', ''),
    ]
    assert utterances[0].recording.path == (tmp_path / 'audio/dev/10004088.wav').resolve()


def test_bad_rows_of_fleurs(tmp_path):
    rows = [
        '1\tmissing.wav\tA\ta\ta\t1\tMALE',
        '1\tx.wav\ttoo few',
        '1\t../../secret.wav\tA\ta\ta\t1\tMALE',
        '1' + '\t' * 6,
    ]
    write_text(tmp_path, {'en/train.tsv': '\n'.join(rows), 'en/audio/secret.wav': 'x'})
    utterances, rejections = read('fleurs', tmp_path / 'en', 'train')
    assert not utterances
    assert [(one.id, one.reason) for one in rejections] == [
        ('train.tsv:1', Reason.MISSING),
        ('train.tsv:2', Reason.BAD_ROW),
        ('train.tsv:3', Reason.OUTSIDE),
        ('train.tsv:4', Reason.BAD_ROW),
    ]
    assert rejections[1].detail == "3 columns instead of 7: '1\\tx.wav\\ttoo few'"
    with pytest.raises(UserError, match='the folder of one language, but has en'):
        read('fleurs', tmp_path, 'train')


@pytest.fixture
def voices(tmp_path):
    clips = ['a.mp3', 'b.mp3', 'c.mp3', 'd.mp3']
    write_audio(tmp_path, *(f'clips/{name}' for name in clips), rate=32000)
    write_text(
        tmp_path,
        {
            'train.tsv': HEADER + voice_row('a.mp3'),
            'dev.tsv': HEADER + voice_row('b.mp3', speaker='cd34'),
            'validated.tsv': HEADER
            + voice_row('a.mp3')
            + voice_row('b.mp3', speaker='cd34')
            + voice_row('c.mp3', 'Да'),
            'other.tsv': HEADER + voice_row('d.mp3'),
        },
    )
    return tmp_path


def test_common_voice(voices):
    assert LAYOUTS['common_voice'].present(voices) == ('train', 'dev', 'validated', 'other')
    found = {
        split: [(one.id, one.text, one.speaker) for one in read('common_voice', voices, split)[0]]
        for split in ('train', 'dev', 'validated', 'other')
    }
    assert found == {
        'train': [('a', '"Добрый" день', 'ab12')],
        'dev': [('b', '"Добрый" день', 'cd34')],
        'validated': [('a', '"Добрый" день', 'ab12'), ('c', 'Да', 'ab12')],
        'other': [('d', None, 'ab12')],
    }
    ((one,), _) = read('common_voice', voices, 'train')
    assert one.recording.path == (voices / 'clips/a.mp3').resolve()


def test_bad_rows_of_common_voice(voices):
    write_text(voices, {'test.tsv': HEADER + 'ab12\ta.mp3\n' + voice_row('../train.tsv') + voice_row('no.mp3')})
    (voices / 'clips/out.mp3').symlink_to('/etc/hostname')
    with (voices / 'test.tsv').open('a') as file:
        file.write(voice_row('out.mp3') + voice_row('c.mp3'))
    utterances, rejections = read('common_voice', voices, 'test')
    assert [one.id for one in utterances] == ['c']
    assert [(one.id, one.reason) for one in rejections] == [
        ('test.tsv:2', Reason.BAD_ROW),
        ('test.tsv:3', Reason.OUTSIDE),
        ('test.tsv:4', Reason.MISSING),
        ('test.tsv:5', Reason.OUTSIDE),
    ]


def test_lines_that_are_too_long_or_no_utf8_spoil_themselves_alone(voices):
    long = voice_row('c.mp3').encode() + b'x' * (2 * MAX_LINE_BYTES) + b'\n'
    write_text(voices, {'test.tsv': HEADER.encode() + long + b'\xff' + voice_row('c.mp3').encode()})
    (voices / 'dev.tsv').write_bytes(HEADER.encode() + b'\xff\n' + b'x' * (2 * MAX_LINE_BYTES))
    assert [one.id for one in read('common_voice', voices, 'validated')[0]] == ['a', 'b']  # c is in test
    utterances, rejections = read('common_voice', voices, 'test')
    assert [one.id for one in utterances] == ['c']
    assert [(one.id, one.reason) for one in rejections] == [
        ('test.tsv:3', Reason.BAD_ROW),
        ('test.tsv:4', Reason.BAD_TEXT),
    ]
    (voices / 'test.tsv').write_bytes(b'\xff' + HEADER.encode())
    with pytest.raises(UserError, match='no header that can be read'):
        read('common_voice', voices, 'test')


def test_a_table_without_its_columns_is_told(voices):
    write_text(voices, {'test.tsv': 'client_id\tfile\tsentence\n'})
    with pytest.raises(UserError, match='test.tsv has no column path, but client_id, file, sentence'):
        read('common_voice', voices, 'test')
