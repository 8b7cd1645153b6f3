"""From a user's table to a trained model, through the commands' own functions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bljust_jax.config import from_config_dict
from bljust_jax.data import dataset
from bljust_jax.data.corpora.smoke import SMOKE
from bljust_jax.errors import UserError
from bljust_jax.prepare import prepare_corpus
from bljust_jax.train import train
from configs.conformer import get_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def whistles(tmp_path_factory) -> Path:
    """Tables of whistled letters for each split, and a folder of those without transcripts."""
    folder = tmp_path_factory.mktemp('whistles')
    rows = {split: ['path,text,speaker'] for split in SMOKE.splits}
    for utterance in SMOKE.utterances({}):
        path = folder / utterance.split / f'{utterance.id}.wav'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(utterance.recording)
        rows[utterance.split].append(f'{path.relative_to(folder)},{utterance.text},{utterance.speaker}')
    for split, lines in rows.items():
        (folder / f'{split}.csv').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.fixture(scope='module')
def data_dir(whistles, tmp_path_factory) -> Path:
    """The same, prepared with the command."""
    folder = tmp_path_factory.mktemp('data')
    sources = {'labelled': 'train_labelled.csv', 'unlabelled': 'train_unlabelled', 'dev': 'dev.csv', 'test': 'test.csv'}
    flags = [f'--{flag}={whistles / name}' for flag, name in sources.items()]
    command = [sys.executable, '-m', 'bljust_jax.prepare', '--name=whistles', f'--data_dir={folder}', *flags]
    result = subprocess.run([*command, '--tokenizer=char'], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'whistles is ready in' in result.stdout and 'train_unlabelled' in result.stdout
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.splitlines()[:6] == result.stdout.splitlines()[:6]
    return folder


def test_content(data_dir):
    for split in SMOKE.splits:
        found = {record['text'] for record in dataset.load_split(data_dir, 'whistles', split).source}
        wanted = {utterance.text or '' for utterance in SMOKE.utterances({}) if utterance.split == split}
        assert found == wanted
    assert dataset.splits_of(data_dir, 'whistles') == list(SMOKE.splits)


@pytest.mark.standard_dtypes
def test_training(data_dir, tmp_path):
    config = get_config('smoke')
    config.data.corpus, config.data.data_dir = 'whistles', os.fspath(data_dir)
    config.strategy.labelled_steps = config.strategy.explore_steps = config.strategy.finetune_steps = 2
    train(from_config_dict(config.to_dict()), tmp_path / 'run')
    assert json.loads((tmp_path / 'run' / 'summary.json').read_text())


def test_what_is_there_is_listed(data_dir, tmp_path):
    assert prepare_corpus('whistles', data_dir) == data_dir / 'whistles' / '1.0.0'
    with pytest.raises(UserError, match=r"corpus='wistles' is unknown: .*\(there: whistles\)"):
        prepare_corpus('wistles', data_dir)
    with pytest.raises(UserError, match=r'\(there: nothing\)'):
        dataset.load_split(tmp_path, 'whistles', 'dev')
    with pytest.raises(UserError, match="whistles has no split 'dev_other': choose one of train_labelled"):
        dataset.load_split(data_dir, 'whistles', 'dev_other')


def test_damaged_corpus_names_its_command(data_dir, tmp_path):
    import shutil

    shutil.copytree(data_dir, tmp_path / 'copy')
    (tmp_path / 'copy' / 'whistles' / '1.0.0' / 'dev.lengths.npz').unlink()
    with pytest.raises(UserError, match='is damaged .*prepare --name=whistles --labelled=.*train_labelled.csv'):
        dataset.load_split(tmp_path / 'copy', 'whistles', 'dev')
