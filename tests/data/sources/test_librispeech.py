import os

import pytest

from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, write_audio, write_text

CLEAN = 'LibriSpeech/train-clean-100'


@pytest.fixture
def root(tmp_path):
    """Two chapters of train-clean-100, one of dev-other."""
    write_text(
        tmp_path,
        {
            'LibriSpeech/SPEAKERS.TXT': '19 | F | train-clean-100 | 25.19 | Kara Shallenberg\n',
            f'{CLEAN}/19/198/19-198.trans.txt': "19-198-0000 NORTHANGER ABBEY\n19-198-0001 THIS WORK WAS MISSUS'S\n",
            f'{CLEAN}/103/1240/103-1240.trans.txt': '103-1240-0000 CHAPTER ONE\n',
            'LibriSpeech/dev-other/116/288045/116-288045.trans.txt': '116-288045-0000 AS I APPROACHED THE CITY\n',
        },
    )
    write_audio(tmp_path, f'{CLEAN}/19/198/19-198-0000.flac', f'{CLEAN}/19/198/19-198-0001.flac')
    write_audio(tmp_path, f'{CLEAN}/103/1240/103-1240-0000.flac')
    write_audio(tmp_path, 'LibriSpeech/dev-other/116/288045/116-288045-0000.flac')
    return tmp_path


@pytest.mark.parametrize('inner', ['', 'LibriSpeech'])
def test_splits_are_read(root, inner):
    assert LAYOUTS['librispeech'].present(root / inner) == ('train_clean_100', 'dev_other')
    utterances, rejections = read('librispeech', root / inner, 'train_clean_100')
    assert not rejections
    assert [(one.id, one.text, one.speaker) for one in utterances] == [
        ('103-1240-0000', 'CHAPTER ONE', '103'),
        ('19-198-0000', 'NORTHANGER ABBEY', '19'),
        ('19-198-0001', "THIS WORK WAS MISSUS'S", '19'),
    ]
    first = utterances[0].recording
    assert first.path == root / CLEAN / '103/1240/103-1240-0000.flac'
    assert (first.start, first.seconds, first.channel) == (0.0, None, None)
    ((one,), _) = read('librispeech', root / inner, 'dev_other')
    assert (one.id, one.speaker, one.split) == ('116-288045-0000', '116', 'dev_other')


def test_splits_that_are_not_there_say_what_is(root):
    with pytest.raises(UserError, match='should hold LibriSpeech/<split>.*, but has LibriSpeech: give the folder'):
        read('librispeech', root, 'test_clean')
    with pytest.raises(UserError, match='should hold librispeech_finetuning'):
        read('librispeech', root, 'train_1h')


def test_what_does_not_fit_together_is_told(root):
    chapter = root / CLEAN / '19/198'
    write_audio(chapter, '19-198-0007.flac')
    with (chapter / '19-198.trans.txt').open('ab') as file:
        file.write(b'19-198-0002 NOT THERE\n\n../../x A WAY OUT\n19-198-0001 SAID TWICE\n19-198-0000 C\xff\n')
    (root / CLEAN / '103/1240/103-1240.trans.txt').unlink()
    utterances, rejections = read('librispeech', root, 'train_clean_100')
    assert [one.id for one in utterances] == ['19-198-0000', '19-198-0001', '19-198-0001']
    missing = root / CLEAN / '103/1240/103-1240.trans.txt'
    assert [(one.id, one.reason, one.detail) for one in rejections] == [
        ('103-1240.trans.txt', Reason.MISSING, f'{missing} cannot be read beyond line 0: No such file or directory'),
        ('103-1240-0000', Reason.EMPTY_TEXT, '103-1240.trans.txt has no line for it'),
        ('19-198.trans.txt:3', Reason.MISSING, '19-198-0002.flac does not exist'),
        ('19-198.trans.txt:5', Reason.BAD_ROW, "'../../x' is no utterance of 19-198"),
        ('19-198.trans.txt:7', Reason.BAD_TEXT, 'the line is not UTF-8 from its byte 14 on'),
        ('19-198-0007', Reason.EMPTY_TEXT, '19-198.trans.txt has no line for it'),
    ]


def test_lists_for_fine_tuning_are_inside_one_another(tmp_path):
    for fold, reader in (('1h/0/clean', 3526), ('1h/0/other', 37), ('1h/5/clean', 26), ('9h/other', 1926)):
        chapter = f'librispeech_finetuning/{fold}/{reader}/9'
        write_text(tmp_path, {f'{chapter}/{reader}-9.trans.txt': f'{reader}-9-0000 WORDS OF {reader}\n'})
        write_audio(tmp_path, f'{chapter}/{reader}-9-0000.flac')
    assert LAYOUTS['librispeech'].present(tmp_path) == ('train_10min', 'train_1h', 'train_10h')
    speakers = {
        split: [one.speaker for one in read('librispeech', tmp_path, split)[0]]
        for split in ('train_10min', 'train_1h', 'train_10h')
    }
    assert speakers == {
        'train_10min': ['3526', '37'],
        'train_1h': ['3526', '37', '26'],
        'train_10h': ['3526', '37', '26', '1926'],
    }


def test_libri_light_is_read_without_transcripts(tmp_path):
    book = 'small/100/sea_fairies_0812_librivox_64kb_mp3'
    write_audio(tmp_path, f'{book}/01_baum_sea_fairies_64kb.flac', f'{book}/02_baum_sea_fairies_64kb.flac')
    write_audio(tmp_path, 'medium/960/history/0.flac')
    write_text(tmp_path, {f'{book}/01_baum_sea_fairies_64kb.json': '{"speaker": "100", "snr": 5.4}'})
    assert LAYOUTS['libri_light'].present(tmp_path) == ('small', 'medium')
    utterances, rejections = read('libri_light', tmp_path, 'small')
    assert not rejections
    assert [(one.id, one.text, one.speaker) for one in utterances] == [
        ('100-sea_fairies_0812_librivox_64kb_mp3-01_baum_sea_fairies_64kb', None, '100'),
        ('100-sea_fairies_0812_librivox_64kb_mp3-02_baum_sea_fairies_64kb', None, '100'),
    ]
    assert utterances[0].recording.path == tmp_path / book / '01_baum_sea_fairies_64kb.flac'
    with pytest.raises(UserError, match='<split>/<speaker>/<book>'):
        read('libri_light', tmp_path, 'large')


def test_a_pipe_in_place_of_transcripts_holds_nobody_up(root):
    transcripts = root / CLEAN / '103/1240/103-1240.trans.txt'
    transcripts.unlink()
    os.mkfifo(transcripts)
    _, rejections = read('librispeech', root, 'train_clean_100')
    assert [(one.id, one.reason) for one in rejections] == [
        ('103-1240.trans.txt', Reason.UNREADABLE),
        ('103-1240-0000', Reason.EMPTY_TEXT),
    ]
