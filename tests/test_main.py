"""The main job as whole processes: what a user types, kills and mistypes."""

import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path

import jax
import pytest

from bljust_jax.build import build
from bljust_jax.config import MeshConfig
from bljust_jax.data.auditing.findings import Audit, Finding, Kind
from bljust_jax.evaluate import make_recognizer, open_eval_set, restore_best_params, transcribe_set
from bljust_jax.sharding import make_mesh
from bljust_jax.workdir import read_config, read_tokenizer
from tests.runs import PHASES, STEPS, Run, assert_same_bits, final_state, logged

pytest_plugins = ['tests.run_fixtures']


def assert_like(workdir: Path, whole_run: Path) -> None:
    """The run in `workdir` is the uninterrupted one, bit for bit."""
    assert logged(workdir) == logged(whole_run)
    assert_same_bits(final_state(workdir), final_state(whole_run))
    for name in ('dev', 'test'):
        path = Path('hypotheses') / f'{name}.jsonl'
        assert (workdir / path).read_text() == (whole_run / path).read_text()
    one, other = (json.loads((folder / 'summary.json').read_text()) for folder in (workdir, whole_run))
    assert one['splits'] == other['splits'] and one['best_step'] == other['best_step']


def assert_one_sentence(result, *fragments: str) -> None:
    assert result.returncode == 2, result.stderr
    assert 'Traceback' not in result.stderr
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith('error: ') and len(sentence) < 500
    for fragment in fragments:
        assert fragment in sentence


def test_a_whole_run_leaves_a_complete_folder(whole_run: Path):
    files = {path.name for path in whole_run.iterdir()}
    assert files == {
        'config.json', 'tokenizer.json', 'checkpoints', 'metrics.jsonl', 'tensorboard', 'hypotheses', 'summary.json',
        'report.html',
    }  # fmt: skip
    assert list((whole_run / 'tensorboard').glob('events.*'))
    assert {path.name for path in (whole_run / 'hypotheses').iterdir()} == {'dev.jsonl', 'test.jsonl'}
    lines = logged(whole_run)
    steps = {line['step']: line for line in lines if 'phase' in line}
    assert [steps[step]['phase'] for step in range(1, STEPS + 1)] == PHASES
    assert [line['step'] for line in lines if 'wer/dev' in line and 'cer/dev' in line] == [7, 14]
    documented = {'loss/sup', 'loss/unsup', 'gamma/unsup', 'grad_cosine/unsup', 'accuracy/unsup'}
    assert documented | {'learning_rate/encoder', 'learning_rate/sup', 'learning_rate/unsup'} <= steps[5].keys()
    assert 'loss/sup' not in steps[1] and 'loss/unsup' not in steps[14]
    gammas = [steps[step]['gamma/unsup'] for step in (4, 5, 6, 10, 11, 12)]
    assert gammas == sorted(gammas) and gammas[0] == 0 and gammas[-1] == 1
    kept = {int(path.name) for path in (whole_run / 'checkpoints').iterdir()}
    assert kept == {7, 8, 12, 14}  # the four newest of 4, 7, 8, 12 and 14, among them the best
    summary = json.loads((whole_run / 'summary.json').read_text())
    scores = {line['step']: line['cer/dev'] for line in lines if 'cer/dev' in line}
    assert summary['best_step'] == min(scores, key=scores.get)
    assert summary['splits']['dev']['cer'] == scores[summary['best_step']]
    assert summary['steps'] == STEPS and summary['splits'].keys() == {'dev', 'test'}
    assert '</html>' in (whole_run / 'report.html').read_text()


