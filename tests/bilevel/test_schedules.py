"""Tests of the schedules of γ."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.bilevel import gamma_schedule, schedules

KINDS = ('constant', 'linear', 'exponential')


def values(kind, gamma_max, steps, number):
    schedule = jax.jit(gamma_schedule(kind, gamma_max, steps))
    return np.array([schedule(jnp.asarray(count, jnp.int32)) for count in range(number)])


def test_constant():
    np.testing.assert_array_equal(values('constant', 0.3, 5, 7), np.full(7, 0.3, np.float32))


def test_linear_rises_from_zero_to_gamma_max_at_the_last_step():
    np.testing.assert_allclose(values('linear', 180.0, 4, 4), [0.0, 60.0, 120.0, 180.0], rtol=1e-6)


def test_exponential_rises_by_a_constant_factor_from_a_thousandth():
    np.testing.assert_allclose(values('exponential', 2.0, 4, 4), [0.002, 0.02, 0.2, 2.0], rtol=1e-5)


@pytest.mark.parametrize('gamma_max', [0.005, 1.0, 180.0])
@pytest.mark.parametrize('kind', KINDS)
def test_ends_at_gamma_max_and_stays_there(kind, gamma_max):
    np.testing.assert_allclose(values(kind, gamma_max, 10, 15)[9:], gamma_max, rtol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_never_falls_and_never_exceeds_gamma_max(kind):
    gammas = values(kind, 0.7, 10, 15)
    assert (np.diff(gammas) >= 0).all()
    assert gammas.max() <= np.float32(0.7)


@pytest.mark.parametrize(('kind', 'first'), [('constant', 0.5), ('linear', 0.0), ('exponential', 0.0005)])
@pytest.mark.parametrize('steps', [0, 1])
def test_begins_as_usual_if_there_is_hardly_a_step(kind, first, steps):
    np.testing.assert_allclose(values(kind, 0.5, steps, 1), [first])


@pytest.mark.parametrize('kind', KINDS)
def test_gamma_max_zero_is_zero_throughout(kind):
    np.testing.assert_array_equal(values(kind, 0.0, 3, 5), np.zeros(5))


def test_unknown_kind_raises_and_names_the_choices():
    with pytest.raises(ValueError, match="constant, linear, exponential: got 'cosine'"):
        gamma_schedule('cosine', 1.0, 10)


def test_docstring_examples():
    results = doctest.testmod(schedules)
    assert results.attempted > 0
    assert results.failed == 0
