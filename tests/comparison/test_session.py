"""Sittings of a comparison, with cells that only write the files of a run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bljust_jax.comparison import runner, session, statistics
from bljust_jax.comparison.arms import Sweep, arm_config, compare
from bljust_jax.comparison.plan import unused
from bljust_jax.comparison.reading import load_outcome
from bljust_jax.comparison.session import run_session
from bljust_jax.config import to_config_dict, with_overrides
from bljust_jax.errors import UserError
from bljust_jax.strategies import STRATEGIES
from configs import conformer
from tests.runs import ROOT

pytestmark = pytest.mark.standard_dtypes
pytest_plugins = ['tests.run_fixtures']

FAKE = ROOT / 'tests' / 'comparison' / 'fake_cell.py'
GAMMA = 'levels.unsup.gamma_max'
KNOWN = {name: {'strategy.name': name} for name in STRATEGIES}
# A sitting in a process of its own, with such cells.
PROCESS = """
import runpy, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from bljust_jax.comparison import runner
runner.CELL = (sys.argv.pop(1),)
runpy.run_module('bljust_jax.compare', run_name='__main__')
"""


@pytest.fixture(autouse=True)
def fake_cells(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, 'CELL', (str(FAKE),))
    monkeypatch.setattr(statistics, 'RESAMPLES', 199)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))


def comparison(names=('supervised', 'bl_just'), seeds=('0', '1'), **more):
    return compare('conformer.py:smoke', conformer.smoke(), {}, known=KNOWN, names=names, seeds=seeds, **more)


def calls(workdir: Path) -> list[dict]:
    path = workdir / 'calls.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def results(workdir: Path) -> dict:
    return json.loads((workdir / 'results.json').read_text())


def test_results_are_those_of_the_frame(tmp_path: Path, capsys):
    assert run_session(comparison(), tmp_path) == 0
    found = results(tmp_path)
    about = {name: found[name] for name in ('config', 'corpus', 'match', 'reference', 'select', 'seeds', 'sweep')}
    assert about == {
        'config': 'conformer.py:smoke',
        'corpus': 'smoke',
        'match': 'labelled_hours',
        'reference': 'bl_just',
        'select': 'cer/dev',
        'seeds': [0, 1],
        'sweep': None,
    }
    assert [(cell['arm'], cell['seed']) for cell in found['cells']] == [
        ('supervised', 0), ('supervised', 1), ('bl_just', 0), ('bl_just', 1),
    ]  # fmt: skip
    cell = found['cells'][0]
    assert cell['dev'].keys() == {'wer', 'cer', 'utterances', 'words'} and cell['test']['utterances'] == 12
    assert (cell['strategy'], cell['state'], cell['error'], cell['best_step']) == ('supervised', 'finished', None, 7)
    assert cell['run'] == 'runs/supervised/seed_0' and cell['overrides'] == {'strategy.name': 'supervised'}
    assert cell['budget'].keys() == {'steps', 'labelled_hours', 'unlabelled_hours', 'flops', 'wall_seconds'}
    rows = {(row['arm'], row['split'], row['metric']): row for row in found['rows']}
    assert rows.keys() == {
        (a, s, m) for a in ('supervised', 'bl_just') for s in ('dev', 'test') for m in ('cer', 'wer')
    }
    # The seeds get 3.5 and 4.5, or 1.5 and 2.5, of 10 letters wrong.
    row = rows['supervised', 'test', 'cer']
    assert row['mean'] == pytest.approx(0.4) and row['std'] == pytest.approx(0.1 / 2**0.5)
    assert row['against']['difference'] == pytest.approx(0.2) and row['against']['relative'] == pytest.approx(1.0)
    assert row['against']['seeds'] == [0, 1]
    assert row['against']['seed_interval'] == pytest.approx([0.2, 0.2])
    assert row['against']['p_holm'] == row['against']['p'] <= 0.01 and len(row['against']['interval']) == 2
    assert rows['bl_just', 'test', 'cer']['against'] is None
    trn = tmp_path / 'trn' / 'bl_just' / 'seed_1'
    assert {path.name for path in trn.iterdir()} == {f'{s}.{k}.trn' for s in ('dev', 'test') for k in ('ref', 'hyp')}
    table = (tmp_path / 'results.md').read_text()
    assert '## test' in table and '40.00 ± 7.07' in table and '+20.00' in table and table in capsys.readouterr().out


def test_what_has_finished_is_not_run_again(tmp_path: Path, capsys):
    assert run_session(comparison(seeds=('0',)), tmp_path) == 0
    before = (tmp_path / 'results.json').read_text()
    assert run_session(comparison(seeds=('0',)), tmp_path) == 0
    assert len(calls(tmp_path)) == 2 and (tmp_path / 'results.json').read_text() == before
    assert 'bl_just, seed 0: finished before' in capsys.readouterr().out


def test_shards_share_the_cells(tmp_path: Path):
    whole = comparison(('supervised', 'joint', 'bl_just'), ('0',))
    run_session(whole, tmp_path, shard=(2, 2))
    assert [call['run'] for call in calls(tmp_path)] == ['runs/joint/seed_0']
    assert [cell['state'] for cell in results(tmp_path)['cells']] == ['unfinished', 'finished', 'unfinished']
    run_session(whole, tmp_path, only_results=True)
    assert len(calls(tmp_path)) == 1
    run_session(whole, tmp_path, shard=(1, 2))
    assert [cell['state'] for cell in results(tmp_path)['cells']] == ['finished'] * 3
    assert len(calls(tmp_path)) == 3


def test_failures_are_told_and_the_others_go_on(tmp_path: Path, monkeypatch, capsys):
    names = ('supervised', 'pretrain_finetune', 'joint', 'bl_just', 'tl_sud')
    whole = comparison(names[:4], ('0', '1'))
    failing = {'supervised': 'stop', 'joint': 'kill', 'bl_just': 'crash'}
    monkeypatch.setenv('FAKE', json.dumps({'fail': {f'runs/{name}/seed_0': how for name, how in failing.items()}}))
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'pretrain_finetune').write_text('in the way')
    assert run_session(whole, tmp_path) == 1
    cells = {cell['run']: cell for cell in results(tmp_path)['cells']}
    errors = {run: cell['error'] for run, cell in cells.items() if cell['state'] == 'failed'}
    assert errors['runs/supervised/seed_0'] == 'A guard has stopped it.'
    assert 'SIGKILL' in errors['runs/joint/seed_0'] and 'log.txt' in errors['runs/joint/seed_0']
    assert 'RuntimeError: no such thing (exit code 1)' in errors['runs/bl_just/seed_0']
    assert 'pretrain_finetune' in errors['runs/pretrain_finetune/seed_0'] and len(errors) == 5
    assert all(cells[f'runs/{name}/seed_1']['state'] == 'finished' for name in failing)
    assert 'supervised, seed 0: failed after' in capsys.readouterr().out
    # Another sitting keeps in mind what it did not try itself, and tries its own again.
    (tmp_path / 'runs' / 'pretrain_finetune').unlink()
    monkeypatch.delenv('FAKE')
    assert run_session(whole, tmp_path, shard=(1, 8)) == 0
    states = {cell['run']: cell['state'] for cell in results(tmp_path)['cells']}
    assert states['runs/supervised/seed_0'] == 'finished' and states['runs/joint/seed_0'] == 'failed'


def test_a_sweep_scores_test_for_the_values_that_dev_chooses_alone(tmp_path: Path):
    swept = comparison(sweep=Sweep(GAMMA, (0.3, 0.1, 0.4)))
    run_session(swept, tmp_path, shard=(1, 2))
    assert {tuple(call['splits']) for call in calls(tmp_path)} == {('dev',)}
    assert results(tmp_path)['sweep']['chosen'] == {'supervised': None, 'bl_just': None}
    assert not any(row['split'] == 'test' for row in results(tmp_path)['rows'])
    run_session(swept, tmp_path, shard=(2, 2))
    tested = sorted(call['run'] for call in calls(tmp_path) if 'test' in call['splits'])
    assert tested == [f'runs/{name}_gamma_max=0.1/seed_{seed}' for name in ('bl_just', 'supervised') for seed in (0, 1)]
    found = results(tmp_path)
    assert found['reference'] == 'bl_just gamma_max=0.1'
    assert found['sweep']['chosen'] == {name: f'{name} gamma_max=0.1' for name in ('supervised', 'bl_just')}
    assert {row['arm'] for row in found['rows'] if row['split'] == 'test'} == {*found['sweep']['chosen'].values()}
    assert len({row['arm'] for row in found['rows'] if row['split'] == 'dev'}) == 6
    assert sum('test' in cell for cell in found['cells']) == 4
    run_session(swept, tmp_path)
    assert len(calls(tmp_path)) == 12 + 4


def test_a_value_that_fails_is_not_chosen(tmp_path: Path, monkeypatch):
    monkeypatch.setenv('FAKE', json.dumps({'fail': {'runs/bl_just_gamma_max=0.1/seed_1': 'stop'}}))
    assert run_session(comparison(('bl_just',), sweep=Sweep(GAMMA, (0.3, 0.1))), tmp_path) == 1
    assert results(tmp_path)['sweep']['chosen'] == {'bl_just': 'bl_just gamma_max=0.3'}


def test_mistakes_are_told_before_anything_is_run(tmp_path: Path, data_dir: Path, monkeypatch):
    with pytest.raises(UserError, match='^tl_sud: .*config.levels.distill.objective needs a teacher'):
        run_session(comparison(('supervised', 'tl_sud')), tmp_path)
    with pytest.raises(UserError, match='^supervised gama_max=1: There is no config field'):
        run_session(comparison(sweep=Sweep('levels.unsup.gama_max', (1,))), tmp_path)
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    much = with_overrides(conformer.smoke(), {'data.labelled_hours': 9.0})
    with pytest.raises(UserError, match='^supervised: config.data.labelled_hours=9 is more than'):
        run_session(compare('x.py', much, {}, known={'supervised': {}}, names=['supervised'], seeds=('0',)), tmp_path)
    folder = tmp_path / 'runs' / 'bl_just' / 'seed_1'
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(to_config_dict(conformer.smoke()).to_dict()))
    with pytest.raises(UserError, match='bl_just, seed 1: .*different config .config.seed was 0 and is 1'):
        run_session(comparison(), tmp_path)
    assert not calls(tmp_path)


def test_arms_that_come_to_the_same_run_are_told(tmp_path: Path):
    taught = comparison(('pseudo_label',), sweep=Sweep('levels.unsup.objective', ('best_rq', 'wav2vec2')))
    with pytest.raises(UserError, match="'pseudo_label objective=best_rq' and .*=wav2vec2' are the same run"):
        run_session(taught, tmp_path)
    longer = {f'strategy.{name}_steps': steps for name, steps in (('labelled', 80), ('explore', 16), ('finetune', 20))}
    lengths = {'whole': {}, 'twice': longer}
    matched = compare('x.py', conformer.smoke(), {}, known=lengths, names=list(lengths), seeds=('0',), match='steps')
    with pytest.raises(UserError, match="'whole' and 'twice' are the same run"):
        run_session(matched, tmp_path)
    assert not calls(tmp_path)


def test_a_sweep_without_effect_on_an_arm_is_noted(tmp_path: Path, capsys):
    names = ('supervised', 'pretrain_finetune', 'bl_just', 'joint', 'alternating')

    def notes(field, *values):
        swept = comparison(names, sweep=Sweep(field, values))
        return unused(swept, {arm.label: arm_config(swept, arm) for arm in swept.arms})

    run_session(comparison(('supervised',), sweep=Sweep(GAMMA, (0.3, 0.1))), tmp_path, only_results=True)
    assert capsys.readouterr().out.startswith(f'Note: no step of supervised uses config.{GAMMA}: ')
    assert notes(GAMMA, 0.3, 0.1) == [
        f'Note: no step of {name} uses config.{GAMMA}: all of its values are the same run.'
        for name in ('supervised', 'pretrain_finetune', 'alternating')
    ]
    assert ['supervised' in note for note in notes('levels.unsup.learning_rate', 0.1, 0.2)] == [True]
    assert notes('optimizer.learning_rate', 0.1, 0.2) == []


def test_hypotheses_of_another_decoder_are_no_results(tmp_path: Path):
    run_session(comparison(('bl_just',), ('0',)), tmp_path)
    path = tmp_path / 'runs' / 'bl_just' / 'seed_0' / 'hypotheses' / 'test.jsonl'
    path.write_text(path.read_text().replace('efghij"}', 'efghijk"}', 1).replace('cdefghij', 'x', 1))
    with pytest.raises(UserError, match=r'test\.jsonl is not what the run ended with'):
        run_session(comparison(('bl_just',), ('0',)), tmp_path)


def start(workdir: Path, **fake) -> subprocess.Popen:
    flags = [
        '--config=configs/conformer.py:smoke',
        '--strategies=supervised,joint',
        '--seeds=0',
        f'--workdir={workdir}',
    ]
    return subprocess.Popen(
        [sys.executable, '-c', PROCESS, str(FAKE), *flags],
        env=os.environ | {'FAKE': json.dumps(fake)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, text: str) -> None:
    end = time.monotonic() + 300
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f'{path} never held {text!r}'
        time.sleep(0.05)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_the_running_cell_saves_and_the_rest_waits(tmp_path: Path, number: int):
    process = start(tmp_path, sleep={'runs/supervised/seed_0': 300})
    log = tmp_path / 'runs' / 'supervised' / 'seed_0' / 'log.txt'
    wait_for(log, 'sleeping')
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert f'run the same command with --workdir={tmp_path}' in output and 'Traceback' not in output
    assert log.read_text().count('saved') == 1 and [call['run'] for call in calls(tmp_path)] == [
        'runs/supervised/seed_0'
    ]
    assert [cell['state'] for cell in results(tmp_path)['cells']] == ['unfinished', 'unfinished']


def test_interrupted_the_failures_until_then_are_written(tmp_path: Path):
    process = start(tmp_path, fail={'runs/supervised/seed_0': 'stop'}, sleep={'runs/joint/seed_0': 300})
    wait_for(tmp_path / 'runs' / 'joint' / 'seed_0' / 'log.txt', 'sleeping')
    process.send_signal(signal.SIGHUP)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert 'saved' in (tmp_path / 'runs' / 'joint' / 'seed_0' / 'log.txt').read_text()
    assert [(cell['state'], cell['error']) for cell in results(tmp_path)['cells']] == [
        ('failed', 'A guard has stopped it.'), ('unfinished', None),
    ]  # fmt: skip


def test_what_another_shard_tells_meanwhile_is_kept(tmp_path: Path, monkeypatch):
    whole = comparison(('supervised', 'joint'), ('0',))
    monkeypatch.setenv('FAKE', json.dumps({'fail': {'runs/joint/seed_0': 'stop'}}))
    run = session.run_jobs

    def with_another_shard(jobs, workdir, tried):
        monkeypatch.setattr(session, 'run_jobs', run)
        run(jobs, workdir, tried)
        assert run_session(whole, tmp_path, shard=(2, 2)) == 1

    monkeypatch.setattr(session, 'run_jobs', with_another_shard)
    assert run_session(whole, tmp_path, shard=(1, 2)) == 0
    assert [(cell['state'], cell['error']) for cell in results(tmp_path)['cells']] == [
        ('finished', None), ('failed', 'A guard has stopped it.'),
    ]  # fmt: skip


def test_a_cell_that_another_process_finishes_first_is_not_run_again(tmp_path: Path, monkeypatch, capsys):
    whole, alone = comparison(('supervised',), ('0',)), runner.locked

    @contextlib.contextmanager
    def after_another(folder, *, wait):
        monkeypatch.setattr(runner, 'locked', alone)
        assert run_session(whole, tmp_path) == 0
        with alone(folder, wait=wait) as free:
            yield free

    monkeypatch.setattr(runner, 'locked', after_another)
    assert run_session(whole, tmp_path) == 0
    assert len(calls(tmp_path)) == 1 and 'finished meanwhile by another process' in capsys.readouterr().out


def test_what_the_system_refuses_is_told_with_or_without_a_file():
    assert runner._told(OSError(28, 'No space left on device')) == 'No space left on device'
    assert runner._told(OSError(13, 'Permission denied', 'x/log.txt')) == 'Permission denied: x/log.txt'


def test_a_failed_scoring_is_kept_in_mind(tmp_path: Path, monkeypatch):
    swept = comparison(('bl_just',), ('0',), sweep=Sweep(GAMMA, (0.3, 0.1)))
    run_session(swept, tmp_path, shard=(1, 2))
    monkeypatch.setenv('FAKE', json.dumps({'fail': {'runs/bl_just_gamma_max=0.1/seed_0': 'after dev'}}))
    assert run_session(swept, tmp_path) == 1
    run_session(swept, tmp_path, only_results=True)
    assert {cell['arm']: cell['error'] for cell in results(tmp_path)['cells']} == {
        'bl_just gamma_max=0.3': None, 'bl_just gamma_max=0.1': 'Scoring has stopped.',
    }  # fmt: skip
    monkeypatch.delenv('FAKE')
    assert run_session(swept, tmp_path) == 0 and not any(cell['error'] for cell in results(tmp_path)['cells'])


def test_a_sweep_that_grows_leaves_no_old_choice_behind(tmp_path: Path):
    run_session(comparison(('bl_just',), ('0',), sweep=Sweep(GAMMA, (0.3, 0.4))), tmp_path)
    old = 'bl_just gamma_max=0.3'
    assert load_outcome(tmp_path).runs[old, 0].hypotheses.keys() == {'dev', 'test'}
    run_session(comparison(('bl_just',), ('0',), sweep=Sweep(GAMMA, (0.3, 0.4, 0.1))), tmp_path)
    runs = load_outcome(tmp_path).runs
    assert runs[old, 0].hypotheses.keys() == {'dev'}
    assert runs['bl_just gamma_max=0.1', 0].hypotheses.keys() == {'dev', 'test'}
    assert {path.parts[-3] for path in (tmp_path / 'trn').rglob('test.hyp.trn')} == {'bl_just_gamma_max=0.1'}


def test_two_sittings_are_not_at_one_cell(tmp_path: Path, capsys):
    process = start(tmp_path, sleep={'runs/supervised/seed_0': 300})
    wait_for(tmp_path / 'runs' / 'supervised' / 'seed_0' / 'log.txt', 'sleeping')
    assert run_session(comparison(('supervised', 'joint'), ('0',)), tmp_path) == 0
    assert 'supervised, seed 0: passed over, as another process is at it' in capsys.readouterr().out
    assert [cell['state'] for cell in results(tmp_path)['cells']] == ['unfinished', 'finished']
    process.terminate()
    process.communicate(timeout=300)


def test_a_cell_does_not_outlive_its_parent(tmp_path: Path):
    command = [sys.executable, '-m', 'bljust_jax.comparison.cell', str(tmp_path / 'run')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as process:
        process.stdin.write(json.dumps(to_config_dict(conformer.smoke()).to_dict()).encode() + b'\n')
        process.stdin.close()
        assert process.wait(timeout=300) == -signal.SIGKILL
    assert not (tmp_path / 'run' / 'summary.json').exists()
