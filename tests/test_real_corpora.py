"""The presets on the real corpora they are made for: batches with little padding, and a short training."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from bljust_jax.config import StrategyConfig
from bljust_jax.prepare import prepare_corpus
from bljust_jax.streams import plan_stream
from bljust_jax.train import train
from configs import conformer

pytestmark = [pytest.mark.corpus, pytest.mark.slow, pytest.mark.standard_dtypes, pytest.mark.timeout(1800)]


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """`BLJUST_DATA_DIR` if set, whose downloads are reused, else a temporary folder."""
    chosen = os.environ.get('BLJUST_DATA_DIR')
    return Path(chosen) if chosen else tmp_path_factory.mktemp('corpora')


def preset(name, data_dir, **overrides):
    config = conformer.PRESETS[name]()
    return dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=str(data_dir)), **overrides)


@pytest.mark.parametrize('name', ['mini', 'amazon_queen', 'synthetic_voices'])
@pytest.mark.parametrize('level', ['sup', 'unsup'])
def test_batches_are_mostly_speech(name, level, data_dir):
    config = preset(name, data_dir)
    prepare_corpus(config.data.corpus, data_dir)
    _, plan = plan_stream(config, level)
    assert plan.padding_efficiency() >= 0.85
    assert len(plan.shapes) <= 3


def test_a_short_training_learns(data_dir, tmp_path):
    mini = conformer.mini()
    config = preset(
        'mini',
        data_dir,
        strategy=StrategyConfig(labelled_steps=40, explore_steps=10, finetune_steps=10, cycles=1),
        optimizer=dataclasses.replace(mini.optimizer, warmup_steps=20),
        eval=dataclasses.replace(mini.eval, every_steps=50),
        log_every_steps=10,
    )
    summary = train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    supervised = [line['loss/sup'] for line in lines if 'loss/sup' in line]
    unsupervised = [line['loss/unsup'] for line in lines if 'loss/unsup' in line]
    assert supervised[-1] < 0.8 * supervised[0]
    assert unsupervised[-1] < 0.95 * unsupervised[0]
    assert summary['splits']['test']['utterances'] == 106
    assert (tmp_path / 'report.html').stat().st_size > 10_000
