"""Programs timed side by side, each in a process of its own and called by turns: a busy minute hits all of them."""

import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

Call = Callable[[], Any]
Setup = Callable[[], Call]

# Between calls, in seconds: threads of OpenMP wait for work for some 0.2 s after a call, on a core that the next needs.
_REST = 0.5


class Timing(NamedTuple):
    """What was measured of one program.

    Attributes:
      seconds: of each timed call.
      peak_mib: the largest resident memory of its process, in MiB.
    """

    seconds: list[float]
    peak_mib: float

    @property
    def median(self) -> float:
        """The median call, in seconds."""
        return statistics.median(self.seconds)


def alternate(setups: Mapping[str, Setup], *, repeats: int = 9, warm_up: int = 2) -> dict[str, Timing]:
    """Times what each setup returns, `repeats` rounds of one call each, and prints a table.

    Args:
      setups: name -> function at the top level of a module (it is pickled) that returns the call to time. The call must
        return only when its work is done. Import JAX, PyTorch and the like inside it: every program has its process.
      repeats: timed calls of each.
      warm_up: calls of each before them, untimed.

    Returns:
      name -> its `Timing`.

    Raises:
      RuntimeError: if a setup or a call fails (its traceback is on stderr).
    """
    context = multiprocessing.get_context('spawn')
    pipes: dict[str, Connection] = {}
    processes = []
    for name, setup in setups.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(setup, warm_up, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
        _ask(pipes[name], name)  # one after the other: compilation would slow down the others' warm-up
    seconds: dict[str, list[float]] = {name: [] for name in setups}
    for _ in range(repeats):
        for name, pipe in pipes.items():
            time.sleep(_REST)
            pipe.send(True)
            seconds[name].append(_ask(pipe, name))
    timings = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        timings[name] = Timing(seconds[name], _ask(pipe, name))
    for process in processes:
        process.join()
    width = max(map(len, timings))
    for name, timing in timings.items():
        low, high = min(timing.seconds), max(timing.seconds)
        print(
            f'{name:<{width}}  median {1e3 * timing.median:9.1f} ms  ({1e3 * low:.1f} to {1e3 * high:.1f})  '
            f'peak {timing.peak_mib:.0f} MiB'
        )
    return timings


def print_result(name: str, ratio: float, **figures: Any) -> None:
    """The last line of a benchmark: JSON with its name, ours / theirs (lower is faster) and what else was measured."""
    print(json.dumps({'name': name, 'ratio': round(ratio, 4), **figures}), flush=True)


def _serve(setup: Setup, warm_up: int, pipe: Connection) -> None:
    call = setup()
    for _ in range(warm_up):
        call()
    pipe.send(0.0)
    while pipe.recv():
        start = time.perf_counter()
        call()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _ask(pipe: Connection, name: str) -> float:
    try:
        return pipe.recv()
    except EOFError as error:
        raise RuntimeError(f'{name} failed; its traceback is above.') from error
