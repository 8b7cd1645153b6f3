"""Training: set-up, and the loop in its fixed order: evaluate, save, next batch, step."""

import contextlib
import importlib.metadata
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from bljust_jax.build import System, build
from bljust_jax.checkpoint import Checkpoints, abstract_like
from bljust_jax.config import Config
from bljust_jax.data.audit import check_training
from bljust_jax.data.dataset import data_dir_of, normaliser_of_corpus, prepared_dir, tokenizer_of_corpus
from bljust_jax.data.mixture import parse_mixture
from bljust_jax.data.needed import check_splits
from bljust_jax.data.text import Tokenizer
from bljust_jax.errors import UserError
from bljust_jax.evaluate import (
    EvalSet,
    Recognize,
    evaluate_splits,
    format_table,
    make_recognizer,
    open_eval_set,
    score_set,
    transcribe_set,
)
from bljust_jax.flops import StepFlops
from bljust_jax.guards import Trip, pop_trips
from bljust_jax.metrics import Means
from bljust_jax.prepare import prepare_corpus
from bljust_jax.report import write_report
from bljust_jax.run_log import METRICS_FILE, Progress, RunLog, Spent, read_spent
from bljust_jax.sharding import batch_putter, make_mesh, state_shardings
from bljust_jax.step import Step
from bljust_jax.strategies import UPPER, Phase, active_at, beginnings, phase_at, total_steps
from bljust_jax.streams import Stream, open_stream
from bljust_jax.teacher import load_teacher
from bljust_jax.types import Batch, TrainState
from bljust_jax.workdir import open_workdir, save_setup, tokenizer_of_run, write_json