@pytest.mark.parametrize('step', [11, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_and_resumed_it_is_the_same_run(run_main: Run, whole_run: Path, tmp_path: Path, step: int):
    killed = run_main(tmp_path / 'run', signal=(signal.SIGKILL, step))
    assert killed.returncode == -signal.SIGKILL
    assert logged(tmp_path / 'run')[-1]['step'] == step and not (tmp_path / 'run' / 'summary.json').exists()
    resumed = run_main(tmp_path / 'run')
    assert resumed.returncode == 0, resumed.stderr
    assert ('Resuming' in resumed.stderr) == (step == 11)
    assert_like(tmp_path / 'run', whole_run)


@pytest.mark.slow
def test_programs_from_the_cache_give_the_same_run(run_main: Run, whole_run: Path, tmp_path: Path):
    ours = {'JAX_COMPILATION_CACHE_DIR': '', 'XDG_CACHE_HOME': str(tmp_path)}
    compiled, loaded = (run_main(tmp_path / name, **ours) for name in ('compiled', 'loaded'))
    counts = [re.search(r'(\d+) programs, (\d+) of them from the cache', run.stderr) for run in (compiled, loaded)]
    assert int(counts[0][2]) < 0.5 * int(counts[0][1]) and counts[1][1] == counts[1][2]
    assert all(re.match(r'\d\d:\d\d:\d\d ', line) for line in loaded.stderr.splitlines()), loaded.stderr
    for name in ('compiled', 'loaded'):
        assert_like(tmp_path / name, whole_run)


def test_interrupted_it_saves_and_says_how_to_resume(run_main: Run, whole_run: Path, tmp_path: Path):
    stopped = run_main(tmp_path / 'run', signal=(signal.SIGINT, 10))
    assert stopped.returncode == 130 and 'Traceback' not in stopped.stderr
    assert f'saved. To resume: run the same command with --workdir={tmp_path / "run"}' in stopped.stdout
    assert int(final_state(tmp_path / 'run').step) == 10
    resumed = run_main(tmp_path / 'run')
    assert resumed.returncode == 0 and 'at step 10.' in resumed.stderr
    assert_like(tmp_path / 'run', whole_run)


def test_a_damaged_checkpoint_is_passed_over_and_the_run_finishes(run_main: Run, whole_run: Path, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    for path in (workdir / 'checkpoints' / str(STEPS)).rglob('d/*'):
        path.write_bytes(path.read_bytes()[:100])
    result = run_main(workdir)
    assert result.returncode == 0, result.stderr
    assert f'Checkpoint {STEPS} in {workdir / "checkpoints"} is damaged' in result.stderr
    assert 'at step 12.' in result.stderr
    assert (workdir / f'damaged-checkpoint-{STEPS}').is_dir()
    assert_like(workdir, whole_run)


def test_a_finished_run_is_only_scored_again(run_main: Run, run_process: Run, whole_run: Path, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    again = run_main(workdir)
    assert again.returncode == 0 and 'is finished: nothing is trained' in again.stderr
    assert_like(workdir, whole_run)
    budgets = [json.loads((folder / 'summary.json').read_text())['budget'] for folder in (workdir, whole_run)]
    assert budgets[0] == budgets[1] and min(budgets[0].values()) > 0
    shutil.rmtree(workdir / 'hypotheses')
    evaluated = run_process('-m', 'bljust_jax.evaluate', f'--workdir={workdir}')
    assert evaluated.returncode == 0, evaluated.stderr
    assert_like(workdir, whole_run)
    splits = json.loads((workdir / 'summary.json').read_text())['splits']
    rows = {line.split()[0]: line.split()[1:3] for line in evaluated.stdout.splitlines()[1:]}
    assert rows == {name: [f'{100 * split["wer"]:.1f}', f'{100 * split["cer"]:.1f}'] for name, split in splits.items()}


@pytest.mark.standard_dtypes
def test_the_decoder_on_the_command_line(
    run_process: Run, whole_run: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its flags override the run's config, which is checked anew."""
    monkeypatch.setenv('BLJUST_DATA_DIR', str(data_dir))
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    evaluate = '-m', 'bljust_jax.evaluate', f'--workdir={workdir}', '--data=dev'
    assert_one_sentence(run_process(*evaluate, '--word_bonus=2'), '--word_bonus=2.0', '--decoder=beam')
    assert_one_sentence(run_process(*evaluate, '--ctc_weight=0.5'), '--ctc_weight', 'hybrid', 'ctc')
    result = run_process(*evaluate, '--decoder=beam', '--beam=3', '--word_bonus=5')
    assert result.returncode == 0 and [line.split()[0] for line in result.stdout.splitlines()] == ['split', 'dev']

    config, tokenizer = read_config(workdir), read_tokenizer(workdir)
    options = dataclasses.replace(config.eval, decoder='beam', beam=3, word_bonus=5.0)
    system = build(dataclasses.replace(config, eval=options), tokenizer.vocab_size)
    _, params = restore_best_params(workdir, system, make_mesh(MeshConfig(), jax.devices()[:1]))
    recognize = make_recognizer(system, tokenizer)
    expected = transcribe_set(recognize, params, open_eval_set(config, 'dev'), tokenizer, jax.device_put)
    folders = workdir, whole_run
    found, greedy = (
        [json.loads(line)['hypothesis'] for line in (folder / 'hypotheses/dev.jsonl').read_text().splitlines()]
        for folder in folders
    )
    assert found == expected != greedy


def test_a_disk_that_fills_up_during_a_checkpoint(run_main: Run, whole_run: Path, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    shutil.rmtree(workdir / 'checkpoints' / str(STEPS))
    before = final_state(workdir)
    # No file may become larger than 32 KiB, which a checkpoint's arrays need.
    result = run_main(workdir, prefix=('bash', '-c', 'ulimit -f 32; exec "$@"', 'bash'))
    assert_one_sentence(result, 'The disk is full', str(workdir / 'checkpoints'))
    assert_same_bits(final_state(workdir), before)


MISTAKES = {
    'unknown field': ('--config.conformer.layrs=3', ['layrs', 'Did you mean "layers"']),
    'unknown group': ('--config.conformr.layers=3', ['conformr', 'Did you mean "conformer"']),
    'unknown flag': ('--wordir=x', ['wordir']),
    'wrong type': ('--config.conformer.layers=three', ['config.conformer.layers', 'three']),
    'out of range': ('--config.conformer.dropout=2', ['config.conformer.dropout', '2']),
    'forgotten dashes': ('config.seed=3', ['config.seed=3']),
    'unknown preset': ('--config=configs/conformer.py:smok', ["'smok'", 'smoke']),
    'no such file': ('--config=configs/conformist.py', ['--config', 'cannot be read']),
    'not a config': ('--config=README.md', ['README.md']),
    'empty workdir': ('--workdir=', ['--workdir is empty']),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistaken_flags(run_process: Run, tmp_path: Path, mistake: str):
    flag, fragments = MISTAKES[mistake]
    common = ['-m', 'bljust_jax.main', '--config=configs/conformer.py:smoke', f'--workdir={tmp_path / "run"}']
    assert_one_sentence(run_process(*common, flag), *fragments)
    assert not (tmp_path / 'run').exists()


def test_forgotten_flags(run_process: Run):
    assert_one_sentence(run_process('-m', 'bljust_jax.main'), '--workdir', '--config')


def test_a_run_of_another_config_is_left_alone(run_main: Run, whole_run: Path, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    before = {path: path.read_bytes() for path in workdir.rglob('*') if path.is_file()}
    result = run_main(workdir, '--config.seed=3', '--config.mesh.data=1')
    assert_one_sentence(result, f'--workdir={workdir} holds a run of a different config (config.seed was 0 and is 3)')
    assert {path: path.read_bytes() for path in workdir.rglob('*') if path.is_file()} == before


def test_audio_that_is_tested_on_and_trained_on_is_refused(run_main: Run, data_dir: Path, tmp_path: Path):
    leaky = tmp_path / 'data'
    shutil.copytree(data_dir / 'smoke', leaky / 'smoke')
    [folder] = (leaky / 'smoke').iterdir()
    finding = Finding(
        Kind.SIMILAR_AUDIO, True, 'smoke/test', 'smoke/train_unlabelled', 2, 12, (('test-001', 'train_unlabelled-007'),)
    )
    Audit({'smoke/test': 12}, (finding,)).save(folder)
    refused = run_main(tmp_path / 'run', f'--config.data.data_dir={leaky}')
    assert_one_sentence(refused, '2 of 12 utterances of smoke/test', 'smoke/train_unlabelled', '--allow_leakage')
    assert not (tmp_path / 'run' / 'config.json').exists()
    allowed = run_main(tmp_path / 'run', f'--config.data.data_dir={leaky}', '--allow_leakage')
    assert allowed.returncode == 0 and '2 of 12 utterances of smoke/test' in allowed.stderr
    assert 'was not audited' not in allowed.stderr
