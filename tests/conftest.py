"""Two simulated CPU devices, strict shapes and dtypes, and reproducible examples for every test."""

import os

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'
os.environ['OPENBLAS_NUM_THREADS'] = '1'
if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=2'.strip()

from collections.abc import Iterator

import hypothesis
import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

hypothesis.settings.register_profile('default', deadline=None)
hypothesis.settings.register_profile('ci', deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile('ci' if os.environ.get('CI') else 'default')


@pytest.fixture(scope='module', autouse=True)
def forget_programs_of_modules() -> Iterator[None]:
    """A process that keeps the programs of all tests runs out of memory maps."""
    yield
    jax.clear_caches()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Strict dtype promotion in a test and its fixtures of any scope, unless it is marked `standard_dtypes`."""
    before = jax.config.jax_numpy_dtype_promotion
    promotion = 'standard' if item.get_closest_marker('standard_dtypes') else 'strict'
    jax.config.update('jax_numpy_dtype_promotion', promotion)
    try:
        return (yield)
    finally:
        jax.config.update('jax_numpy_dtype_promotion', before)
