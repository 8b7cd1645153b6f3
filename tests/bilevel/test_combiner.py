"""Tests of what every combiner of gradients does, the penalty included."""

import doctest
import functools
import importlib

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies
from jax.sharding import NamedSharding, PartitionSpec

from bljust_jax.bilevel import COMBINERS, CombinerState, cagrad, combiner, mgda, penalty, weighted_sum
from tests.bilevel.related import assert_close, jitted, on_plane, random_levels, vector, vectors
from tests.bilevel.trees import HEADS, heads_scope, update

OTHERS = sorted(set(COMBINERS) - {'penalty'})

property_test = hypothesis.settings(max_examples=15, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)


def record_of(state):
    """What both the penalty and its alternatives keep."""
    return state.penalty if isinstance(state, CombinerState) else state


class TestEach:
    """What holds for every combiner, the penalty included."""

    @pytest.mark.parametrize('name', COMBINERS)
    @pytest.mark.parametrize('levels', [2, 3])
    def test_each_head_follows_its_own_level_unscaled(self, name, levels):
        grads = random_levels(0, levels)
        direction, _ = jitted(COMBINERS[name]((7.0,) * (levels - 1), scope=heads_scope), grads)
        for head, own in zip(HEADS, grads, strict=False):
            jax.tree.map(np.testing.assert_array_equal, direction['heads'][head], own['heads'][head])

    @pytest.mark.parametrize('name', COMBINERS)
    def test_combines_in_float32_and_returns_the_upper_dtype(self, name):
        levels = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_levels(0, 2))
        rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), levels)
        transform = COMBINERS[name](0.7, scope=heads_scope)
        direction, state = jitted(transform, levels)
        exact, _ = jitted(transform, rounded)
        expected = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), exact)
        jax.tree.map(np.testing.assert_array_equal, direction, expected)
        assert {leaf.dtype for leaf in jax.tree.leaves(direction)} == {jnp.dtype(jnp.bfloat16)}
        assert {leaf.dtype for leaf in record_of(state)[:5]} == {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}

    @pytest.mark.parametrize('name', COMBINERS)
    def test_goes_where_the_penalty_goes(self, name):
        """In a chain, with a schedule, the arguments of the training step, and one compilation."""
        traces = 0
        optimizer = optax.chain(
            COMBINERS[name](optax.linear_schedule(0.1, 1.0, 10), scope=heads_scope), optax.scale(-0.1)
        )

        @functools.partial(jax.jit, donate_argnums=1)
        def step(levels, state):
            nonlocal traces
            traces += 1
            return update(optimizer, levels, state, lower_values=(jnp.float32(3.0),), active=('sup', 'unsup'))

        levels, gammas = random_levels(0, 2), set()
        state = optimizer.init(levels[0])
        for _ in range(5):
            _, state = step(levels, state)
            gammas.add(float(record_of(state[0]).gammas[0]))
        assert (traces, len(gammas), int(record_of(state[0]).count)) == (1, 5, 5)
        np.testing.assert_array_equal(record_of(state[0]).values, [3.0])

    @pytest.mark.parametrize('name', COMBINERS)
    def test_two_quadratics_end_on_the_line_between_their_minima(self, name):
        """Which is all that multi-objective optimisation asks for; where on the line, each decides in its own way."""
        minima = np.array([[1.0, 0.0], [3.0, 1.0]], np.float32)
        optimizer = optax.chain(COMBINERS[name](1.0), optax.sgd(0.05))

        def step(_, carry):
            params, state = carry
            levels = [{'encoder': params['encoder'] - minimum} for minimum in minima]
            updates, state = optimizer.update(levels[0], state, params, lower_grads=(levels[1],))
            return optax.apply_updates(params, updates), state

        params = {'encoder': jnp.array([1.0, 4.0])}
        params, _ = jax.jit(lambda: jax.lax.fori_loop(0, 600, step, (params, optimizer.init(params))))()
        along = minima[1] - minima[0]
        offset = params['encoder'] - minima[0]
        position = offset @ along / (along @ along)
        assert -1e-3 <= position <= 1 + 1e-3
        np.testing.assert_allclose(offset - position * along, 0.0, atol=1e-3)

    @pytest.mark.parametrize('name', COMBINERS)
    @pytest.mark.parametrize(
        ('upper', 'lower'),
        [((1.0, 2.0), (1.0, 2.0)), ((1.0, 2.0), (-1.0, -2.0)), ((0.0, 0.0), (1.0, 2.0)), ((0.0, 0.0), (0.0, 0.0))],
        ids=['equal', 'opposite', 'one zero', 'both zero'],
    )
    def test_degenerate_gradients_give_finite_directions(self, name, upper, lower):
        direction, state = jitted(COMBINERS[name](1.0), on_plane(upper, lower))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((direction, state)))

    @pytest.mark.parametrize('name', OTHERS)
    @pytest.mark.parametrize('bad', [np.nan, np.inf])
    def test_recovers_from_a_gradient_that_is_not_finite(self, name, bad):
        """Its direction is not finite, for the trainer to stop at; the state stays fit for use."""
        transform, levels = COMBINERS[name](1.0), on_plane([1.0, 2.0], [bad, 1.0])
        direction, state = jitted(transform, levels)
        assert not np.isfinite(direction['encoder']).all()
        direction, state = jitted(transform, on_plane([1.0, 2.0], [0.5, 1.0]), state)
        assert np.isfinite(direction['encoder']).all() and np.isfinite(state.weights).all()


