import numpy as np
import pytest
import soundfile

from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.sources import hub5, switchboard
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, write_audio, write_text

TRANSCRIPTS = 'swb_ms98_transcriptions/20/2001'
A = """\
sw2001A-ms98-a-0001 0.000000 0.100000 [silence]
sw2001A-ms98-a-0002 0.100000 0.350000 hi um yeah i'd like to
sw2001A-ms98-a-0003 0.350000 0.500000 [noise] [laughter]
sw2001A-ms98-a-0004 0.500000 1.000000 th[at]- [laughter-yes] <b_aside> them_1 <e_aside>
"""
B = """\
sw2001B-ms98-a-0001 0.000000 0.200000 okay
"""
STM = """\
;; CATEGORY "0" "" ""
sw_4390 A sw_4390_A 0.10 0.20 <O,en,F,en-F> IGNORE_TIME_SEGMENT_IN_SCORING
sw_4390 A sw_4390_A 0.20 0.45 <O,en,F,en-F>  (%HESITATION) HE IS (A-) A POLICE OFFICER
en_4156 B en_4156_B 0.5 0.75 <O,en,M,en-M>  { GONNA / GOING TO } DO IT <B_ASIDE>
en_4156 B en_4156_B 0.75 0.8 <O,en,M,en-M>  (%HESITATION)
"""
CALL = {'rate': 8000, 'channels': 2, 'format': 'NIST', 'subtype': 'ULAW'}


@pytest.fixture
def root(tmp_path):
    write_text(
        tmp_path,
        {
            f'{TRANSCRIPTS}/sw2001A-ms98-a-trans.text': A,
            f'{TRANSCRIPTS}/sw2001B-ms98-a-trans.text': B,
            f'{TRANSCRIPTS}/sw2001A-ms98-a-word.text': 'sw2001A-ms98-a-0002 0.1 0.2 hi\n',
            'swb_ms98_transcriptions/sw-ms98-dict.text': 'yes y eh s\n',
        },
    )
    write_audio(tmp_path, 'swb1_d1/data/sw02001.sph', **CALL)
    return tmp_path


@pytest.fixture
def dev_of_two(monkeypatch):
    monkeypatch.setattr(switchboard, '_DEV_SEGMENTS', 2)


def test_dev_is_the_beginning_and_train_the_rest(root, dev_of_two):
    assert LAYOUTS['switchboard'].present(root) == ('train', 'dev')
    dev, rejections = read('switchboard', root, 'dev')
    train, more = read('switchboard', root, 'train')
    assert not rejections + more
    assert [(one.id, one.text, one.speaker) for one in dev] == [
        ('sw2001A-ms98-a-0002', "hi um yeah i'd like to", 'sw02001-A')
    ]
    assert [(one.id, one.text, one.speaker) for one in train] == [
        ('sw2001A-ms98-a-0004', 'th- yes them', 'sw02001-A'),
        ('sw2001B-ms98-a-0001', 'okay', 'sw02001-B'),
    ]
    assert dev[0].recording.path == root / 'swb1_d1/data/sw02001.sph'
    assert (dev[0].recording.start, dev[0].recording.seconds, dev[0].recording.channel) == (0.1, pytest.approx(0.25), 0)
    assert train[1].recording.channel == 1
    with soundfile.SoundFile(dev[0].recording.path) as file:
        assert (file.samplerate, file.channels, file.subtype) == (8000, 2, 'ULAW')


def test_discs_and_transcripts_may_be_linked_into_one_folder(root, tmp_path, dev_of_two):
    links = tmp_path / 'links'
    links.mkdir()
    for name in ('swb1_d1', 'swb_ms98_transcriptions'):
        (links / name).symlink_to(root / name)
    (links / 'swb1_d1/loop').symlink_to(links)
    utterances, rejections = read('switchboard', links, 'train')
    assert len(utterances) == 2 and not rejections
    assert utterances[0].recording.path == links / 'swb1_d1/data/sw02001.sph'


def test_bad_lines(root):
    bad = 'sw2001A 0 1 no name\nsw2001B-ms98-a-0002 1.0 0.5 back\nsw2001B-ms98-a-0003\n\t\nsw2002A-ms98-a-0001 0 1 hm\n'
    write_text(root, {f'{TRANSCRIPTS}/sw2001B-ms98-a-trans.text': bad})
    utterances, rejections = read('switchboard', root, 'dev')
    assert [one.id for one in utterances] == ['sw2001A-ms98-a-0002', 'sw2001A-ms98-a-0004']
    assert [(one.id, one.reason, one.detail) for one in rejections] == [
        ('sw2001B-ms98-a-trans.text:1', Reason.BAD_ROW, "'sw2001A' is no name of a segment"),
        ('sw2001B-ms98-a-trans.text:2', Reason.BAD_ROW, "from '1.0' to '0.5' s"),
        ('sw2001B-ms98-a-trans.text:3', Reason.BAD_ROW, "from '' to '' s"),
        ('sw2001B-ms98-a-trans.text:5', Reason.MISSING, 'sw02002.sph does not exist'),
    ]


