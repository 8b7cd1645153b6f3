"""Compiled programs on disk and their count, in processes of their own: JAX opens its cache once a process."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from bljust_jax.compilation import Compilations, default_cache_dir, trim_cache

PROGRAM = """
from bljust_jax.compilation import Compilations, keep_compiled_programs
import jax, jax.numpy as jnp
keep_compiled_programs()
gradient = jax.jit(jax.grad(lambda x: jax.nn.softmax(jnp.sort(jnp.tanh(x @ x.T)), axis=0).max(axis=1).sum()))
with Compilations() as compilations:
    value = gradient(jax.random.normal(jax.random.key(0), (97, 31)))
print('jit(<lambda>)' in compilations.names, compilations.loaded > 0, value.tobytes().hex())
"""


def run(**environment: str | Path) -> tuple[bool, str, str]:
    """Whether PROGRAM found programs in the cache, the bits that it computed, and its stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith('JAX_')}
    variables = inherited | {name: str(value) for name, value in environment.items()}
    command = [sys.executable, '-c', PROGRAM]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    counted, loaded, bits = result.stdout.split()
    assert counted == 'True'
    return loaded == 'True', bits, result.stderr


def test_the_next_process_loads_what_one_has_compiled_and_computes_the_same_bits(tmp_path: Path):
    compiled, bits, _ = run(XDG_CACHE_HOME=tmp_path)
    assert not compiled
    assert list((tmp_path / 'bljust_jax' / 'xla').glob('*-cache'))
    assert run(XDG_CACHE_HOME=tmp_path) == (True, bits, '')


def test_settings_of_jax_come_first(tmp_path: Path):
    own, other = tmp_path / 'own', tmp_path / 'other'
    assert not run(XDG_CACHE_HOME=own, JAX_ENABLE_COMPILATION_CACHE='false')[0]
    always = {'JAX_COMPILATION_CACHE_DIR': other, 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
    assert [run(XDG_CACHE_HOME=own, **always)[0] for _ in range(2)] == [False, True]
    assert list(other.glob('*-cache')) and not own.exists()


def test_a_folder_that_cannot_be_made_is_told_and_does_no_harm(tmp_path: Path):
    file = tmp_path / 'file'
    file.touch()
    for _ in range(2):
        loaded, _, stderr = run(XDG_CACHE_HOME=file)
        assert not loaded
        assert stderr.count('\n') == 1 and 'Compiled programs are not kept for the next run: ' in stderr
        assert str(file) in stderr


def test_a_damaged_entry_is_compiled_again(tmp_path: Path):
    _, bits, _ = run(XDG_CACHE_HOME=tmp_path)
    for path in (tmp_path / 'bljust_jax' / 'xla').glob('*-cache'):
        path.write_bytes(path.read_bytes()[:500])
    loaded, again, stderr = run(XDG_CACHE_HOME=tmp_path)
    assert not loaded and again == bits and 'Error reading persistent compilation cache entry' in stderr


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_cache_dir() == tmp_path / 'bljust_jax' / 'xla'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert default_cache_dir() == tmp_path / '.cache' / 'bljust_jax' / 'xla'


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path):
    for age, name in enumerate(['d', 'b', 'a', 'c']):
        path = tmp_path / f'{name}-cache'
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 2000 + age))  # used, written
    (tmp_path / 'note').write_bytes(bytes(100))
    trim_cache(tmp_path, 40)
    assert len(list(tmp_path.iterdir())) == 5
    trim_cache(tmp_path, 29)
    assert {path.name for path in tmp_path.iterdir()} == {'d-cache', 'b-cache', 'note'}


def test_programs_are_counted_once_for_each_shape():
    @jax.jit
    def inner(x: jax.Array) -> jax.Array:
        return x + 1

    @jax.jit
    def outer(x: jax.Array) -> jax.Array:
        return inner(x) * 2

    short, long = jnp.zeros(3), jnp.zeros(4)
    with Compilations() as compilations:
        for x in (short, short, long, short):
            outer(x)
    outer(jnp.zeros(5))
    assert compilations.names == ['jit(outer)'] * 2
    assert compilations.loaded == 0 and compilations.seconds > 0
    assert str(compilations).endswith('2 programs, 0 of them from the cache.')


def test_time_within_other_time_counts_once():
    compilations = Compilations()
    for start, end in ((2.0, 3.0), (1.0, 5.0), (7.0, 8.0), (4.0, 6.0)):
        compilations._note_span('/jax/core/compile/jaxpr_trace_duration', start, end)
    compilations._note_span('/jax/something/else', 0.0, 100.0)
    assert compilations.seconds == 6.0
