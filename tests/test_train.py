import itertools
import json
import math
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax import train as train_module
from bljust_jax.config import Config, EvalConfig, GuardsConfig
from bljust_jax.data.dataset import Source
from bljust_jax.data.text import CharTokenizer
from bljust_jax.errors import UserError
from bljust_jax.run_log import Progress
from bljust_jax.strategies import Phase
from bljust_jax.train import Window, interruptible, run_loop, train
from bljust_jax.types import Batch, Ratio
from tests.runs import STEPS, Run, final_state, logged, losses, tiny_config

pytest_plugins = ['tests.run_fixtures']


# The loop, with fakes for everything around it.

PHASES = (Phase('explore', ('unsup',), 2), Phase('joint', ('sup', 'unsup'), 3))


class FakeRun:
    """A trainer of two phases that notes what the loop does, in order, and can do something `during` a step."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        during: Mapping[int, Any] | None = None,
        trips: tuple[int, ...] = (),
        **config: Any,
    ):
        self.events: list[str] = []
        self.lines: list[tuple[int, dict]] = []
        self._during, self._trips = during or {}, trips
        settings = {'log_every_steps': 1, 'checkpoint_every_steps': 2, 'eval': EvalConfig(every_steps=3)} | config
        self.trainer = SimpleNamespace(
            system=SimpleNamespace(config=Config(**settings), phases=PHASES),
            streams={name: SimpleNamespace(batches=self._stream(name), rate=1.0) for name in ('sup', 'unsup')},
            checkpoints=SimpleNamespace(save=self._save, wait=lambda: self.events.append('wait')),
            log=SimpleNamespace(
                write=lambda step, values: self.lines.append((step, values)),
                note=lambda step, key, text: self.lines.append((step, {key: text})),
            ),
        )
        monkeypatch.setattr(train_module, 'evaluate_dev', self._evaluate)
        monkeypatch.setattr(train_module, 'StepFlops', lambda: lambda step, state, batches: 100.0 * len(batches))

    def run(self, first: int = 0) -> SimpleNamespace:
        steps = {phase.levels: self._step for phase in PHASES}
        return run_loop(self.trainer, SimpleNamespace(step=first), steps, Path('DIR'), Progress(5))

    def _stream(self, level: str) -> Iterator[tuple[Batch, float]]:
        while True:
            self.events.append(f'next {level}')
            labels, lengths = np.zeros((2, 0), np.int32), np.full(2, 8)
            yield Batch(np.zeros((2, 8), np.int16), lengths, labels, np.zeros(2), lengths[:, None]), 1.0

    def _step(self, state: SimpleNamespace, batches: Mapping[str, Batch]) -> tuple[SimpleNamespace, dict]:
        step = state.step + 1
        self.events.append(f'step {step} {"+".join(batches)}')
        loss = self._during.get(step, lambda: 1.0)()
        metrics = {f'loss/{name}': Ratio(np.float32(loss or 1.0), np.float32(1)) for name in batches}
        tripped = Ratio(np.float32(step in self._trips), np.float32(1))
        return SimpleNamespace(step=step), metrics | {'guard/perplexity/unsup': tripped}

    def _evaluate(self, trainer: Any, state: SimpleNamespace, step: int) -> dict[str, float]:
        self.events.append(f'evaluate {step}')
        return {'cer/dev': 0.5}

    def _save(self, state: SimpleNamespace, metrics: Mapping[str, float] | None) -> None:
        self.events.append(f'save {state.step}{" scored" if metrics else ""}')


def test_the_order_is_evaluate_save_next_batch_step(monkeypatch: pytest.MonkeyPatch):
    fake = FakeRun(monkeypatch)
    assert fake.run().step == 5
    assert fake.events == [
        'next unsup', 'step 1 unsup',
        'next unsup', 'step 2 unsup', 'save 2',
        'next sup', 'next unsup', 'step 3 sup+unsup', 'evaluate 3', 'save 3 scored',
        'next sup', 'next unsup', 'step 4 sup+unsup', 'save 4',
        'next sup', 'next unsup', 'step 5 sup+unsup', 'evaluate 5', 'save 5 scored',
    ]  # fmt: skip
    assert [(step, values['phase']) for step, values in fake.lines] == [
        (1, 'explore'), (2, 'explore'), (3, 'joint'), (4, 'joint'), (5, 'joint'),
    ]  # fmt: skip


def test_operations_of_all_steps_are_logged(monkeypatch: pytest.MonkeyPatch):
    fake = FakeRun(monkeypatch, log_every_steps=2)
    fake.run()
    assert [(step, values['flops']) for step, values in fake.lines] == [(2, 200), (3, 400), (4, 600), (5, 800)]


def test_resumed_it_begins_with_the_next_batch(monkeypatch: pytest.MonkeyPatch):
    fake = FakeRun(monkeypatch)
    fake.run(first=3)
    assert fake.events[:3] == ['next sup', 'next unsup', 'step 4 sup+unsup']


def test_a_finished_run_takes_no_step(monkeypatch: pytest.MonkeyPatch):
    fake = FakeRun(monkeypatch)
    fake.run(first=5)
    assert fake.events == [] and fake.lines == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_after_the_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, number: int):
    before = signal.getsignal(number)
    fake = FakeRun(monkeypatch, {1: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(SystemExit) as raised:
        fake.run()
    assert raised.value.code == 130
    assert fake.events == ['next unsup', 'step 1 unsup', 'save 1', 'wait']
    assert capsys.readouterr().out == (
        'Interrupted at step 1; saved. To resume: run the same command with --workdir=DIR\n'
    )
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    with interruptible() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize('action', ['warn', 'slow'])
def test_a_guard_that_trips_warns_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, action: str):
    fake = FakeRun(monkeypatch, trips=(3,), log_every_steps=20, guards=GuardsConfig(action, patience=7))
    assert fake.run().step == 5
    ((step, note),) = [(step, values) for step, values in fake.lines if 'phase' not in values]
    assert step == 3 and list(note) == ['guard/perplexity/unsup']
    message = note['guard/perplexity/unsup']
    assert message.startswith("Over 7 steps of level 'unsup', nearly all targets are the same code.")
    assert ('Step sizes are now 0.5 of what they were.' in message) == (action == 'slow')
    warned = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    assert warned == [f'Step 3, guard perplexity: {message}']
    assert not any(name.startswith('guard/') for _, values in fake.lines for name in values if 'phase' in values)


def test_a_guard_can_stop_the_run(monkeypatch: pytest.MonkeyPatch):
    fake = FakeRun(monkeypatch, trips=(1,), guards=GuardsConfig('stop'))
    with pytest.raises(UserError, match='all targets are the same code.* Stopped at step 1; saved. The same command'):
        fake.run()
    assert fake.events == ['next unsup', 'step 1 unsup', 'save 1', 'wait']


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('log_every_steps', [1, 20])
def test_a_loss_that_is_not_finite_is_never_saved(monkeypatch: pytest.MonkeyPatch, bad: float, log_every_steps: int):
    fake = FakeRun(monkeypatch, {4: lambda: bad}, log_every_steps=log_every_steps)
    with pytest.raises(UserError, match="The loss of level 'sup' is -?(nan|inf) at step 4") as raised:
        fake.run()
    assert 'config.levels.sup.learning_rate, with a new --workdir' in str(raised.value)
    assert [event for event in fake.events if 'save' in event] == ['save 2', 'save 3 scored']
    assert max(step for step, _ in fake.lines) < 4


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('grad_norm/unsup', "The grad norm of level 'unsup' is nan at step 7"),
        ('update_norm', "The update norm of level 'sup' and 'unsup' is nan at step 7"),
    ],
)
def test_gradients_and_updates_must_be_finite_too(name: str, message: str):
    trainer = SimpleNamespace(log=SimpleNamespace(write=lambda *_: pytest.fail('logged')))
    window = Window(trainer, Progress(10))
    metrics = {'loss/sup': 1.0, 'loss/unsup': 1.0, 'infeasible/sup': 0.0} | {name: float('nan')}
    window.add(7, 'joint', {key: Ratio(jnp.float32(value), jnp.float32(1)) for key, value in metrics.items()}, 1.0, 1.0)
    with pytest.raises(UserError, match=message):
        window.close(7)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(UserError, match='several processes comes with a later version'):
        train(Config(), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.standard_dtypes
@pytest.mark.parametrize('name', ['encoder', 'objective', 'strategy'])
def test_names_are_checked_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str):
    monkeypatch.setattr('bljust_jax.train.prepare_corpus', lambda *_: pytest.fail('fetched'))
    overrides, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        train(tiny_config(tmp_path, **overrides), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


# Real training, on the two simulated devices of the tests.


@pytest.fixture
def untranscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a transcript of the unlabelled split is an error."""
    open_source = Source.__init__

    def guarded(self: Source, folder: Path, split: str, *, text: bool = True) -> None:
        assert not (text and split == 'train_unlabelled'), 'the transcripts of the unlabelled split are read'
        open_source(self, folder, split, text=text)

    monkeypatch.setattr(Source, '__init__', guarded)