@pytest.mark.parametrize(
    ('raw', 'words'),
    [
        ('[laughter] well [vocalized-noise] [noise] so [silence]', 'well so'),
        ('[laughter-story] [laughter-th[at]-] uh-huh', 'story th- uh-huh'),
        ("[it'n/isn't] [lem[guini]-/linguini] nice", "it'n lem- nice"),
        ('-[an]y ab[solute]- absol[utely] ammu[n]it-', '-y ab- absol- ammu-it-'),
        ('{yuppiedom} ex[specially]-/especially]', 'yuppiedom ex-'),
        ("them_1 them_1's about_2", "them them's about"),
        ('<b_aside> come here <e_aside>', 'come here'),
        ("i'd say t[hat]- i- don't", "i'd say t- i- don't"),
    ],
)
def test_markup_is_cleaned(raw, words):
    """Against Kaldi's rules, applied by hand."""
    assert switchboard.clean(raw) == words


def test_the_evaluation_of_2000(tmp_path):
    write_text(tmp_path, {'2000_hub5_eng_eval_tr/reference/hub5e00.english.000405.stm': STM})
    write_audio(tmp_path, 'hub5e_00/english/sw_4390.sph', 'hub5e_00/english/en_4156.sph', **CALL)
    assert LAYOUTS['switchboard'].present(tmp_path) == ('test_swb', 'test_ch')
    ((one,), rejections) = read('switchboard', tmp_path, 'test_swb')
    ((other,), more) = read('switchboard', tmp_path, 'test_ch')
    assert not rejections + more
    assert (one.id, one.text, one.speaker) == ('sw_4390-A-0000020-0000045', 'HE IS A POLICE OFFICER', 'sw_4390-A')
    assert (other.id, other.text, other.speaker) == ('en_4156-B-0000050-0000075', 'GONNA DO IT', 'en_4156-B')
    assert (one.recording.start, one.recording.seconds, one.recording.channel) == (0.2, pytest.approx(0.25), 0)
    assert (other.recording.path.name, other.recording.channel) == ('en_4156.sph', 1)


def test_bad_lines_of_the_evaluation(tmp_path):
    lines = ['sw_1 C x 0 1 <O> HELLO', 'sw_2 A x 0 1 <O> HELLO', 'sw_1 A x 1 0 <O> HELLO', 'en_1 A x 0 1 <O> HELLO']
    write_text(tmp_path, {'reference/hub5e00.english.000405.stm': '\n'.join(lines)})
    write_audio(tmp_path, 'english/sw_1.sph', **CALL)
    utterances, rejections = read('switchboard', tmp_path, 'test_swb')
    assert not utterances
    assert [(one.id.split(':')[1], one.reason) for one in rejections] == [
        ('1', Reason.BAD_ROW),
        ('2', Reason.MISSING),
        ('3', Reason.BAD_ROW),
    ]


def test_other_folders_are_told(tmp_path):
    write_text(tmp_path, {f'file{number:02d}': '' for number in range(10)})
    for split, expected in (('train', 'swb_ms98_transcriptions'), ('test_ch', 'hub5e00.english')):
        with pytest.raises(UserError, match=f'{expected}.*, but has file00, .*, file07 and 2 more: give'):
            read('switchboard', tmp_path, split)
    with pytest.raises(UserError, match='cannot be read .No such file or directory.'):
        LAYOUTS['switchboard'].present(tmp_path / 'nowhere')


def test_files_as_the_ldc_writes_them_are_read(tmp_path):
    """Against mu-law's definition (ITU-T G.711), for a header with all that these files have in it."""
    fields = ['database_id -s13 SWITCHBOARD-1', 'utterance_id -s7 sw02001', 'channel_count -i 2', 'sample_count -i 256',
              'sample_rate -i 8000', 'sample_min1 -i -1004', 'sample_max1 -i 1052', 'sample_n_bytes -i 1',
              'sample_byte_format -s1 1', 'sample_sig_bits -i 8', 'sample_coding -s4 ulaw', 'end_head']  # fmt: skip
    header = '\n'.join(['NIST_1A', '   1024', *fields, '']).encode().ljust(1024)
    codes = np.stack([np.arange(256), np.arange(256)[::-1]], axis=1).astype(np.uint8)
    (tmp_path / 'sw02001.sph').write_bytes(header + codes.tobytes())
    samples, rate = soundfile.read(tmp_path / 'sw02001.sph', dtype='int16')
    inverted = ~codes.astype(int) & 255
    magnitude = (((inverted & 15) << 3) + 132 << (inverted >> 4 & 7)) - 132
    assert rate == 8000
    np.testing.assert_array_equal(samples, np.where(inverted & 128, -magnitude, magnitude))


def test_alternatives_and_optional_words():
    assert hub5.clean("{ IT'S / IT IS } ((UH)) (I-) FINE %HESITATION { A / } <E_ASIDE>") == "IT'S FINE A"
