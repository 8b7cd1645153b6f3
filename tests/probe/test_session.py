import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from bljust_jax.data.dataset import load_split
from bljust_jax.errors import UserError
from bljust_jax.evaluate import restore_best_params
from bljust_jax.features import log_mel
from bljust_jax.models import encode
from bljust_jax.probe import load_encoder, outputs_of, probe_run
from bljust_jax.sharding import make_mesh
from tests.runs import STEPS, Run

pytest_plugins = ['tests.run_fixtures']


def test_the_command_prints_and_writes_a_score_for_each_layer(whole_run: Path, run_process: Run, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    result = run_process('-m', 'bljust_jax.probe', f'--workdir={workdir}', '--steps=3', '--checkpoint=latest')
    assert result.returncode == 0, result.stderr
    assert 'Layer 1: loss' in result.stderr
    assert 'train loss  dev loss' in result.stdout
    written = json.loads((workdir / 'probe_latest.json').read_text())
    assert (written['checkpoint'], written['step'], written['steps']) == ('latest', STEPS, 3)
    assert [layer['layer'] for layer in written['layers']] == [0, 1]
    for layer in written['layers']:
        assert layer['width'] == 16
        assert f'{layer["layer"]:>5}     16  {layer["train_loss"]:>10.3f}  {layer["loss"]:>8.3f}' in result.stdout
    again = run_process('-m', 'bljust_jax.probe', f'--workdir={workdir}', '--checkpoint=5')
    assert again.returncode == 2 and 'There is no checkpoint 5' in again.stderr and '14' in again.stderr


@pytest.mark.standard_dtypes
def test_the_last_layer_is_what_heads_see(whole_run: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    trained = load_encoder(whole_run)
    system, config = trained.system, trained.system.config
    outputs = outputs_of(trained, 'dev', 'last')
    (last,) = outputs.layers.values()
    step, params = restore_best_params(whole_run, system, make_mesh(config.mesh))
    assert step == trained.step
    split = load_split(data_dir, 'smoke', 'dev')
    assert sorted(text for rows in outputs.texts for text in rows if text) == sorted(
        split.source[index]['text'] for index in range(len(split))
    )
    index = next(i for i in range(len(split)) if split.source[i]['text'] == outputs.texts[0][0])
    audio = split.source[index]['audio']
    features, lengths = log_mel(audio[None], np.array([len(audio)], np.int32), config.log_mel)
    hidden, lengths = encode(system.encoder, jax.device_get(params), features, lengths, dtype='float32')
    (length,) = np.asarray(lengths)
    assert outputs.lengths[0][0] == length
    np.testing.assert_allclose(last[0][0, :length], hidden[0, :length], atol=1e-4)
    assert not last[0][0, length:].any()
    assert len(outputs.frames(1)) == sum(rows.sum() for rows in outputs.lengths)


@pytest.mark.standard_dtypes
def test_the_initial_encoder_is_another_one(whole_run: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    initial, best = load_encoder(whole_run, 'initial'), load_encoder(whole_run)
    assert initial.step == 0
    assert jax.tree.structure(initial.params) == jax.tree.structure(best.params)
    drifts = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (initial.params, best.params)), strict=True)]
    assert 0 < max(drifts) < 0.1


@pytest.mark.standard_dtypes
def test_so_many_hours_are_taken_and_no_more(whole_run: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    initial = load_encoder(whole_run, 'initial')
    hours = load_split(data_dir, 'smoke', 'dev').hours
    assert outputs_of(initial, 'dev', 'last', 2 * hours).hours == hours
    assert hours / 2 <= outputs_of(initial, 'dev', 'last', hours / 2).hours < hours
    other = load_split(data_dir, 'smoke', 'test').hours
    assert outputs_of(initial, 'dev*2,smoke/test', 'last').hours == pytest.approx(hours + other)


@pytest.mark.standard_dtypes
def test_untranscribed_speech_is_no_use(whole_run: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    with pytest.raises(UserError, match='no transcripts'):
        outputs_of(load_encoder(whole_run, 'initial'), 'train_unlabelled')


def test_where_there_is_no_run_it_says_so(tmp_path: Path):
    with pytest.raises(UserError, match='There is no run'):
        probe_run(tmp_path)
