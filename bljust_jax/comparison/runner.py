"""Runs the cells of a comparison, one after another, each in a process of its own."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bljust_jax.comparison.arms import Cell
from bljust_jax.config import Config
from bljust_jax.errors import UserError
from bljust_jax.files import locked
from bljust_jax.run_log import duration
from bljust_jax.workdir import check_same

LOG_FILE = 'log.txt'
CELL = ('-m', 'bljust_jax.comparison.cell')


class Job(NamedTuple):
    """A cell and the config to train it with."""

    cell: Cell
    config: Config


class Interrupted(Exception):
    """The runner was asked to stop; what ran has saved."""


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What a run ended with; None if it has not ended.

    Raises:
      UserError: if the file is damaged.
    """
    path = folder / 'summary.json'
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(f'{path} is damaged: delete it, and the same command writes it anew.') from error


def is_finished(job: Job, workdir: Path) -> bool:
    """Whether the job's run has ended, and was scored on all of its splits."""
    summary = read_summary(workdir / job.cell.run)
    return summary is not None and {*job.config.eval.scored} <= summary['splits'].keys()


def check_folders(jobs: Sequence[Job], workdir: Path) -> None:
    """Checks that no folder of a job holds a run of another config.

    Raises:
      UserError: if one does.
    """
    for job in jobs:
        try:
            check_same(workdir / job.cell.run, job.config)
        except UserError as error:
            raise UserError(f'{job.cell}: {error}') from error


def run_jobs(jobs: Sequence[Job], workdir: Path, tried: dict[str, str]) -> None:
    """Runs the jobs that are not finished, and prints a line when one starts and when it ends.

    A job that another process is at is passed over.

    Args:
      jobs: in the order of running.
      workdir: of the comparison.
      tried: takes, for each cell that is started (by its `run`), why it failed, in one sentence; nothing if it did not.

    Raises:
      Interrupted: after SIGINT, SIGTERM or SIGHUP, which has the running cell save and end as well.
    """
    seconds: list[float] = []
    with _Child() as child:
        for number, job in enumerate(jobs, 1):
            title = f'[{number}/{len(jobs)}] {job.cell}:'
            if is_finished(job, workdir):
                _tell(f'{title} finished before')
                continue
            started = time.monotonic()
            folder = workdir / job.cell.run
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with locked(folder, wait=False) as alone:
                    if not alone:
                        _tell(f'{title} passed over, as another process is at it')
                        continue
                    if is_finished(job, workdir):
                        _tell(f'{title} finished meanwhile by another process')
                        continue
                    _tell(f'{title} started')
                    tried[job.cell.run] = ''
                    error = child.run(job, folder)
            except OSError as unwritable:
                error = _told(unwritable)
            if error:
                tried[job.cell.run] = error
                _tell(f'{title} failed after {duration(time.monotonic() - started)}: {error}')
                continue
            seconds.append(time.monotonic() - started)
            left = sum(not is_finished(later, workdir) for later in jobs[number:])
            rest = f'; about {duration(left * sum(seconds) / len(seconds))} for the other {left}' if left else ''
            _tell(f'{title} {_on_dev(job, workdir)}, in {duration(seconds[-1])}{rest}')


class _Child:
    """The process of one cell after another; within the context, signals go on to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._received = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> '_Child':
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._forward) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, job: Job, folder: Path) -> str:
        """Trains in `folder`, where the output is appended to the log; returns why it failed, or nothing."""
        log = folder / LOG_FILE
        command = [sys.executable, '-u', *CELL, str(folder)]
        with open(log, 'ab') as output:
            before = output.tell()
            # In a group of its own, so that Ctrl-C reaches it once, from here.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )
            with self._process as process:
                assert process.stdin
                with contextlib.suppress(BrokenPipeError):  # it ended first, and its log says why
                    process.stdin.write(json.dumps(dataclasses.asdict(job.config)).encode() + b'\n')
                    process.stdin.flush()
                code = process.wait()
            self._process = None
        if self._received:
            raise Interrupted
        return _reason(code, log, before) if code else ''

    def _forward(self, number: int, frame: object) -> None:
        self._received = number
        if self._process is None:
            raise Interrupted
        self._process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


def _told(error: OSError) -> str:
    """What the system says, and of which file if it is of one."""
    return ': '.join(str(part) for part in (error.strerror, error.filename) if part) or repr(error)


def _reason(code: int, log: Path, start: int) -> str:
    """The last error in what was logged from byte `start`, or the signal."""
    lines = log.read_bytes()[start:].decode(errors='replace').splitlines()
    if told := [line for line in lines if line.startswith('error: ')]:
        return told[-1].removeprefix('error: ')
    if code < 0:
        memory = ' (out of memory?)' if code == -signal.SIGKILL else ''
        return f'ended by {signal.Signals(-code).name}{memory}; its output: {log}'
    last = next((line.strip() for line in reversed(lines) if line.strip()), 'no output')
    return f'{last} (exit code {code}); its output: {log}'


def _on_dev(job: Job, workdir: Path) -> str:
    summary = read_summary(workdir / job.cell.run)
    if summary is None:
        return 'no result'
    dev = summary['splits'][job.config.eval.dev]
    return f'{job.config.eval.dev} CER {100 * dev["cer"]:.1f}%, WER {100 * dev["wer"]:.1f}%'


def _tell(line: str) -> None:
    print(line, flush=True)