class TestCombiner:
    @property_test
    @hypothesis.given(seeds, strategies.lists(strategies.floats(0.01, 100.0), min_size=2, max_size=2))
    def test_is_the_weighted_sum_of_the_scaled_gradients(self, seed, gammas):
        levels = random_levels(seed, 3)

        def factory(gammas, scope):
            return combiner(lambda geometry: jnp.array([0.5, -2.0, 3.0]), gammas, scope=scope)

        direction, state = update(factory(tuple(gammas), heads_scope), levels)
        terms = np.array([0.5, -2.0 * gammas[0], 3.0 * gammas[1]])[:, None] * vectors(levels)
        assert_close(vector(direction), terms.sum(axis=0), np.abs(terms).max(), 1e-6)
        np.testing.assert_array_equal(state.weights, [0.5, -2.0, 3.0])
        np.testing.assert_allclose(state.penalty.gammas, gammas, rtol=1e-6)

    @property_test
    @hypothesis.given(seeds)
    def test_geometry_is_that_of_the_scaled_gradients_on_the_shared_leaves(self, seed):
        first, second = random_levels(seed, 3), random_levels(seed // 2, 3)
        seen = []

        def weigh(geometry):
            seen.append(geometry)
            return geometry.weights

        _, state = update(combiner(weigh, (2.0, 0.5), scope=heads_scope), first, second_grads=second)
        scales = np.array([[1.0], [2.0], [0.5]])
        rows, columns = scales * vectors(first), scales * vectors(second)
        size = np.linalg.norm(rows, axis=1).max() * max(np.linalg.norm(x, axis=1).max() for x in (rows, columns))
        assert_close(seen[0].gram, rows @ rows.T, size, 1e-6)
        assert_close(seen[0].cross, rows @ columns.T, size, 1e-6)
        np.testing.assert_allclose(seen[0].weights, np.full(3, 1 / 3), rtol=1e-6)
        norms = np.linalg.norm(vectors(first), axis=1)
        np.testing.assert_allclose(state.penalty.norms, norms, rtol=1e-5)
        cosines = vectors(first)[1:] @ vectors(first)[0] / norms[0] / norms[1:]
        np.testing.assert_allclose(state.penalty.cosines, cosines, atol=1e-5)

    def test_without_a_second_batch_the_first_one_serves_twice(self):
        def weigh(geometry):
            np.testing.assert_array_equal(geometry.gram, geometry.cross)
            return geometry.weights

        update(combiner(weigh, 1.0), on_plane([1.0, 2.0], [3.0, -1.0]))

    def test_state_before_the_first_update(self):
        state = mgda((0.5, optax.linear_schedule(3.0, 4.0, 10))).init(random_levels(0, 1)[0])
        np.testing.assert_allclose(state.weights, [1 / 3] * 3, rtol=1e-6)
        np.testing.assert_allclose(state.penalty.gammas, [0.5, 3.0])

    def test_keeps_the_last_lower_values(self):
        levels, transform = random_levels(0, 3), weighted_sum((1.0, 1.0))
        _, state = update(transform, levels, lower_values=(jnp.asarray(2.0, jnp.bfloat16), 3.0))
        _, state = update(transform, levels, state)
        np.testing.assert_array_equal(state.penalty.values, [2.0, 3.0])

    @pytest.mark.parametrize('level', [2, -1, 'sup', True, 1.0])
    def test_an_unknown_level_raises_and_names_the_path(self, level):
        params = {'heads': {'sup': jnp.ones([2])}}
        transform = mgda(1.0, scope=lambda path: level)
        with pytest.raises(ValueError, match=r"\('heads', 'sup'\).* 0 to 1"):
            transform.init(params)

    @pytest.mark.parametrize(
        ('argument', 'wanted', 'given'), [('lower_grads', 1, 2), ('lower_values', 1, 0), ('second_grads', 2, 1)]
    )
    def test_a_wrong_number_raises_with_both_numbers(self, argument, wanted, given):
        transform, grads = mgda(1.0), {'encoder': jnp.ones([2])}
        values = (grads,) * given if argument.endswith('grads') else (1.0,) * given
        with pytest.raises(ValueError, match=rf'{argument} must have .*{wanted} .* got {given}'):
            transform.update(grads, transform.init(grads), **{'lower_grads': (grads,)} | {argument: values})

    @pytest.mark.skipif(jax.device_count() < 2, reason='needs two devices (XLA_FLAGS, set by conftest.py)')
    def test_does_not_depend_on_sharding(self):
        rng = np.random.default_rng(0)
        levels = tuple({'encoder': jnp.asarray(rng.normal(size=[4, 6]), jnp.float32)} for _ in range(2))
        mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
        sharded = jax.device_put(levels, NamedSharding(mesh, PartitionSpec('data')))
        step = jax.jit(lambda levels: update(cagrad(0.7), levels))
        direction, state = step(sharded)
        expected, expected_state = step(levels)
        assert direction['encoder'].sharding == sharded[0]['encoder'].sharding
        np.testing.assert_allclose(direction['encoder'], expected['encoder'], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(state.weights, expected_state.weights, rtol=1e-4)
        assert 'all-gather' not in step.lower(sharded).compile().as_text()


@pytest.mark.parametrize('name', OTHERS)
def test_an_update_of_some_levels_is_that_of_a_penalty(name):
    """Exploration knows no alternative; the weights stay what they were."""
    first, second, third = random_levels(0, 3)
    transform, reference = COMBINERS[name]((0.5, 2.0), scope=heads_scope), penalty((0.5, 2.0), scope=heads_scope)
    state = transform.init(first)
    given = {'lower_grads': (third,), 'lower_values': (3.0,), 'levels': (1, 2)}
    direction, after = transform.update(second, state, **given)
    expected, record = reference.update(second, reference.init(first), **given)
    jax.tree.map(np.testing.assert_array_equal, (direction, after.penalty), (expected, record))
    np.testing.assert_array_equal(after.weights, state.weights)


def test_docstring_examples():
    # The module by name: `bljust_jax.bilevel.combiner` is the function.
    results = doctest.testmod(importlib.import_module('bljust_jax.bilevel.combiner'))
    assert results.attempted > 0
    assert results.failed == 0