class Trainer(NamedTuple):
    """What the loop works with; `step` is pure, everything else is set up once."""

    system: System
    begin: Callable[[Phase, TrainState], TrainState]
    tokenizer: Tokenizer
    streams: Mapping[str, Stream]
    dev: EvalSet
    recognize: Recognize
    put: Callable[[Batch], Batch]
    checkpoints: Checkpoints
    log: RunLog


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains `config` in `workdir`, going on from its newest checkpoint, evaluates the best one, writes the report.

    Returns:
      The content of `summary.json`.

    Raises:
      UserError: for what the user can mend (config, corpus, workdir, collapse with `guards.action=stop`); nothing
        already computed is lost.
      SystemExit: with code 130 after an interrupt, the state being saved.
    """
    if jax.process_count() > 1:
        raise UserError('Training over several processes comes with a later version: start one, on one host.')
    mesh = make_mesh(config.mesh)
    phases = build(config, vocab_size=2).phases  # tells mistaken names before anything is fetched
    open_workdir(workdir, config)
    prepare_corpus(config.data.corpus, data_dir_of(config.data))
    used = {level for phase in phases for level in phase.levels}
    check_splits(config, labelled=UPPER in used, unlabelled=bool(used - {UPPER}))
    _check_leakage(config, phases)
    started = time.perf_counter()
    normaliser = normaliser_of_corpus(config)
    tokenizer = tokenizer_of_run(workdir, tokenizer_of_corpus(config))
    system = build(config, tokenizer.vocab_size)
    recognize = make_recognizer(system, tokenizer)
    put = batch_putter(mesh)
    eval_sets = {name: open_eval_set(config, name, mesh.size) for name in config.eval.scored}
    abstract = jax.eval_shape(system.init_state, config.seed)
    shardings = state_shardings(mesh, abstract)
    teacher = load_teacher(system, tokenizer, mesh, workdir) if system.frozen_teacher else None
    with Checkpoints(workdir, select=config.eval.criterion, keep=config.keep_checkpoints) as checkpoints:
        state = checkpoints.restore_latest(abstract_like(abstract, shardings))
        if state is None:
            state = jax.jit(system.init_state, out_shardings=shardings)(config.seed)
        elif state.step == total_steps(system.phases):
            logging.info('%s is finished: nothing is trained, its best checkpoint is scored again.', workdir)
        else:
            logging.info('Resuming %s at step %d.', workdir, state.step)
        streams = {
            level.name: open_stream(config, level.name, tokenizer, int(state.drawn[level.name]), mesh.size, put)
            for level in system.levels
            if any(level.name in phase.levels for phase in system.phases)
        }
        _announce(system, abstract, streams)
        save_setup(workdir, config, tokenizer, teacher.identity if teacher else None, normaliser)
        with RunLog(workdir, step=int(state.step)) as log:
            begin = jax.jit(system.begin, static_argnums=0, out_shardings=shardings)
            dev = eval_sets[config.eval.dev]
            trainer = Trainer(system, begin, tokenizer, streams, dev, recognize, put, checkpoints, log)
            before = read_spent(workdir / METRICS_FILE)
            progress = Progress(total_steps(system.phases), before=before, started=started)
            steps = system.make_steps(shardings, teacher.params if teacher else ())
            state = run_loop(trainer, state, steps, workdir, progress)
        checkpoints.wait()
        best_step, best = checkpoints.restore_best_params(abstract_like(abstract.params, shardings.params))
    logging.info('Scoring the checkpoint of step %d, the best on %s.', best_step, config.eval.dev)
    results = evaluate_splits(trainer.recognize, best, eval_sets, tokenizer, put, workdir)
    summary = summarise(trainer, state, best_step, results, progress.spent)
    write_json(workdir / 'summary.json', summary)
    report = write_report(workdir)
    print(f'\n{format_table(results)}\n\nReport: {report}')
    return summary


def _check_leakage(config: Config, phases: Sequence[Phase]) -> None:
    """Refuses a config that trains on what it is tested on; see `check_training`."""
    levels = {level for phase in phases for level in phase.levels}
    fields = ['labelled'] * (UPPER in levels) + ['unlabelled'] * bool(levels - {UPPER})
    ingredients = [
        one
        for field in fields
        for one in parse_mixture(getattr(config.data, field), config.data.corpus, f'config.data.{field}')
    ]
    data_dir = data_dir_of(config.data)
    check_training(
        {one.corpus: prepared_dir(data_dir, one.corpus) for one in ingredients},
        [f'{one.corpus}/{one.split}' for one in ingredients],
        allow_leakage=config.data.allow_leakage,
    )


def run_loop(
    trainer: Trainer, state: TrainState, steps: Mapping[tuple[str, ...], Step], workdir: Path, progress: Progress
) -> TrainState:
    """Trains to the end of the last phase; returns the last state."""
    config, phases = trainer.system.config, trainer.system.phases
    total, starts = total_steps(phases), beginnings(phases)
    first = step = int(state.step)
    window = Window(trainer, progress)
    compiled: set[Any] = set()
    count_flops = StepFlops()
    with interruptible() as interrupted:
        while True:
            metrics, stop = None, interrupted() or bool(window.verdict)
            if step > first:
                if step % config.eval.every_steps == 0 or step == total:
                    window.close(step)
                    with progress.paused():
                        metrics = evaluate_dev(trainer, state, step)
                if metrics or stop or step % config.checkpoint_every_steps == 0:
                    window.close(step)
                    with progress.paused():
                        trainer.checkpoints.save(state, metrics)
            if step == total:
                break
            if stop:
                trainer.checkpoints.wait()
                if window.verdict:
                    raise UserError(f'{window.verdict} Stopped at step {step}; saved. The same command goes on.')
                print(f'Interrupted at step {step}; saved. To resume: run the same command with --workdir={workdir}')
                sys.exit(130)
            phase = phase_at(phases, step)
            if phase.name != window.phase:
                window.close(step)
            if (phase.teaches or phase.anew) and step in starts:
                state = trainer.begin(phase, state)
            active = active_at(phases, step)
            drawn = {name: next(trainer.streams[name].batches) for name in active}
            batches = {name: batch for name, (batch, _) in drawn.items()}
            seconds = sum(seconds for _, seconds in drawn.values())
            shapes = {(name, batch.audio.shape) for name, batch in batches.items()} | {active}
            with contextlib.nullcontext() if shapes <= compiled else progress.paused():
                flops = count_flops(steps[active], state, batches)
                state, step_metrics = steps[active](state, batches)
            compiled |= shapes
            step += 1
            window.add(step, phase.name, step_metrics, seconds, flops)
            if step % config.log_every_steps == 0:
                window.close(step)
    return state


class Window:
    """The steps since the last progress line: their metrics stay on the device until the line is due.

    Attributes:
      phase: of the last step.
      verdict: why the run has to stop, in the words of the guard that tripped; empty if it goes on.
    """

    def __init__(self, trainer: Trainer, progress: Progress) -> None:
        self._trainer, self._progress = trainer, progress
        self._pending: list[tuple[int, Mapping[str, Any]]] = []
        self.phase = self.verdict = ''
        self._compared = False

    def add(self, step: int, phase: str, metrics: Mapping[str, Any], seconds: float, flops: float) -> None:
        """Notes one step."""
        self._pending.append((step, metrics))
        self.phase = phase
        self._progress.count(seconds, flops)

    def close(self, step: int) -> None:
        """Logs the means over the window, if it is not empty.

        Raises:
          UserError: if a loss is not finite, with the step and the level.
        """
        if not self._pending:
            return
        means, trips = Means(), []
        for at, metrics in jax.device_get(self._pending):
            _check_finite(at, metrics)
            metrics, tripped = pop_trips(at, metrics)
            means.add(metrics)
            trips += tripped
        self._pending.clear()
        values = means.values()
        for trip in trips:
            self._tell(trip, values)
        logging.info('%s', self._progress.line(step, self.phase, values))
        self._trainer.log.write(step, {'phase': self.phase, **values, **self._progress.spent._asdict()})
        if not self._compared and (speed := self._progress.speed):
            self._compared = True
            slowest = min(stream.rate for stream in self._trainer.streams.values())
            logging.info('The step consumes %.0f h/h; the pipeline alone supplies %.1fx that.', speed, slowest / speed)

    def _tell(self, trip: Trip, values: Mapping[str, float]) -> None:
        config = self._trainer.system.config.guards
        message = trip.message(config, values)
        logging.warning('Step %d, guard %s: %s', trip.step, trip.guard.name, message)
        self._trainer.log.note(trip.step, trip.key, message)
        if config.action == 'stop' and not self.verdict:
            self.verdict = message


def evaluate_dev(trainer: Trainer, state: TrainState, step: int) -> dict[str, float]:
    """WER and CER on dev, logged, with one hypothesis to look at."""
    hypotheses = transcribe_set(trainer.recognize, state.params, trainer.dev, trainer.tokenizer, trainer.put)
    rates, lines = score_set(trainer.dev, hypotheses)
    name = trainer.system.config.eval.dev
    metrics = {f'wer/{name}': rates.wer, f'cer/{name}': rates.cer}
    trainer.log.write(step, metrics)
    sample = lines[step % len(lines)]
    logging.info('%s at step %d: WER %.1f%%, CER %.1f%%', name, step, 100 * rates.wer, 100 * rates.cer)
    logging.info('  said  %s', sample['reference'])
    logging.info('  heard %s', sample['hypothesis'])
    return metrics


def summarise(
    trainer: Trainer, state: TrainState, best_step: int, results: Mapping[str, Any], spent: Spent
) -> dict[str, Any]:
    """The content of `summary.json`."""
    system = trainer.system
    hours = {
        name: int(state.drawn[name]) / stream.steps_per_epoch * stream.hours_per_epoch
        for name, stream in trainer.streams.items()
    }
    packages = ('jax', 'flax', 'optax', 'orbax-checkpoint')
    return {
        'strategy': system.config.strategy.name,
        'corpus': system.config.data.corpus,
        'seed': system.config.seed,
        'steps': int(state.step),
        'best_step': best_step,
        'splits': {name: rates.as_dict() for name, rates in results.items()},
        'budget': {
            'steps': int(state.step),
            'labelled_hours': hours.get(UPPER, 0.0),
            'unlabelled_hours': sum(value for name, value in hours.items() if name != UPPER),
            'flops': spent.flops,
            'wall_seconds': spent.wall_seconds,
            'audio_hours_per_hour': spent.speed,
        },
        'parameters': _count(state.params),
        'devices': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'versions': {package: importlib.metadata.version(package) for package in packages},
    }


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM only set a flag, which the yielded function reads; a second one interrupts."""
    received: list[int] = []

    def note(signum: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signum)
        logging.info('Stopping after this step and saving (once more to stop at once).')

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _check_finite(step: int, metrics: Mapping[str, Any]) -> None:
    active = [name.removeprefix('loss/') for name in metrics if name.startswith('loss/')]
    for name, ratio in metrics.items():
        if name.startswith(('loss/', 'grad_norm/', 'update_norm')) and not math.isfinite(ratio.sum):
            kind, _, level = name.partition('/')
            levels = [level] if level else active
            rates = ['config.optimizer.learning_rate', *(f'config.levels.{name}.learning_rate' for name in levels)]
            raise UserError(
                f'The {kind.replace("_", " ")} of level {" and ".join(map(repr, levels))} is {ratio.sum} at step '
                f'{step}: lower {" or ".join(rates)}, with a new --workdir; the checkpoints before this step are kept.'
            )


def _announce(system: System, abstract: TrainState, streams: Mapping[str, Stream]) -> None:
    logging.info(
        '%s on %s: %.2fM parameters (encoder %.2fM), %d devices; phases: %s.',
        system.config.strategy.name,
        system.config.data.corpus,
        _count(abstract.params) / 1e6,
        _count(abstract.params['encoder']) / 1e6,
        jax.device_count(),
        ', '.join(f'{phase.name} {phase.steps}' for phase in system.phases),
    )


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
