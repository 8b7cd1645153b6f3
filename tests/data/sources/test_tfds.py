"""LibriSpeech through TFDS against the same files through the reader of its folder.

The dataset is written by TFDS itself with the features of its stock builder, which is not run: it would download 60 GB.
"""

import importlib.util

import numpy as np
import pytest

from bljust_jax.data.preparing import audio
from bljust_jax.data.sources import tfds as source
from bljust_jax.data.sources.layouts import LAYOUTS, find_layout
from bljust_jax.errors import UserError
from tests.data.sources.trees import read, write_audio, write_text

CHAPTER = 'LibriSpeech/train-clean-100/19/198'
KEYS = ('19-198-0000', '19-198-0001')

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec('tensorflow') is None, reason='TensorFlow is not installed (the extra tf)'
)


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """A folder of LibriSpeech, and the `data_dir` of TFDS with both of its configurations."""
    import tensorflow_datasets as tfds

    files, prepared = tmp_path_factory.mktemp('files'), tmp_path_factory.mktemp('prepared')
    write_text(files, {f'{CHAPTER}/19-198.trans.txt': ''.join(f'{key} WORDS OF {key[-1]}\n' for key in KEYS)})
    for key in KEYS:
        write_audio(files, f'{CHAPTER}/{key}.flac')

    class Librispeech(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version('2.1.2')
        code_path = None
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name='default'), tfds.core.BuilderConfig(name='lazy_decode'))

        def _info(self):
            lazy = self.builder_config.name == 'lazy_decode'
            options = {'sample_rate': 16000, 'dtype': np.int16, 'file_format': 'flac', 'lazy_decode': lazy}
            features = {
                'speech': tfds.features.Audio(**options),
                'text': tfds.features.Text(),
                'speaker_id': np.int64,
                'chapter_id': np.int64,
                'id': np.str_,
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {'train_clean100': self._generate_examples()}

        def _generate_examples(self):
            for key in KEYS:
                path = files / CHAPTER / f'{key}.flac'
                lazy = self.builder_config.name == 'lazy_decode'
                speech = path.open('rb') if lazy else audio.decode(path.read_bytes())
                known = {'text': f'WORDS OF {key[-1]}', 'speaker_id': 19, 'chapter_id': 198, 'id': key}
                yield key, {'speech': speech, **known}

    for config in ('default', 'lazy_decode'):
        Librispeech(data_dir=prepared, config=config).download_and_prepare()
    return files, prepared


@needs_tensorflow
@pytest.mark.filterwarnings('ignore')  # TensorFlow's own
@pytest.mark.parametrize('name', ['librispeech', 'librispeech/lazy_decode', 'librispeech/default'])
def test_both_roads_give_the_same_samples(roots, name):
    files, prepared = roots
    layout = find_layout(f'tfds:{name}', prepared)
    assert layout.name == 'librispeech' and layout.present(prepared) == layout.splits == ('train_clean_100',)
    theirs = {one.id: one for one in layout.read(prepared, 'train_clean_100')}
    ours, _ = read('librispeech', files, 'train_clean_100')
    assert theirs.keys() == {one.id for one in ours} == set(KEYS)
    for one in ours:
        other = theirs[one.id]
        assert (one.text, one.speaker, one.split) == (other.text, other.speaker, other.split)
        samples = audio.decode(one.recording.path.read_bytes())
        assert samples.dtype == np.int16 and len(samples) == 16000
        np.testing.assert_array_equal(samples, audio.decode(other.recording))


@needs_tensorflow
@pytest.mark.filterwarnings('ignore')
def test_lazily_decoded_files_are_handed_on_as_they_are(roots):
    files, prepared = roots
    contents = {(files / CHAPTER / f'{key}.flac').read_bytes() for key in KEYS}
    assert {one.recording for one in source.open_dataset('librispeech', prepared).read('train_clean_100')} == contents


@needs_tensorflow
@pytest.mark.filterwarnings('ignore')
def test_datasets_that_are_not_there_are_told(roots, tmp_path):
    with pytest.raises(UserError, match='should hold the dataset yesno that TensorFlow Datasets has prepared, but has'):
        find_layout('tfds:yesno', roots[1])
    with pytest.raises(UserError, match='should hold the dataset librispeech that .*, but is empty'):
        find_layout('tfds:librispeech', tmp_path)


def test_tensorflow_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'tfds:librispeech needs TensorFlow: "pip install bljust-jax\[tf\]"'):
        find_layout('tfds:librispeech', tmp_path)


def test_splits_are_called_as_in_the_folder():
    theirs = (
        'train_clean100',
        'train_clean360',
        'train_other500',
        'dev_clean',
        'dev_other',
        'test_clean',
        'test_other',
    )
    assert {source._our_name(split) for split in theirs} == {
        split for split in LAYOUTS['librispeech'].splits if split.split('_')[1] in ('clean', 'other')
    }
