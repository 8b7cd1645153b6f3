"""The job that makes units: killed and started again it ends with the same ones, and mistakes are told."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from bljust_jax import units
from bljust_jax.build import build
from bljust_jax.config import HubertConfig, LevelConfig, LevelsConfig, TeacherConfig
from bljust_jax.data.units import load_units, save_arrays
from bljust_jax.errors import UserError
from bljust_jax.units import Source, make_units, open_source
from tests.runs import tiny_config

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

CONFIG = tiny_config(Path('nowhere'))


@pytest.fixture
def source(monkeypatch):
    """Seven batches of frames in place of a corpus; `source['stop']` is the batch before which the power fails."""
    frames = np.random.default_rng(0).normal(size=(7, 30, 3)).astype(np.float32)
    state = {'stop': None, 'started': [], 'words': 'three numbers'}

    def batches(start):
        for number in range(start, 7):
            if number == state['stop']:
                raise InterruptedError
            yield frames[number], 1.0

    def open_source(config, start):
        state['started'].append(start)
        return Source(batches(start), 7, state['words'], '')

    monkeypatch.setattr(units, 'open_source', open_source)
    monkeypatch.setattr(units, 'FIT_FRAMES', 50)  # two batches a step
    return state


@pytest.mark.parametrize('stop', [1, 3, 4, 6])
def test_killed_and_started_again_it_ends_with_the_same_units(stop, source, tmp_path):
    make_units(CONFIG, tmp_path / 'whole.npz', 5, save_every=1)
    source['stop'] = stop
    with pytest.raises(InterruptedError):
        make_units(CONFIG, tmp_path / 'killed.npz', 5, save_every=1)
    assert not (tmp_path / 'killed.npz').exists()
    source['stop'] = None
    make_units(CONFIG, tmp_path / 'killed.npz', 5, save_every=1)
    assert source['started'] == [0, 0, stop // 2 * 2]
    one, other = (load_units(tmp_path / f'{name}.npz') for name in ('whole', 'killed'))
    np.testing.assert_array_equal(one.centroids, other.centroids)
    assert one.source == other.source == 'three numbers' and one.centroids.shape == (5, 3)
    assert {path.name for path in tmp_path.iterdir()} == {'whole.npz', 'killed.npz'}


def test_other_units_are_not_mixed_up_or_written_over(source, tmp_path):
    source['stop'] = 3
    with pytest.raises(InterruptedError):
        make_units(CONFIG, tmp_path / 'a.npz', 5, save_every=1)
    source['stop'] = None
    with pytest.raises(UserError, match=r'a.npz.partial is of other units, half made'):
        make_units(CONFIG, tmp_path / 'a.npz', 6, save_every=1)
    make_units(CONFIG, tmp_path / 'a.npz', 5, save_every=1)
    made = (tmp_path / 'a.npz').read_bytes()
    make_units(CONFIG, tmp_path / 'a.npz', 5)
    assert (tmp_path / 'a.npz').read_bytes() == made
    elsewhere = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, unlabelled='another split'))
    for config, clusters in [(CONFIG, 6), (elsewhere, 5), (dataclasses.replace(CONFIG, seed=CONFIG.seed + 1), 5)]:
        with pytest.raises(UserError, match=r'a.npz holds other units: delete it'):
            make_units(config, tmp_path / 'a.npz', clusters)


def test_mistakes_are_told(source, tmp_path):
    with pytest.raises(UserError, match='--clusters=300 are more than the 210 frames of the split'):
        make_units(CONFIG, tmp_path / 'a.npz', 300)
    with pytest.raises(UserError, match='is no file in a folder that exists'):
        make_units(CONFIG, tmp_path / 'none' / 'a.npz', 3)
    (tmp_path / 'a.npz').write_text('no arrays')
    with (tmp_path / 'b.npz').open('wb') as file:
        np.save(file, np.zeros(3))
    for name in 'ab':
        with pytest.raises(UserError, match=f'{name}.npz is damaged, or not a file of arrays'):
            make_units(CONFIG, tmp_path / f'{name}.npz', 3)


def hubert(path, **options):
    levels = LevelsConfig(unsup=LevelConfig('hubert'))
    return dataclasses.replace(CONFIG, levels=levels, hubert=HubertConfig(str(path), **options))


def test_training_tells_how_to_make_the_file(tmp_path):
    with pytest.raises(UserError, match=r'config.hubert.units names no file: make one with python -m bljust_jax.units'):
        build(hubert(''), 5)
    with pytest.raises(UserError, match=r'There is no file .*none.npz. Make the file with python -m bljust_jax.units'):
        build(hubert(tmp_path / 'none.npz'), 5)
    save_arrays(tmp_path / 'other.npz', centroids=np.zeros((3, 2)), source='other', teacher='')
    with pytest.raises(UserError, match=r'other.npz are clusters of other features \(other\)'):
        build(hubert(tmp_path / 'other.npz'), 5)


def test_layers_are_those_of_another_run(tmp_path):
    config = dataclasses.replace(hubert('', layer=1), teacher=TeacherConfig(momentum=0.9))
    with pytest.raises(UserError, match='config.hubert.layer=1 is a layer of another run'):
        build(config, 5)


def test_units_of_a_corpus_are_those_that_training_uses(data_dir, tmp_path):
    """Without a transcript being read: the frames of the unlabelled split, clustered; and a level is built on them."""
    config = tiny_config(data_dir)
    made = open_source(config, 0)
    frames = [batch for batch, _ in made.batches]
    assert len(frames) == made.total and {batch.shape[1] for batch in frames} == {4 * 39}
    assert all(np.isfinite(batch).all() for batch in frames)
    rest = list(open_source(config, 1).batches)
    for (one, _), other in zip(rest, frames[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    make_units(config, tmp_path / 'units.npz', 6)
    path = str(tmp_path / 'units.npz')
    config = dataclasses.replace(
        config, levels=LevelsConfig(unsup=LevelConfig('hubert')), hubert=HubertConfig(path, dim=4)
    )
    shapes = jax.eval_shape(build(config, 5).init_params, 0)
    assert shapes['heads']['unsup']['embeddings'].shape == (6, 4)
