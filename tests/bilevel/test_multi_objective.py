"""Tests of the multi-objective alternatives to the penalty, one by one."""

import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from scipy import optimize

from bljust_jax.bilevel import alternating, cagrad, mgda, modo, pcgrad, penalty, weighted_sum
from tests.bilevel.related import assert_close, compiled, direction_of, on_plane, random_levels, vector, vectors
from tests.bilevel.trees import heads_scope, update

property_test = hypothesis.settings(max_examples=15, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)


class TestWeightedSum:
    def test_of_two_levels_is_the_penalty(self):
        levels = random_levels(0, 2)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
            update(weighted_sum(0.3, scope=heads_scope), levels)[0],
            update(penalty(0.3, scope=heads_scope), levels)[0],
        )

    def test_of_three_does_not_nest(self):
        direction = direction_of(weighted_sum((2.0, 0.5)), [1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
        np.testing.assert_allclose(direction, [1.5, 2.5])


class TestAlternating:
    def test_takes_turns(self):
        levels, state = on_plane([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]), None
        for expected in ([1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 0.0]):
            direction, state = update(alternating((2.0, 3.0)), levels, state)
            np.testing.assert_allclose(direction['encoder'], expected)


def project_in_order(grads, level, order):
    """PCGrad's inner loop as it is published."""
    own = grads[level].copy()
    for other in order:
        if other != level and own @ grads[other] < 0:
            own -= own @ grads[other] / (grads[other] @ grads[other]) * grads[other]
    return own


class TestPCGrad:
    def test_example_by_hand(self):
        """(1, 0) and (-1, 1): without their conflict (½, ½) and (0, 1)."""
        np.testing.assert_allclose(direction_of(pcgrad(1.0), [1.0, 0.0], [-1.0, 1.0]), [0.5, 1.5])

    def test_adds_up_gradients_that_agree(self):
        np.testing.assert_allclose(direction_of(pcgrad(2.0), [1.0, 0.0], [1.0, 1.0]), [3.0, 2.0])

    @property_test
    @hypothesis.given(seeds, strategies.floats(0.1, 10.0))
    def test_two_levels_equal_the_definition(self, seed, gamma):
        levels = random_levels(seed, 2)
        direction, _ = compiled(pcgrad, 1)(levels, (gamma,))
        grads = vectors(levels) * np.array([[1.0], [gamma]])
        expected = project_in_order(grads, 0, [1]) + project_in_order(grads, 1, [0])
        assert_close(vector(direction), expected, np.abs(grads).max())

    @property_test
    @hypothesis.given(seeds)
    def test_three_levels_equal_the_definition_in_some_order(self, seed):
        levels = random_levels(seed, 3)
        direction, _ = compiled(pcgrad, 2)(levels)
        grads = vectors(levels)
        candidates = [
            [project_in_order(grads, level, order) for order in itertools.permutations({0, 1, 2} - {level})]
            for level in range(3)
        ]
        errors = [np.abs(sum(parts) - vector(direction)).max() for parts in itertools.product(*candidates)]
        assert min(errors) <= 1e-4 * np.abs(grads).max()

    def test_the_order_is_drawn_anew_at_every_update_and_by_the_seed(self):
        levels = on_plane([1.0, 0.0, 0.2], [-1.0, 0.5, 0.0], [-0.5, -1.0, 0.1])

        def directions(seed):
            transform = pcgrad((1.0, 1.0), seed=seed)
            step, state, results = (
                jax.jit(lambda state: update(transform, levels, state)),
                transform.init(levels[0]),
                [],
            )
            for _ in range(8):
                direction, state = step(state)
                results.append(tuple(np.asarray(direction['encoder'])))
            return results

        assert len(set(directions(0))) > 1
        assert directions(0) == directions(0) != directions(1)


def smallest_on_simplex(function, levels):
    """Minimum of a convex function on the simplex by SciPy."""
    result = optimize.minimize(
        function,
        np.full(levels, 1 / levels),
        method='SLSQP',
        bounds=[(0.0, 1.0)] * levels,
        constraints={'type': 'eq', 'fun': lambda weights: weights.sum() - 1},
        options={'ftol': 1e-14, 'maxiter': 500},
    )
    return result.fun


class TestMGDA:
    @pytest.mark.parametrize(
        ('lower', 'expected'),
        [([0.0, 1.0], [0.5, 0.5]), ([2.0, 1.0], [1.0, 0.0]), ([-1.0, 0.0], [0.0, 0.0]), ([0.5, 0.0], [0.5, 0.0])],
        ids=['between', 'the shorter one', 'opposite', 'parallel'],
    )
    def test_examples_by_hand(self, lower, expected):
        np.testing.assert_allclose(direction_of(mgda(1.0), [1.0, 0.0], lower), expected, atol=1e-6)

    @property_test
    @hypothesis.given(seeds, strategies.floats(0.1, 10.0))
    def test_two_levels_equal_a_line_search(self, seed, gamma):
        levels = random_levels(seed, 2)
        direction, state = compiled(mgda, 1)(levels, (gamma,))
        upper, lower = vectors(levels) * np.array([[1.0], [gamma]])
        share = np.linspace(0, 1, 10_001)[:, None]
        shortest = np.linalg.norm(share * upper + (1 - share) * lower, axis=1).min()
        size = max(np.linalg.norm(upper), np.linalg.norm(lower))
        assert np.linalg.norm(vector(direction)) <= shortest + 1e-4 * size
        np.testing.assert_allclose(np.sum(state.weights), 1.0, rtol=1e-6)
        assert (state.weights >= 0).all()

    @property_test
    @hypothesis.given(seeds)
    def test_three_levels_equal_scipy(self, seed):
        levels = random_levels(seed, 3)
        direction, state = compiled(mgda, 2)(levels)
        grads = vectors(levels)
        shortest = np.sqrt(2 * smallest_on_simplex(lambda weights: 0.5 * np.sum((weights @ grads) ** 2), 3))
        size = np.linalg.norm(grads, axis=1).max()
        assert np.linalg.norm(vector(direction)) <= shortest + 1e-3 * size
        np.testing.assert_allclose(np.sum(state.weights), 1.0, rtol=1e-5)
        assert (state.weights >= 0).all()

    @property_test
    @hypothesis.given(seeds)
    def test_no_level_rises_along_it(self, seed):
        levels = random_levels(seed, 2)
        direction = vector(compiled(mgda, 1)(levels)[0])
        grads = vectors(levels)
        slack = 1e-4 * (grads**2).sum(axis=1).max()
        assert (grads @ direction >= direction @ direction - slack).all()


class TestCAGrad:
    @property_test
    @hypothesis.given(seeds, strategies.sampled_from([0.2, 0.5, 0.9]), strategies.sampled_from([2, 3]))
    def test_equals_scipy_on_the_primal_problem(self, seed, c, number):
        """The greatest t such that <g_i, d> ≥ t for all i and |d - mean| ≤ c |mean|, in an orthonormal basis."""
        levels = random_levels(seed, number)
        direction = vector(compiled(cagrad, number - 1, c=c)(levels)[0])
        grads = vectors(levels) / np.abs(vectors(levels)).max()
        direction = direction / np.abs(vectors(levels)).max()
        basis = np.linalg.qr(grads.T)[0]
        small, mean = grads @ basis, grads.mean(axis=0) @ basis
        radius = c * np.linalg.norm(mean)
        result = optimize.minimize(
            lambda z: -z[-1],
            np.append(mean, (small @ mean).min()),
            method='SLSQP',
            constraints=[
                {'type': 'ineq', 'fun': lambda z: small @ z[:-1] - z[-1]},
                {'type': 'ineq', 'fun': lambda z: radius**2 - np.sum((z[:-1] - mean) ** 2)},
            ],
            options={'ftol': 1e-12, 'maxiter': 500},
        )
        size = (grads**2).sum(axis=1).max()
        assert np.linalg.norm(direction - grads.mean(axis=0)) <= radius + 1e-4 * size**0.5
        assert (grads @ direction).min() >= -result.fun - 2e-3 * size

    def test_with_c_zero_is_the_mean(self):
        np.testing.assert_allclose(direction_of(cagrad(2.0, c=0.0), [1.0, 0.0], [-1.0, 1.0]), [-0.5, 1.0], atol=1e-6)

    def test_a_negative_c_raises(self):
        with pytest.raises(ValueError, match=r'c must not be negative: got -0\.1'):
            cagrad(1.0, c=-0.1)


class TestMoDo:
    @property_test
    @hypothesis.given(seeds, strategies.floats(1e-4, 1.0))
    def test_one_update_equals_the_definition(self, seed, step_size):
        first, second = random_levels(seed, 3), random_levels(seed // 2, 3)
        _, state = update(modo((1.0, 1.0), scope=heads_scope, step_size=step_size), first, second_grads=second)
        moved = np.full(3, 1 / 3) - step_size * vectors(first) @ vectors(second).T @ np.full(3, 1 / 3)
        # The point w of the simplex nearest to `moved` is max(moved - shift, 0) for the shift that makes it sum to 1.
        shift = optimize.brentq(lambda s: np.maximum(moved - s, 0).sum() - 1, moved.min() - 1, moved.max())
        assert_close(state.weights, np.maximum(moved - shift, 0), max(1.0, np.abs(moved).max()), 1e-5)

    def test_on_constant_gradients_its_weights_become_those_of_mgda(self):
        levels = on_plane([1.0, 0.5, 0.0], [-0.5, 1.0, 0.3], [0.2, 0.1, 1.5])
        transform = modo((1.0, 1.0), step_size=0.2)
        state, _ = jax.lax.scan(
            lambda state, _: (update(transform, levels, state)[1], None), transform.init(levels[0]), length=300
        )
        np.testing.assert_allclose(state.weights, update(mgda((1.0, 1.0)), levels)[1].weights, atol=1e-3)

    def test_a_second_batch_takes_the_noise_out_of_the_weights(self):
        """Gradients e0 and e1 + noise of variance 2: shortest at ½, with the noise's square added to |e1|² at ¼."""
        transform = modo(1.0, step_size=0.002)

        def step(states, key):
            noise = jax.random.normal(key, [2, 2])
            first, second = [on_plane([1.0, 0.0], jnp.array([0.0, 1.0]) + noise[i]) for i in (0, 1)]
            states = update(transform, first, states[0], second_grads=second)[1], update(transform, first, states[1])[1]
            return states, [state.weights[1] for state in states]

        state = transform.init(on_plane([0.0, 0.0])[0])
        keys = jax.random.split(jax.random.key(0), 6000)
        _, weights = jax.jit(lambda: jax.lax.scan(step, (state, state), keys))()
        independent, same = (np.mean(values[1000:]) for values in weights)
        np.testing.assert_allclose([independent, same], [0.5, 0.25], atol=0.06)
