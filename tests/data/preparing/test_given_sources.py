"""Manifests with audio elsewhere, and archives, on their way into a corpus."""

import json
import tarfile
from pathlib import Path

import pytest

from bljust_jax.data import dataset
from bljust_jax.data.preparing.given import prepare_manifests
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.errors import UserError
from tests.data.fakes import sound


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / 'recordings'
    folder.mkdir()
    for name in 'abc':
        (folder / f'{name}.wav').write_bytes(sound(1 + ord(name) / 100))
    return folder


def test_audio_in_another_folder(audio, tmp_path):
    (tmp_path / 'lists').mkdir()
    manifest = tmp_path / 'lists' / 'train.csv'
    manifest.write_text('path,text\na.wav,hello\nb.wav,there\n')
    found = prepare_manifests(
        'calls', {'labelled': [str(manifest)]}, Rules(), tmp_path, audio_root=str(audio), workers=0
    )
    assert found['train_labelled'].utterances == 2
    with pytest.raises(UserError, match='reject'):
        prepare_manifests('others', {'labelled': [str(manifest)]}, Rules(), tmp_path, workers=0)


def test_a_folder_in_an_archive(audio, tmp_path):
    archive = tmp_path / 'calls.tar.gz'
    with tarfile.open(archive, 'w:gz') as packed:
        packed.add(audio, 'calls')
        packed.add(audio / 'a.wav', '../a.wav')
    for _ in range(2):  # the second time, what was rejected is known though nothing is unpacked
        found = prepare_manifests(
            'calls', {'unlabelled': [str(archive)]}, Rules(), tmp_path, workers=0, max_rejected=0.5
        )
        assert found['train_unlabelled'].utterances == 3
        rows = (dataset.version_dir(tmp_path, 'calls') / 'rejected.jsonl').read_text().splitlines()
        assert [json.loads(row)['reason'] for row in rows] == ['outside the source']
    assert not (tmp_path / 'a.wav').exists()


def test_sources_are_written_as_people_do(audio, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    found = prepare_manifests('calls', {'unlabelled': ['~/recordings']}, Rules(), tmp_path, workers=0)
    assert found['train_unlabelled'].utterances == 3
    with pytest.raises(UserError, match=r'repeat the flag: --dev=a.csv --dev=b.csv\.'):
        prepare_manifests('others', {'dev': ['a.csv,b.csv']}, Rules(), tmp_path, workers=0)
