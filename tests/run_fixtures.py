"""Fixtures of whole runs: the `smoke` corpus made once, and processes that share a compilation cache.

A test module gets them with `pytest_plugins = ['tests.run_fixtures']`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from bljust_jax.prepare import prepare_corpus
from tests.runs import ROOT, TINY, Run

# Runs bljust_jax.main, which sends itself a signal once it has logged the losses of a step.
_SIGNALLED = """
import os, runpy, sys
from bljust_jax.run_log import RunLog
number, at, write = int(sys.argv.pop(1)), int(sys.argv.pop(1)), RunLog.write
def write_and_signal(self, step, values):
    write(self, step, values)
    if step == at and 'phase' in values:
        os.kill(os.getpid(), number)
RunLog.write = write_and_signal
runpy.run_module('bljust_jax.main', run_name='__main__')
"""


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared `smoke` corpus."""
    folder = tmp_path_factory.mktemp('data')
    prepare_corpus('smoke', folder)
    return folder


@pytest.fixture(scope='session')
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled programs are kept, so that the runs of the tests compile each of them once."""
    return tmp_path_factory.mktemp('compiled')


@pytest.fixture
def compiled_once(cache_dir: Path) -> Iterator[None]:
    """JAX's persistent compilation cache, in this process and for one test."""
    before = jax.config.jax_enable_compilation_cache
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update('jax_enable_compilation_cache', True)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    compilation_cache.reset_cache()
    compilation_cache.set_cache_dir(str(cache_dir))
    try:
        yield
    finally:
        compilation_cache.reset_cache()
        jax.config.update('jax_compilation_cache_dir', None)
        jax.config.update('jax_persistent_cache_min_compile_time_secs', seconds)
        jax.config.update('jax_enable_compilation_cache', before)


@pytest.fixture(scope='session')
def environment(data_dir: Path, cache_dir: Path) -> dict[str, str]:
    """Of a command that is run on one device, as a user would, but with the tests' corpus and programs."""
    return os.environ | {
        'BLJUST_DATA_DIR': str(data_dir),
        'JAX_ENABLE_COMPILATION_CACHE': 'true',
        'JAX_COMPILATION_CACHE_DIR': str(cache_dir),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'XLA_FLAGS': '',
    }


@pytest.fixture(scope='session')
def run_process(environment: dict[str, str]) -> Run:
    """Runs a command in this environment, to which `variables` are added."""

    def run(*arguments: str | Path, prefix: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess:
        command = [*prefix, sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, timeout=500
        )

    return run


@pytest.fixture(scope='session')
def run_main(run_process: Run) -> Run:
    """Runs `bljust_jax.main` with the tiny config, killed by `signal=(number, step)` if that is given."""

    def run(
        workdir: Path,
        *flags: str,
        signal: tuple[int, int] | None = None,
        prefix: tuple[str, ...] = (),
        **variables: str,
    ) -> subprocess.CompletedProcess:
        program = ('-m', 'bljust_jax.main') if signal is None else ('-c', _SIGNALLED, *map(str, signal))
        tiny = [f'--config.{name}={value}' for name, value in TINY.items()]
        config = '--config=configs/conformer.py:smoke'
        return run_process(*program, config, *tiny, f'--workdir={workdir}', *flags, prefix=prefix, **variables)

    return run


@pytest.fixture(scope='session')
def whole_run(run_main: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on one device that nobody interrupted; copy it before changing it."""
    workdir = tmp_path_factory.mktemp('whole') / 'run'
    result = run_main(workdir)
    assert result.returncode == 0, result.stderr
    return workdir
