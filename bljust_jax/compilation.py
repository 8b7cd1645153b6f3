"""Compiled programs: kept on disk for the next process, and counted.

XLA takes half a minute for the programs of a small model. JAX finds one again by what it computes, the versions, the
options, the kind of device and, on CPU, the instruction set; what is loaded computes the same bits as what is compiled.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jax
from absl import logging

# Bytes. The programs of one small model take about 5 MB.
LARGEST_CACHE = 1 << 30
_STAGES = '/jax/core/compile/'
_COMPILED = '/jax/core/compile/backend_compile_duration'
_LOADED = '/jax/compilation_cache/cache_hits'


def default_cache_dir() -> Path:
    """`bljust_jax/xla` in the user's cache folder."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'bljust_jax' / 'xla'


def keep_compiled_programs() -> None:
    """Makes JAX keep what it compiles in `default_cache_dir()`, for the next process.

    JAX's own settings come first: a folder that is set already (`JAX_COMPILATION_CACHE_DIR`) is used as it is, and
    `JAX_ENABLE_COMPILATION_CACHE=false` switches all of this off. Where the folder cannot be written, a line of the log
    says so, and every process compiles for itself. Has to be called before anything is compiled.
    """
    settings = jax.config.values
    if settings['jax_compilation_cache_dir'] or not settings['jax_enable_compilation_cache']:
        return
    try:
        folder = default_cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        with contextlib.suppress(FileNotFoundError):  # another process is trimming it as well
            trim_cache(folder, LARGEST_CACHE)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        logging.warning('Compiled programs are not kept for the next run: %s.', error)
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)  # a start has a dozen small programs as well


def trim_cache(folder: Path, limit: int) -> None:
    """Deletes the programs in `folder` that were not used for longest, until the others have at most `limit` bytes.

    JAX's own limit (`jax_compilation_cache_max_size`) needs another package, and no longer writes anything after a
    process was killed between the two files of an entry.
    """
    used = {path: path.stat() for path in folder.glob('*-cache')}
    latest_first = sorted(used, key=lambda path: used[path].st_atime, reverse=True)
    totals = itertools.accumulate(used[path].st_size for path in latest_first)
    for path, total in zip(latest_first, totals, strict=True):
        if total > limit:
            path.unlink()


class Compilations:
    """Counts, as a context, what JAX makes ready to run.

    Attributes:
      names: of the programs, such as `jit(step)`, in order.
      loaded: how many of them came from the cache instead of the compiler.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.loaded = 0
        self._spans: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        jax.monitoring.register_event_time_span_listener(self._note_span)
        jax.monitoring.register_event_listener(self._note_event)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_time_span_listener(self._note_span)
        jax.monitoring.unregister_event_listener(self._note_event)

    @property
    def seconds(self) -> float:
        """Seconds spent on tracing, lowering, and compiling or loading; those within each other count once."""
        total = latest = 0.0
        for start, end in sorted(self._spans):
            total += max(end - max(start, latest), 0.0)
            latest = max(end, latest)
        return total

    def __str__(self) -> str:
        return f'Compiling took {self.seconds:.0f} s: {len(self.names)} programs, {self.loaded} of them from the cache.'

    def _note_span(self, event: str, start_time: float, end_time: float, **about: Any) -> None:
        if event.startswith(_STAGES):
            self._spans.append((start_time, end_time))
        if event == _COMPILED:
            self.names.append(about.get('fun_name', ''))

    def _note_event(self, event: str, **about: Any) -> None:
        self.loaded += event == _LOADED


@contextlib.contextmanager
def logged_compilations() -> Iterator[None]:
    """Logs at its end how many programs were compiled within it, and how long that took."""
    with Compilations() as compilations:
        yield
    logging.info('%s', compilations)
