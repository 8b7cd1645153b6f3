import json
from pathlib import Path

import numpy as np
import pytest

from bljust_jax import figures, toy
from bljust_jax.config import StrategyConfig
from bljust_jax.probe import Score

matplotlib = pytest.importorskip('matplotlib')
matplotlib.use('agg')


@pytest.fixture
def ax():
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    yield ax
    figure.canvas.draw()  # whatever was asked for can be drawn
    pyplot.close(figure)


def made_run(folder: Path, gamma_max=1.0, sup=(3.0, 1.0), unsup=(4.2, 4.0)) -> Path:
    """The files of a run that are read: two windows of joint steps, then one of fine-tuning and an evaluation."""
    folder.mkdir()
    lines = [{'step': 5 * i, 'phase': 'joint', 'loss/sup': a, 'loss/unsup': b} for i, (a, b) in
             enumerate(zip(sup, unsup, strict=True), 1)]  # fmt: skip
    lines += [{'step': 20, 'phase': 'finetune', 'loss/sup': 0.5, 'loss/unsup': None}, {'step': 20, 'cer/dev': 0.25}]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'config.json').write_text(json.dumps({'levels': {'unsup': {'gamma_max': gamma_max}}}))
    splits = {'dev': {'cer': 0.25, 'wer': 0.5}, 'test': {'cer': 0.3, 'wer': 0.6}}
    (folder / 'summary.json').write_text(json.dumps({'splits': splits}))
    (folder / 'hypotheses').mkdir()
    line = {'id': 'a', 'reference': 'so it goes', 'hypothesis': 'so it', 'speaker': 's', 'seconds': 1.0}
    (folder / 'hypotheses' / 'dev.jsonl').write_text(3 * (json.dumps(line) + '\n'))
    return folder


def drawn(ax, index=0):
    return np.asarray(ax.lines[index].get_xydata()).tolist()


def test_curves_have_the_points_of_the_log(ax, tmp_path: Path):
    run = made_run(tmp_path / 'run')
    figures.curves(ax, run, ['loss/sup', 'loss/unsup'], phases=True)
    assert drawn(ax) == [[5, 3], [10, 1], [20, 0.5]]
    assert drawn(ax, 1) == [[5, 4.2], [10, 4]]
    assert [text.get_text() for text in ax.texts] == ['joint', 'finetune']
    assert [text.get_position()[0] for text in ax.texts] == [5, 15]


def test_losses_are_put_against_gamma_in_its_order(ax, tmp_path: Path):
    runs = [made_run(tmp_path / 'large', 100.0, unsup=(4.2, 3.5)), made_run(tmp_path / 'small', 0.1)]
    figures.gamma_against_loss(ax, runs)
    assert drawn(ax) == [[0.1, 0.5], [100, 0.5]]
    assert drawn(ax, 1) == [[0.1, 4.0], [100, 3.5]]


def test_a_trade_off_has_a_dot_for_each_run(ax, tmp_path: Path):
    figures.trade_off(ax, {name: made_run(tmp_path / name) for name in 'abcdefghi'})
    assert len(ax.lines) == 9 and drawn(ax) == [[4.0, 0.5]]


def test_tables_say_what_the_files_say(tmp_path: Path):
    run = made_run(tmp_path / 'run')
    assert figures.run_table({'bl_just': run}).splitlines()[2] == (
        '| bl_just | 0.500 | 4.000 | 25.0 | 50.0 | 30.0 | 60.0 |'
    )
    table = figures.transcripts(run, 'dev', 2).splitlines()
    assert len(table) == 4 and table[2] == '| so it goes | so it |'


def test_rates_show_intervals_in_percent_and_every_seed(ax):
    cells = [{'arm': 'one', 'state': 'finished', 'test': {'cer': rate}} for rate in (0.2, 0.4)]
    cells.append({'arm': 'failed', 'state': 'failed'})
    rows = [{'arm': 'one', 'split': 'test', 'metric': 'cer', 'mean': 0.3, 'interval': [0.1, 0.5]}]
    figures.rates(ax, {'select': 'cer/dev', 'cells': cells, 'rows': rows})
    assert [drawn(ax, index) for index in range(3)] == [[[10, 0], [50, 0]], [[30, 0]], [[20, 0], [40, 0]]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ['one']


def test_layers_and_probes_are_drawn(ax):
    figures.layer_heatmap(ax, np.array([[1.0, 0.25]]), 'rows', 'columns')
    assert [text.get_text() for text in ax.texts] == ['1.00', '0.25']
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('layer of columns', 'layer of rows')
    figures.probes(ax, {'run': [Score(0, 4, 1.0, 1.5, 0.5, 0.9), Score(1, 4, 0.5, 1.0, 0.25, 0.8)]})
    assert drawn(ax) == [[0, 50], [1, 25]]


def test_the_plane_is_drawn(ax):
    steps = {'labelled_steps': 3, 'explore_steps': 2, 'finetune_steps': 1, 'cycles': 1}
    journey = toy.travel(StrategyConfig(name='bl_just', **steps), gamma_max=1.0)
    figures.plane(ax, {'bl_just': journey})
    np.testing.assert_allclose(drawn(ax, 1), journey.points)
    ax.clear()
    figures.journey_levels(ax, journey)
    np.testing.assert_allclose(drawn(ax)[-1], [4, toy.upper(journey.end)], rtol=1e-6)
