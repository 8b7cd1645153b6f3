"""The process that writes shards for `pool`: `python -m bljust_jax.data.preparing.worker SOCKET PARENT`."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bljust_jax.data.preparing.examples import examples
from bljust_jax.data.preparing.plan import Shard
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shards import no_guard, write_shard
from bljust_jax.data.utterance import Utterance
from bljust_jax.errors import UserError

_PR_SET_PDEATHSIG = 1


def main(handle: int, parent: int) -> None:
    """Writes the shards that come through the socket `handle`, until it is closed or the process `parent` is gone."""
    die_with(parent)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # decoders chat
    connection = Connection(handle)
    with contextlib.suppress(EOFError, ConnectionError):
        folder, rules, record_seconds = connection.recv()
        while True:
            shard, careful = connection.recv()
            connection.send(_written(connection, folder, shard, rules, record_seconds if careful else None))


def die_with(parent: int) -> None:
    """Has the system kill this process when the process `parent`, which started it, ends (Linux only)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        sys.exit(1)


def _written(
    connection: Connection, folder: Path, shard: Shard, rules: Rules, seconds: float | None
) -> Exception | None:
    """Writes a shard; `seconds` that each record may take if it is tried in a process of its own before."""

    def guard(utterance: Utterance, rules: Rules) -> Unusable | None:
        connection.send(0)
        return tried(utterance, rules, seconds or 0.0)

    try:
        write_shard(folder, shard, rules, note=connection.send, guard=no_guard if seconds is None else guard)
    except ConnectionError:
        raise
    except Exception as error:
        return error
    return None


def tried(utterance: Utterance, rules: Rules, seconds: float) -> Unusable | None:
    """Reads a record in a child of this process: what is wrong with it if that crashes, or takes too long."""
    parent = os.getpid()
    child = os.fork()
    if not child:
        try:
            die_with(parent)
            for _ in examples(utterance, rules):
                pass
        finally:
            os._exit(0)
    if (status := _wait(child, seconds)) is None:
        return Unusable(Reason.UNREADABLE, f'not read within {seconds:g} s')
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        raise UserError(
            f'The process that read {utterance.id} was killed, as happens for want of memory: run the same command '
            'again, with fewer --workers.'
        )
    if os.WIFSIGNALED(status):
        return Unusable(Reason.NOT_AUDIO, f'the decoder crashes on it (signal {os.WTERMSIG(status)})')
    return None


def _wait(child: int, seconds: float) -> int | None:
    """The status of a child that ended within so many seconds; None if it had to be killed."""
    end, pause = time.monotonic() + seconds, 0.0002
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]))