def assert_close(workdir: Path, whole_run: Path, steps: range, rtol: float) -> None:
    actual, expected = losses(workdir), losses(whole_run)
    for step in steps:
        assert actual[step].keys() == expected[step].keys()
        for name, loss in expected[step].items():
            np.testing.assert_allclose(actual[step][name], loss, rtol=rtol, err_msg=f'{name}, step {step}')


def half_run(whole_run: Path, tmp_path: Path) -> tuple[Path, int]:
    """A copy of the run as it was when its second exploration began, and the step of that."""
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    for step in (8, 12, STEPS):
        shutil.rmtree(workdir / 'checkpoints' / str(step))
    return workdir, 7


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once', 'untranscribed')
def test_two_devices_train_like_one(data_dir: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    summary = train(tiny_config(data_dir), tmp_path)
    assert_close(tmp_path, whole_run, range(1, 6), 1e-5)
    assert_close(tmp_path, whole_run, range(1, STEPS + 1), 1e-3)
    assert summary['devices'].startswith('2 x ') and summary['steps'] == STEPS
    assert summary == json.loads((tmp_path / 'summary.json').read_text())
    assert f'Report: {tmp_path / "report.html"}' in capsys.readouterr().out


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
def test_a_run_of_one_device_goes_on_sharded_over_two(data_dir: Path, whole_run: Path, tmp_path: Path):
    workdir, first = half_run(whole_run, tmp_path)
    train(tiny_config(data_dir, mesh__fsdp=2), workdir)
    before, after = ((folder / 'metrics.jsonl').read_text().splitlines() for folder in (whole_run, workdir))
    same = [line for line, old in zip(after, before, strict=True) if line == old]  # wall-clock time tells them apart
    assert {json.loads(line)['step'] for line in same if 'phase' in line} == set(range(1, first + 1))
    assert_close(workdir, whole_run, range(1, first + 4), 1e-5)
    assert_close(workdir, whole_run, range(1, STEPS + 1), 1e-3)


def test_it_goes_on_with_the_same_records_on_more_devices_than_rows(whole_run: Path, run_main: Run, tmp_path: Path):
    workdir, first = half_run(whole_run, tmp_path)
    result = run_main(workdir, prefix=('env', 'XLA_FLAGS=--xla_force_host_platform_device_count=8'))
    assert result.returncode == 0, result.stderr
    assert_close(workdir, whole_run, range(1, first + 4), 1e-5)
    assert_close(workdir, whole_run, range(1, STEPS + 1), 1e-3)
    assert json.loads((workdir / 'summary.json').read_text())['devices'].startswith('8 x ')


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
def test_a_run_keeps_its_tokenizer(data_dir: Path, whole_run: Path, tmp_path: Path):
    workdir = shutil.copytree(whole_run, tmp_path / 'run')
    elsewhere = shutil.copytree(data_dir, tmp_path / 'data')
    for tokenizer in elsewhere.rglob('tokenizers/char.json'):
        CharTokenizer('abc').save(tokenizer)
    with pytest.raises(UserError, match='a run with another tokenizer'):
        train(tiny_config(elsewhere), workdir)
    assert (workdir / 'tokenizer.json').read_bytes() == (whole_run / 'tokenizer.json').read_bytes()


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
def test_the_tokenizer_is_of_the_labelled_split(data_dir: Path, tmp_path: Path):
    data_dir = shutil.copytree(data_dir, tmp_path / 'data')
    config = tiny_config(data_dir, data__labelled='dev', data__allow_leakage=True, data__batch_seconds=0.5)
    with pytest.raises(UserError, match='batch_seconds'):
        train(config, tmp_path / 'run')
    assert list(data_dir.rglob('tokenizers/char-dev.json'))


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
def test_a_gamma_that_adapts_and_how_the_levels_get_along_are_logged(data_dir: Path, tmp_path: Path):
    level = {'gamma': 'dual_ascent', 'gamma_step': 0.5, 'gap_tolerance': 0.01, 'gamma_min': 0.1}
    strategy = {'labelled_steps': 3, 'explore_steps': 0, 'finetune_steps': 0, 'cycles': 1}
    overrides = {f'levels__unsup__{name}': value for name, value in level.items()}
    overrides |= {f'strategy__{name}': value for name, value in strategy.items()}
    train(tiny_config(data_dir, **overrides), tmp_path)
    lines = [line for line in logged(tmp_path) if 'phase' in line]
    assert [(line['step'], line['phase']) for line in lines] == [(1, 'joint'), (2, 'joint'), (3, 'joint')]
    names = [f'{name}/unsup' for name in ('gamma', 'value_gap', 'grad_cosine', 'update_share', 'grad_norm')]
    names += [f'grad_cosine_block/unsup/{block}' for block in ('frontend', 'block_0')]
    names += ['update_share/sup', 'stationarity']
    assert all(math.isfinite(line[name]) for line in lines for name in names)
    for line, after in itertools.pairwise(lines):
        ascended = line['gamma/unsup'] + 0.5 * (line['value_gap/unsup'] - 0.01)
        assert after['gamma/unsup'] == pytest.approx(min(max(ascended, 0.1), 1.0), rel=1e-5)
    events = b''.join(path.read_bytes() for path in (tmp_path / 'tensorboard').iterdir())
    assert all(name.encode() in events for name in names)
    report = (tmp_path / 'report.html').read_text()
    titles = ('Penalty γ, unsup', 'Value gap, unsup', 'Share of the update', 'Stationarity', names[-3])
    assert all(title in report for title in titles)


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
def test_a_learning_rate_that_explodes(data_dir: Path, tmp_path: Path):
    config = tiny_config(data_dir, optimizer__learning_rate=1e30, checkpoint_every_steps=1)
    with pytest.raises(UserError, match="of level 'unsup' is (inf|nan) at step 2"):
        train(config, tmp_path)
    state = final_state(tmp_path)
    assert int(state.step) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.optimizer)))
    assert [line['step'] for line in logged(tmp_path)] == [1]
    assert not (tmp_path / 'summary.json').exists()


