"""The real corpora against reference extractions (TSV: id, transcript, speaker, split, seconds)."""

import csv
import os
from pathlib import Path

import pytest

from bljust_jax import prepare
from bljust_jax.data import dataset
from bljust_jax.data.corpora import CORPORA

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1200)]

DEFAULT_FOLDER = Path(__file__).parents[2].parent / 'shared' / 'corpora'


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """`BLJUST_DATA_DIR` if set, whose downloads are reused, else a temporary folder."""
    chosen = os.environ.get('BLJUST_DATA_DIR')
    return Path(chosen) if chosen else tmp_path_factory.mktemp('corpora')


@pytest.mark.parametrize('name', ['phone_prompts', 'amazon_queen'])
def test_matches_the_reference(name, data_dir):
    path = Path(os.environ.get('BLJUST_REFERENCE_TSVS', DEFAULT_FOLDER)) / f'{name}.tsv'
    if not path.is_file():
        pytest.skip(f'no reference at {path}: set BLJUST_REFERENCE_TSVS to the folder that holds it')
    with path.open(encoding='utf-8', newline='') as file:
        reference = {row['id']: row for row in csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE)}
    prepare.prepare_corpus(name, data_dir)
    found = {}
    for split_name in CORPORA[name].splits:
        split = dataset.load_split(data_dir, name, split_name)
        assert len(set(split.ids.tolist())) == len(split)
        for index in range(len(split)):
            record = split.source[index]
            assert record['id'] == split.ids[index] and len(record['audio']) == split.samples[index]
            assert len(record['text']) == split.characters[index]
            if record['text']:
                found[record['id']] = (record['text'], record['speaker'], split_name, len(record['audio']) / 16000)
    assert found.keys() == reference.keys()
    for identity, row in reference.items():
        text, speaker, split_name, seconds = found[identity]
        assert (text, speaker, split_name) == (row['transcript'], row['speaker'], row['split']), identity
        assert abs(seconds - float(row['seconds'])) < 0.02, identity
