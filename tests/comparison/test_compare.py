"""The command as whole processes: what a user types, mistypes and kills."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runs import ROOT, TINY, Run

pytest_plugins = ['tests.run_fixtures']

TINY_FLAGS = [f'--config.{name}={value}' for name, value in TINY.items()]
COMMAND = ['-m', 'bljust_jax.compare', '--config=configs/conformer.py:smoke', *TINY_FLAGS]
GRID = ['--strategies=supervised,bl_just', '--seeds=0,1']


@pytest.mark.parametrize(
    ('flags', 'fragments'),
    [
        (['--strategies=bl_jst'], ["no 'bl_jst'", 'bl_just, tl_sud, supervised']),
        ([], ['--strategies names what is to be compared', 'bl_just, tl_sud']),
        (['--strategies=bl_just', '--sweep=levels.unsup.gama_max=1'], ['bl_just gama_max=1', 'did you mean']),
        (
            ['--strategies=bl_just', '--config.strategy.name=joint'],
            ["strategy.name is set by 'bl_just' and by --config"],
        ),
        (['--strategies=bl_just', '--shard=0/2'], ['--shard is written i/n']),
    ],
)
def test_mistaken_flags(run_process: Run, tmp_path: Path, flags: list[str], fragments: list[str]):
    result = run_process(*COMMAND, f'--workdir={tmp_path / "comparison"}', *flags)
    assert result.returncode == 2 and 'Traceback' not in result.stderr, result.stderr
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith('error: ') and all(fragment in sentence for fragment in fragments)
    assert not (tmp_path / 'comparison').exists()


def results(workdir: Path) -> dict[str, Any]:
    """`results.json` without the time that it took."""
    found = json.loads((workdir / 'results.json').read_text())
    for cell in found['cells']:
        assert cell['budget'].pop('wall_seconds') > 0
    return found


@pytest.mark.slow
def test_killed_and_started_again_it_is_the_same_comparison(
    run_process: Run, environment: dict[str, str], tmp_path: Path
):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    result = run_process(*COMMAND, *GRID, f'--workdir={whole}')
    assert result.returncode == 0, result.stdout + result.stderr
    expected = results(whole)
    assert [cell['state'] for cell in expected['cells']] == ['finished'] * 4 and len(expected['rows']) == 8
    assert '</html>' in (whole / 'report.html').read_text() and '## test' in result.stdout

    command = [sys.executable, *COMMAND, *GRID, f'--workdir={killed}']
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        metrics, end = killed / 'runs' / 'bl_just' / 'seed_0' / 'metrics.jsonl', time.monotonic() + 400
        while not (metrics.exists() and '"step": 5' in metrics.read_text()):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (killed / 'results.json').exists()
    result = run_process(*COMMAND, *GRID, f'--workdir={killed}')
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'supervised, seed 0: finished before' in result.stdout
    assert results(killed) == expected
    for path in (whole / 'trn').rglob('*.trn'):
        assert (killed / path.relative_to(whole)).read_text() == path.read_text()