MISTAKES = {
    'corpus': ({'data__corpus': 'librispech'}, "'librispech' is unknown: choose one of .*smoke"),
    'labelled split': (
        {'data__labelled': 'train'},
        "labelled='train': smoke has no split 'train' .there: train_labelled",
    ),
    'dev split': ({'eval__dev': 'devel'}, "config.eval.dev='devel': smoke has no such split"),
    'encoder': ({'encoder': 'confromer'}, "config.encoder .*conformer.*'confromer'"),
    'objective': ({'levels__unsup__objective': 'best_qr'}, "objective .*best_rq.*'best_qr'"),
    'strategy': ({'strategy__name': 'bljust'}, "config.strategy.name must be one of bl_just, .* not 'bljust'"),
    'mesh': ({'mesh__data': 3}, 'config.mesh.data=3 and config.mesh.fsdp=1 do not fit 2 devices'),
    'batch': ({'data__batch_seconds': 2.0}, 'config.data.batch_seconds=2.0 is smaller than the longest row'),
}


@pytest.mark.standard_dtypes
@pytest.mark.usefixtures('compiled_once')
@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistaken_config_is_told_and_not_in_the_way(data_dir: Path, tmp_path: Path, mistake: str):
    overrides, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        train(tiny_config(data_dir, **overrides), tmp_path)
    assert not (tmp_path / 'config.json').exists()
