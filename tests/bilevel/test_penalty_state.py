"""Tests of what the state of the penalty tells: gammas, diagnostics, and those of groups."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies

from bljust_jax.bilevel import PenaltyState, balance, penalty
from tests.bilevel.trees import (
    assert_close,
    double,
    heads_scope,
    random_levels,
    random_like,
    update,
)

property_test = hypothesis.settings(max_examples=25, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)


class TestGroups:
    @staticmethod
    def blocks(path):
        return f'block_{path[2]}' if path[:2] == ('encoder', 'blocks') else None

    def test_cosines_of_each_group_are_those_of_its_leaves_alone(self):
        levels = random_levels(1, 3)
        transform = penalty((0.5, 2.0), scope=heads_scope, group=self.blocks)
        assert sorted(transform.init(levels[0]).group_cosines) == ['block_0', 'block_1']
        _, state = update(transform, levels)
        assert sorted(state.group_cosines) == ['block_0', 'block_1']
        for index in range(2):
            _, alone = update(penalty((0.5, 2.0)), [grads['encoder']['blocks'][index] for grads in levels])
            np.testing.assert_allclose(state.group_cosines[f'block_{index}'], alone.cosines, rtol=1e-5)
        _, ungrouped = update(penalty((0.5, 2.0), scope=heads_scope), levels)
        np.testing.assert_allclose(state.cosines, ungrouped.cosines, rtol=1e-5)
        assert ungrouped.group_cosines == {}

    def test_layers_stacked_along_the_first_axis_are_as_good_as_leaves_of_their_own(self):
        shapes = {'kernel': (3, 2, 4), 'bias': (3, 4)}
        rng = np.random.default_rng(0)
        stacked = [{name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}] * 2
        stacked = [{**random_like(rng, grads), 'block_0': jnp.ones([2])} for grads in (*stacked, stacked[0])]
        apart = [
            {'stem': grads['block_0']}
            | {str(index): {name: grads[name][index] for name in shapes} for index in range(3)}
            for grads in stacked
        ]
        names = ['block_0', 'block_1', 'block_2']
        gammas = (0.5, 2.0)
        one = penalty(gammas, group=lambda path: path[0] if path[0] == 'block_0' else names)
        other = penalty(gammas, group=lambda path: 'block_0' if path[0] == 'stem' else names[int(path[0])])
        assert sorted(one.init(stacked[0]).group_cosines) == names
        assert_close(update(one, stacked)[1], update(other, apart)[1])

    def test_the_number_of_layers_is_checked(self):
        transform = penalty(1.0, group=lambda path: ['block_0', 'block_1'])
        with pytest.raises(ValueError, match=r"group\(\('w',\)\) names 2 layers, .* shape \(3, 2\)"):
            transform.init({'w': jnp.ones([3, 2])})

    def test_only_shared_leaves_have_a_group(self):
        seen = []
        penalty((1.0, 1.0), scope=heads_scope, group=lambda path: seen.append(path[0])).init(random_levels(0, 1)[0])
        assert set(seen) == {'encoder'}


class TestState:
    def test_starts_at_zero_with_the_first_gammas(self):
        state = penalty((0.5, optax.linear_schedule(3.0, 4.0, 10))).init(random_levels(0, 1)[0])
        assert isinstance(state, PenaltyState)
        np.testing.assert_array_equal(state.gammas, [0.5, 3.0])
        lower, levels = np.zeros([2]), np.zeros([3])
        for name in ('cosines', 'values', 'gaps'):
            np.testing.assert_array_equal(getattr(state, name), lower)
        for name in ('norms', 'shares'):
            np.testing.assert_array_equal(getattr(state, name), levels)
        np.testing.assert_array_equal(state.pair_cosines, np.zeros([3, 3]))
        assert state.count == 0 and state.stationarity == 0

    def test_an_update_keeps_shapes_and_types(self):
        transform = penalty((balance(), 1.0), scope=heads_scope, group=TestGroups.blocks)
        levels = random_levels(0, 3)
        state = transform.init(levels[0])
        after = jax.eval_shape(lambda state: update(transform, levels, state, lower_values=(1.0, 1.0))[1], state)
        for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
            assert (new.shape, new.dtype) == (old.shape, old.dtype)

    def test_gamma_follows_its_schedule(self):
        schedule = optax.linear_schedule(0.0, 2.0, 4)
        transform = penalty(schedule)
        levels = random_levels(0, 2)
        state = transform.init(levels[0])
        for count, gamma in enumerate([0.0, 0.5, 1.0, 1.5, 2.0, 2.0]):
            direction, state = update(transform, levels, state)
            assert_close(direction, update(penalty(gamma), levels)[0])
            np.testing.assert_allclose(state.gammas, [gamma])
            assert state.count == count + 1

    @property_test
    @hypothesis.given(seeds)
    def test_cosines_and_norms_are_those_of_the_shared_leaves(self, seed):
        levels = random_levels(seed, 3)
        _, state = update(penalty((0.5, 2.0), scope=heads_scope), levels)
        g0, g1, g2 = (np.concatenate([x.ravel() for x in jax.tree.leaves(double(g['encoder']))]) for g in levels)
        norm = np.linalg.norm
        np.testing.assert_allclose(state.norms, [norm(g0), norm(g1), norm(g2)], rtol=1e-5)
        cosines = [g0 @ g1 / norm(g0) / norm(g1), g0 @ g2 / norm(g0) / norm(g2)]
        np.testing.assert_allclose(state.cosines, cosines, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(('sign', 'cosine'), [(2.0, 1.0), (-3.0, -1.0), (0.0, 0.0)])
    def test_cosine_of_parallel_opposite_and_zero_gradients(self, sign, cosine):
        grads = random_levels(0, 1)[0]
        _, state = update(penalty(1.0), (grads, jax.tree.map(lambda leaf: sign * leaf, grads)))
        np.testing.assert_allclose(state.cosines, [cosine], rtol=1e-5)

    def test_stationarity_is_exact_where_the_levels_cancel(self):
        grads = random_levels(0, 1)[0]
        _, state = update(penalty(0.25), (grads, jax.tree.map(lambda leaf: -4.0 * leaf, grads)))
        assert state.stationarity == 0
        np.testing.assert_allclose(state.shares, [0.5, 0.5], rtol=1e-6)

    def test_diagnostics_are_zero_if_nothing_is_shared(self):
        _, state = update(penalty(1.0, scope=lambda path: 0), random_levels(0, 2))
        np.testing.assert_array_equal(state.norms, [0.0, 0.0])
        np.testing.assert_array_equal(state.cosines, [0.0])

    def test_keeps_the_last_lower_values(self):
        transform, levels = penalty((1.0, 1.0)), random_levels(0, 3)
        _, state = update(transform, levels, lower_values=(jnp.asarray(2.0, jnp.bfloat16), 3.0))
        np.testing.assert_array_equal(state.values, [2.0, 3.0])
        _, state = update(transform, levels, state)
        np.testing.assert_array_equal(state.values, [2.0, 3.0])
