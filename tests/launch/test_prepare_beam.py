"""A corpus of Beam's shards is the one of the pool's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bljust_jax.data.preparing.plan import plan
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shard_files import read_shard, write_shard_file
from bljust_jax.data.utterance import AudioFile, Utterance
from bljust_jax.errors import UserError
from tests.data.fakes import sound


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = ['audio,text,start,seconds']
    for number in range(5):
        (tmp_path / f'{number}.wav').write_bytes(sound(2 + number / 10))
        rows += [f'{number}.wav,good day,0.5,{1 + number / 10}']
    (tmp_path / 'broken.wav').write_bytes(b'RIFF')
    path = tmp_path / 'train.csv'
    path.write_text('\n'.join([*rows, 'broken.wav,hello,,', 'missing.wav,hello,,']))
    return path


def prepare(program: str, manifest: Path, data_dir: Path, *options: str) -> Path:
    command = [sys.executable, '-m', program, '--name=calls', f'--labelled={manifest}', f'--data_dir={data_dir}']
    result = subprocess.run(
        [*command, '--max_rejected=0.5', *options],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(Path.cwd())},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert 'rejected in train_labelled: 1 for "not audio"' in result.stdout
    return data_dir / 'calls' / '1.0.0'


def test_beam_makes_the_same_corpus(manifest: Path, tmp_path: Path):
    pytest.importorskip('apache_beam')
    pool = prepare('bljust_jax.prepare', manifest, tmp_path / 'pool', '--workers=1')
    beam = prepare('launch.prepare_beam', manifest, tmp_path / 'beam', '--beam=runner=DirectRunner')
    names = sorted(path.name for path in pool.iterdir())
    assert names == sorted(path.name for path in beam.iterdir()) and 'rejected.jsonl' in names
    for name in ('checksums.json', 'rejected.jsonl', 'train_labelled.lengths.npz', 'preparation.json'):
        assert (pool / name).read_bytes() == (beam / name).read_bytes()
    assert {path.name for path in (tmp_path / 'beam').iterdir() if path.is_dir()} == {'calls'}


def test_a_shard_is_read_as_it_was_written(tmp_path: Path):
    records = [
        Utterance('a', AudioFile(tmp_path / 'ä.wav', 1.5, None, 1), 'grüße', 'eve', 'dev'),
        Utterance('b', AudioFile(tmp_path / 'b.wav', seconds=0.1), None, '', 'dev'),
        Rejection('c', 'dev', 'list.csv', Reason.MISSING, 'c.wav'),
    ]
    (shard,) = plan(records, Rules())
    assert read_shard(write_shard_file(tmp_path, shard)) == shard


def test_recordings_that_are_in_no_file_stay_on_one_machine(tmp_path: Path):
    (shard,) = plan([Utterance('a', b'RIFF', 'hello', '', 'dev')], Rules())
    with pytest.raises(UserError, match='a is not in a file'):
        write_shard_file(tmp_path, shard)
