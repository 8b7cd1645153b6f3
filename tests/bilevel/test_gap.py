"""Tests of the estimates of the lower level's optimal value."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bljust_jax.bilevel import gap, penalty, running_minimum, shadow


def minima(values, decay):
    estimate = running_minimum(decay)
    state, results = estimate.init(), []
    for value in values:
        result, state = estimate.update(jnp.asarray(value, jnp.float32), state)
        results.append(float(result))
    return results


class TestRunningMinimum:
    def test_without_decay_it_is_the_minimum_so_far(self):
        assert minima([3.0, 5.0, 2.0, 4.0], 0.0) == [3.0, 3.0, 2.0, 2.0]

    def test_smooths_before_taking_the_minimum(self):
        values = [4.0, 0.0, 8.0, 1.0, 1.0]
        mean, expected = values[0], []
        for value in values:
            mean = 0.5 * mean + 0.5 * value
            expected.append(min([mean, *expected]))
        np.testing.assert_allclose(minima(values, 0.5), expected)

    def test_a_lucky_batch_does_not_drag_it_down(self):
        values = np.random.default_rng(0).normal(5.0, 1.0, 300)
        assert minima(values, 0.95)[-1] - 5.0 > 0.3 * (values.min() - 5.0)

    def test_negative_losses_are_as_good_as_any(self):
        assert minima([-1.0, -3.0, 2.0], 0.0) == [-1.0, -3.0, -3.0]

    @pytest.mark.parametrize('decay', [1.0, -0.1])
    def test_a_decay_out_of_range_raises(self, decay):
        with pytest.raises(ValueError, match=rf'\[0, 1\): got {decay}'):
            running_minimum(decay)


class TestShadow:
    def test_takes_the_steps_of_its_optimizer_from_where_it_was(self):
        copy = shadow(lambda y, x: 0.5 * (y - x) ** 2, optax.sgd(0.5), steps=3)
        state = copy.init(jnp.asarray(8.0))
        value, state = copy.update(state, 0.0)
        np.testing.assert_allclose(state.params, 1.0)  # halved three times
        np.testing.assert_allclose(value, 0.5)
        value, state = copy.update(state, 0.0)
        np.testing.assert_allclose(state.params, 0.125)

    def test_keeps_the_state_of_its_optimizer(self):
        once = shadow(lambda y: 0.5 * y**2, optax.sgd(0.1, momentum=0.9), steps=4)
        twice = shadow(lambda y: 0.5 * y**2, optax.sgd(0.1, momentum=0.9), steps=2)
        expected, _ = once.update(once.init(jnp.asarray(1.0)))
        _, state = twice.update(twice.init(jnp.asarray(1.0)))
        np.testing.assert_allclose(twice.update(state)[0], expected, rtol=1e-6)

    def test_its_parameters_are_a_copy(self):
        params = {'y': jnp.ones([2])}
        state = shadow(lambda y: y['y'].sum(), optax.sgd(0.1)).init(params)
        jax.jit(lambda params: params['y'] * 2, donate_argnums=0)(params)
        np.testing.assert_array_equal(state.params['y'], [1.0, 1.0])

    def test_no_steps_raise(self):
        with pytest.raises(ValueError, match='at least one step at a time: got 0'):
            shadow(lambda y: y, optax.sgd(0.1), steps=0)


class TestPenaltysGap:
    """`gaps` in the state of the penalty."""

    grads = jnp.ones([2])

    def gaps(self, values, optima=None, **options):
        transform = penalty((1.0, 1.0), **options)
        state, results = transform.init(self.grads), []
        for index, value in enumerate(values):
            known = {} if optima is None else {'lower_optima': optima[index]}
            _, state = transform.update(
                self.grads, state, lower_grads=(self.grads, self.grads), lower_values=value, **known
            )
            results.append(state.gaps.tolist())
        return results

    def test_is_the_loss_minus_its_running_minimum_by_default(self):
        values = [(4.0, 1.0), (2.0, 3.0)]
        np.testing.assert_allclose(self.gaps(values), [[0.0, 0.0], [2.0 - 3.8, 2.0]], rtol=1e-5)

    def test_takes_the_estimate_it_is_given(self):
        values = [(4.0, 1.0), (2.0, 3.0), (5.0, 2.5)]
        assert self.gaps(values, optimum=running_minimum(0.0)) == [[0.0, 0.0], [0.0, 2.0], [3.0, 1.5]]

    def test_known_optima_come_first_level_by_level(self):
        values = [(4.0, 1.0), (2.0, 3.0)]
        optima = [(1.5, None), (1.0, None)]
        assert self.gaps(values, optima, optimum=running_minimum(0.0)) == [[2.5, 0.0], [1.0, 2.0]]

    def test_optima_must_come_with_values_and_in_their_number(self):
        transform = penalty(1.0)
        arguments = self.grads, transform.init(self.grads), self.grads
        with pytest.raises(ValueError, match=r'lower_optima says nothing without lower_values: got \(0.0,\)'):
            transform.update(*arguments, lower_grads=(self.grads,), lower_optima=(0.0,))
        with pytest.raises(ValueError, match=r'lower_optima .* 1 lower levels .* got 2'):
            transform.update(
                *arguments, lower_grads=(self.grads,), lower_values=(1.0,), lower_optima=(jnp.zeros([]), 0.0)
            )

    def test_a_loss_that_is_not_finite_spoils_one_gap_alone(self):
        values = [(4.0, 4.0), (float('nan'), 3.0), (3.0, 3.0)]
        first, second, third = self.gaps(values, optimum=running_minimum(0.0))
        assert np.isnan(second[0])
        assert (first, third) == ([0.0, 0.0], [0.0, 0.0])


def test_docstring_examples():
    results = doctest.testmod(gap)
    assert results.attempted > 0
    assert results.failed == 0
