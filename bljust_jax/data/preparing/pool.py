"""Shards written by processes that may die: of a record that a decoder crashes on, or with their parent."""

import contextlib
import functools
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from bljust_jax.data.preparing.plan import Shard
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.errors import UserError

RECORD_SECONDS = 1800.0  # that the reading of one record may take
_ATTEMPTS = 4
_POLL_SECONDS = 1.0

Note = Callable[[Shard, int], None]


class Write(Protocol):
    """A way to write shards; see `write_shards`."""

    def __call__(self, shards: Iterable[Shard], folder: Path, rules: Rules, *, workers: int, note: Note) -> None: ...


def write_shards(
    shards: Iterable[Shard],
    folder: Path,
    rules: Rules,
    *,
    workers: int,
    note: Note = lambda shard, records: None,
    record_seconds: float = RECORD_SECONDS,
    patience: float = 30.0,
) -> None:
    """Writes `shards` into `folder`: `workers` at a time, each in a process, or one after the other in this one if 0.

    A process that dies, or takes too long over a record, leaves its shard to another, which first tries each record in
    a process of its own: the culprit is rejected.

    Args:
        shards: taken one by one, as processes become free.
        folder: where they are written, see `shards.write_shard`.
        rules: for `examples`.
        workers: number of processes.
        note: is told of the records that were done: the shard and their number, negative where they begin again.
        record_seconds: how long reading one record may take, only looked at if there are processes.
        patience: seconds on top of this until a process that says nothing is given up.

    Raises:
        OSError: the disk is full.
        UserError: processes die again and again, as they do for want of memory.
    """
    if not workers:
        from bljust_jax.data.preparing.shards import write_shard

        for shard in shards:
            write_shard(folder, shard, rules, note=functools.partial(note, shard))
        return
    idle: list[_Worker] = []
    busy: list[_Worker] = []
    try:
        waiting = _Waiting(shards)
        while True:
            while len(busy) < workers and (task := waiting.next()):
                worker = idle.pop() if idle else _Worker(folder, rules, record_seconds, patience)
                worker.take(task)
                busy.append(worker)
            if not busy:
                return
            for worker in _heard_from(busy):
                state = worker.hear(note)
                if state != 'busy':
                    busy.remove(worker)
                if state == 'idle':
                    idle.append(worker)
                elif state == 'dead':
                    worker.stop()
                    waiting.again(worker.task)
    finally:
        for worker in idle + busy:
            worker.stop()


@dataclass
class _Task:
    """A shard to write, and how often that was tried."""

    shard: Shard
    attempt: int = 0
    done: int = 0  # records


class _Waiting:
    """Tasks: those that failed first."""

    def __init__(self, shards: Iterable[Shard]):
        self._fresh: Iterator[Shard] = iter(shards)
        self._failed: list[_Task] = []

    def next(self) -> _Task | None:
        if self._failed:
            return self._failed.pop()
        shard = next(self._fresh, None)
        return None if shard is None else _Task(shard)

    def again(self, task: _Task) -> None:
        if task.attempt + 1 >= _ATTEMPTS:
            raise UserError(
                f'The processes that write shard {task.shard.name} died {_ATTEMPTS} times, though no record of it '
                'alone does that: is there enough memory? Try fewer --workers.'
            )
        self._failed.append(_Task(task.shard, task.attempt + 1))


class _Worker:
    """A process that writes shards, seen from its parent."""

    def __init__(self, folder: Path, rules: Rules, record_seconds: float, patience: float):
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(os.getpid())]
            command = [sys.executable, '-m', 'bljust_jax.data.preparing.worker', *arguments]
            path = os.pathsep.join(path or os.getcwd() for path in sys.path)
            environment = {**os.environ, 'PYTHONPATH': path, 'OPENBLAS_NUM_THREADS': '1'}
            self._process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C is for the parent, which says what is to be done
            )
        self.connection = Connection(ours.detach())
        self.connection.send((folder, rules, record_seconds))
        self._limit = record_seconds + patience

    def take(self, task: _Task) -> None:
        """Begins with a shard."""
        self.task = task
        self._heard = time.monotonic()
        with contextlib.suppress(OSError):  # it is dead, which `hear` will notice
            self.connection.send((task.shard, task.attempt > 0))

    @property
    def late(self) -> bool:
        """Whether nothing was heard of it for too long; where it tries records first, reading them takes twice."""
        return time.monotonic() - self._heard > self._limit * (2 if self.task.attempt else 1)

    def hear(self, note: Note) -> str:
        """Takes in what the process says, and returns what it is now: `busy`, `idle` or `dead`."""
        task = self.task
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, BaseException):
                    raise message
                self._heard = time.monotonic()
                if message is None:
                    return 'idle'
                task.done += message
                note(task.shard, message)
        except (EOFError, ConnectionError):
            return self._dead(note)
        return self._dead(note) if self.late else 'busy'

    def _dead(self, note: Note) -> str:
        note(self.task.shard, -self.task.done)
        return 'dead'

    def stop(self) -> None:
        """Ends the process."""
        self.connection.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def _heard_from(workers: list[_Worker]) -> list[_Worker]:
    """The workers that said something, or nothing for too long."""
    ready = multiprocessing.connection.wait([worker.connection for worker in workers], _POLL_SECONDS)
    return [worker for worker in workers if worker.connection in ready or worker.late]
