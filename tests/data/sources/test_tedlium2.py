import pytest
import soundfile

from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.data.sources.tedlium2 import clean
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, write_audio, write_text

STM = """\
;; LABEL "o" "Overall" "Overall results"
AlGore_2009 1 inter_segment_gap 0 0.10 <o,,unknown> ignore_time_segment_in_scoring
AlGore_2009 1 AlGore_2009 0.10 0.42 <o,f0,male> last year i showed these two slides so that{SMACK}
AlGore_2009 1 AlGore_2009 0.5 1 <F0_M> it 's the(2) <sil> <unk> i don 't (AlGore_2009-0.5-1-F0_M-S0)
"""


@pytest.fixture
def root(tmp_path):
    write_text(tmp_path, {'TEDLIUM_release2/train/stm/AlGore_2009.stm': STM})
    write_audio(tmp_path, 'TEDLIUM_release2/train/sph/AlGore_2009.sph', format='NIST', subtype='PCM_16')
    return tmp_path


@pytest.mark.parametrize('inner', ['', 'TEDLIUM_release2'])
def test_segments_of_talks(root, inner):
    assert LAYOUTS['tedlium2'].present(root / inner) == ('train',)
    utterances, rejections = read('tedlium2', root / inner, 'train')
    assert not rejections
    assert [(one.id, one.text, one.speaker) for one in utterances] == [
        ('AlGore_2009-0000010-0000042', 'last year i showed these two slides so that', 'AlGore_2009'),
        ('AlGore_2009-0000050-0000100', "it's the i don't", 'AlGore_2009'),
    ]
    first, second = (one.recording for one in utterances)
    assert first.path == (root / 'TEDLIUM_release2/train/sph/AlGore_2009.sph').resolve()
    assert (first.start, first.channel, second.start, second.seconds) == (0.1, None, 0.5, 0.5)
    assert first.seconds == pytest.approx(0.32)
    assert soundfile.info(first.path).samplerate == 16000


def test_bad_lines(root):
    folder = root / 'TEDLIUM_release2/train'
    lines = [
        'AlGore_2009 1 AlGore_2009 2.0 1.0 <o,f0,male> backwards',
        'AlGore_2009 1 AlGore_2009 zero 1.0 <o,f0,male> no number',
        'AlGore_2009 1 AlGore_2009 0 nan <o,f0,male> no number either',
        'AlGore_2009 1',
        '\t',
        'Nobody 1 Nobody 0.0 1.0 <o,f0,male> no file',
        '../../secret 1 Nobody 0.0 1.0 <o,f0,male> a way out',
    ]
    write_text(folder, {'stm/zz.stm': '\n'.join(lines), '../secret.sph': 'x'})
    utterances, rejections = read('tedlium2', root, 'train')
    assert len(utterances) == 2
    assert [(one.id, one.reason) for one in rejections] == [
        ('zz.stm:1', Reason.BAD_ROW),
        ('zz.stm:2', Reason.BAD_ROW),
        ('zz.stm:3', Reason.BAD_ROW),
        ('zz.stm:4', Reason.BAD_ROW),
        ('zz.stm:6', Reason.MISSING),
        ('zz.stm:7', Reason.OUTSIDE),
    ]
    assert rejections[0].detail == "from '2.0' to '1.0' s"


@pytest.mark.parametrize(
    ('raw', 'words'),
    [
        ("we 're here and they 'll say it 's i 'd i 'm you 've", "we're here and they'll say it's i'd i'm you've"),
        ("get 'em 'cause it 's 'til then", "get 'em 'cause it's 'til then"),
        ("'s no word before it", "'s no word before it"),
        ("rock 'n roll and 'so on", "rock 'n roll and 'so on"),
        ('record(2) the(3) a(2)', 'record the a'),
        ('{NOISE} yes {BREATH} [APPLAUSE] no <unk> {COUGH}', 'yes no'),
        ('<sil> {NOISE}', ''),
    ],
)
def test_markup_is_cleaned(raw, words):
    assert clean(raw) == words


def test_another_folder_is_told(tmp_path):
    with pytest.raises(UserError, match='should hold TEDLIUM_release2/<split>/sph and stm .*, but is empty'):
        read('tedlium2', tmp_path, 'train')
