import pickle

import pytest

from bljust_jax.data.corpora import CORPORA
from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.sources.layouts import LAYOUTS, find_layout
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, unlistable, write_audio, write_text


@pytest.mark.parametrize('name', LAYOUTS)
def test_every_layout_is_described_and_tells_other_folders(name, tmp_path):
    layout = find_layout(name, tmp_path)
    assert layout.name == name and name not in CORPORA
    assert len(set(layout.splits)) == len(layout.splits) > 0
    assert layout.description.endswith('.') and layout.licence and layout.citation and layout.homepage[:4] == 'http'
    (tmp_path / 'holiday.jpg').touch()
    with pytest.raises(UserError, match='should hold .* but has holiday.jpg: give the folder of the corpus'):
        layout.present(tmp_path)
    for split in layout.splits:
        assert not layout.has(tmp_path, split)
        with pytest.raises(UserError, match=r'should hold .*, but has holiday.jpg'):
            list(layout.read(tmp_path, split))


def test_workers_can_be_handed_any_layout():
    assert pickle.loads(pickle.dumps(LAYOUTS)) == LAYOUTS


def test_unknown_corpora_are_named(tmp_path):
    with pytest.raises(UserError, match="corpus='librispeach' is unknown: choose one of librispeech, libri_light, ted"):
        find_layout('librispeach', tmp_path)


@pytest.mark.parametrize(
    ('corpus', 'split', 'folder'),
    [
        ('librispeech', 'train_clean_100', 'LibriSpeech/train-clean-100/19'),
        ('libri_light', 'small', 'small/7'),
        ('switchboard', 'train', 'swb1_d1/data'),
        ('switchboard', 'test_swb', 'hub5e_00/english'),
    ],
)
def test_folders_that_cannot_be_listed_are_told(tmp_path, corpus, split, folder):
    write_text(
        tmp_path,
        {
            'LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt': '',
            'swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-trans.text': '',
            'reference/hub5e00.english.000405.stm': '',
        },
    )
    write_audio(tmp_path, 'small/8/book/1.flac')
    (tmp_path / folder).mkdir(parents=True)
    with unlistable(tmp_path / folder):
        _, rejections = read(corpus, tmp_path, split)
    assert [(one.source, one.reason) for one in rejections] == [(str(tmp_path / folder), Reason.UNREADABLE)]
