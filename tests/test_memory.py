import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from bljust_jax.memory import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
import jax, jax.numpy as jnp
f = jax.jit(lambda x: jnp.sort(jnp.sin(x)[::-1]).sum())
x = jnp.ones(4_000_000)
f(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    f(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments):
    return int(subprocess.run([sys.executable, '-c', FAULTS, *arguments], check=True, capture_output=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='tunes the malloc of glibc')
def test_buffers_of_a_step_are_used_again():
    """A step with 16 MB of temporary buffers touches some 4,000 new pages every time, unless they are kept."""
    assert page_faults('keep') < page_faults('leave') / 4
