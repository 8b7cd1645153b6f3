"""Tests of the penalty among other transformations, under JAX's, and on two devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bljust_jax.bilevel import balance, by_prefix, dual_ascent, penalty, per_epoch
from tests.bilevel.trees import assert_close, double, heads_scope, random_like, update
from tests.bilevel.trees import random_levels as random_levels_of

VALUES = (1.5, 0.5)


def random_levels(seed, levels):
    """Of one shape only: every other one would take its time to compile."""
    return random_levels_of(seed, levels, shapes=((3,),))


def adaptive_penalty():
    """Everything that has a state."""
    return penalty(
        (dual_ascent(0.1, init=0.5), balance(0.3)),
        scope=heads_scope,
        group=lambda path: path[1],
    )


class TestOptax:
    def test_ignores_unexpected_extra_args(self):
        levels = random_levels(0, 2)
        expected = update(penalty(1.0), levels)
        jax.tree.map(np.testing.assert_array_equal, update(penalty(1.0), levels, value=1.0, key='x'), expected)

    def test_works_within_a_chain(self):
        levels = random_levels(0, 2)
        updates, state = update(optax.chain(penalty(0.5), optax.scale(-0.1)), levels, value=1.0)
        assert_close(updates, jax.tree.map(lambda g0, g1: -0.1 * (g0 + 0.5 * g1), *map(double, levels)))
        assert state[0].count == 1

    def test_each_group_of_a_partition_may_have_a_penalty(self):
        levels = random_levels(0, 2)
        own_heads = by_prefix({'heads/sup': 0, 'heads/unsup': 1, 'heads/distil': None})
        transform = optax.partition(
            {'low': optax.chain(penalty(0.5), optax.scale(-1.0)), 'high': penalty(2.0, scope=own_heads)},
            lambda tree: {
                'encoder': jax.tree.map(lambda _: 'low', tree['encoder']),
                'heads': jax.tree.map(lambda _: 'high', tree['heads']),
            },
        )
        updates, state = update(transform, levels)
        (upper, lower) = map(double, levels)
        assert_close(updates['encoder'], jax.tree.map(lambda x, y: -x - 0.5 * y, upper['encoder'], lower['encoder']))
        for name, grads in zip(('sup', 'unsup'), (upper, lower), strict=True):
            assert_close(updates['heads'][name], grads['heads'][name])
        distil = jax.tree.map(lambda x, y: x + 2.0 * y, upper['heads']['distil'], lower['heads']['distil'])
        assert_close(updates['heads']['distil'], distil)
        _, alone = update(penalty(0.5), [grads['encoder'] for grads in levels])
        assert_close(state.inner_states['low'].inner_state[0], alone)

    @pytest.mark.standard_dtypes
    def test_accumulates_before_multi_steps_while_gamma_stays(self):
        """Two steps of two small batches each are the same as two steps of their means."""
        schedule = optax.linear_schedule(0.5, 1.5, 1)
        small = optax.chain(penalty(per_epoch(schedule, 2)), optax.MultiSteps(optax.sgd(0.1), 2))
        large = optax.chain(penalty(schedule), optax.sgd(0.1))
        batches = [list(random_levels(0, 2))]
        batches += [[random_like(np.random.default_rng(seed), grads) for grads in batches[0]] for seed in (1, 2, 3)]
        state, reference = small.init(batches[0][0]), large.init(batches[0][0])
        for first, second in (batches[:2], batches[2:]):
            waiting, state = update(small, first, state)
            assert optax.tree.norm(waiting) == 0
            updates, state = update(small, second, state)
            mean = jax.tree.map(lambda x, y: (x + y) / 2, first, second)
            expected, reference = update(large, tuple(mean), reference)
            assert_close(updates, expected)
        np.testing.assert_array_equal(state[0].gammas, reference[0].gammas)

    @pytest.mark.standard_dtypes
    def test_within_multi_steps_it_updates_once_for_all_of_them(self):
        levels = random_levels(0, 2)
        other = random_like(np.random.default_rng(1), levels[0])
        transform = optax.MultiSteps(optax.chain(penalty(dual_ascent(1.0, init=0.5)), optax.sgd(1.0)), 2)
        state = transform.init(levels[0])
        _, state = transform.update(other, state, lower_grads=levels[1:], lower_values=(1.0,))
        assert state.inner_opt_state[0].count == 0
        updates, state = transform.update(levels[0], state, lower_grads=levels[1:], lower_values=(1.0,))
        expected = jax.tree.map(lambda x, y, z: -(x + y) / 2 - 0.5 * z, double(other), *map(double, levels))
        assert_close(updates, expected)
        assert state.inner_opt_state[0].count == 1

    def test_before_apply_if_finite_it_shields_from_lower_gradients_too(self):
        levels = random_levels(0, 3)
        broken = (*levels[:2], jax.tree.map(lambda leaf: leaf * jnp.nan, levels[2]))
        transform = optax.chain(adaptive_penalty(), optax.apply_if_finite(optax.sgd(0.1), 5))
        _, state = update(transform, levels, lower_values=VALUES)
        skipped, after = update(transform, broken, state, lower_values=VALUES)
        assert optax.tree.norm(skipped) == 0
        jax.tree.map(np.testing.assert_array_equal, after[0].adaptive, state[0].adaptive)
        updates, _ = update(transform, levels, after, lower_values=VALUES)
        assert 0 < optax.tree.norm(updates) < np.inf

    def test_within_apply_if_finite_a_rejected_update_leaves_its_state(self):
        levels = random_levels(0, 3)
        transform = optax.apply_if_finite(optax.chain(adaptive_penalty(), optax.sgd(0.1)), 5)
        updates, state = update(transform, levels, lower_values=VALUES)
        expected, _ = update(optax.chain(adaptive_penalty(), optax.sgd(0.1)), levels, lower_values=VALUES)
        assert_close(updates, expected)
        broken = (jax.tree.map(lambda leaf: leaf * jnp.nan, levels[0]), *levels[1:])
        skipped, after = update(transform, broken, state, lower_values=VALUES)
        assert optax.tree.norm(skipped) == 0
        jax.tree.map(np.testing.assert_array_equal, after.inner_state, state.inner_state)

    def test_gammas_may_be_changed_by_hand_when_injected(self):
        levels = random_levels(0, 3)
        injected = optax.inject_hyperparams(penalty, static_args=('scope', 'group'))
        transform = injected(gammas=jnp.asarray([0.5, 2.0]), scope=heads_scope)
        updates, state = update(transform, levels)
        assert_close(updates, update(penalty((0.5, 2.0), scope=heads_scope), levels)[0])
        state.hyperparams['gammas'] = jnp.asarray([1.0, 3.0])
        updates, state = update(transform, levels, state)
        assert_close(updates, update(penalty((1.0, 3.0), scope=heads_scope), levels)[0])
        np.testing.assert_array_equal(state.inner_state.gammas, [1.0, 3.0])

    @pytest.mark.parametrize('gammas', [optax.linear_schedule(0.5, 1.5, 2), (balance(0.5),)])
    def test_schedules_and_adaptive_gammas_are_injected_as_they_are(self, gammas):
        levels = random_levels(0, 2)
        plain, injected = penalty(gammas), optax.inject_hyperparams(penalty)(gammas=gammas)
        expected, states = None, [plain.init(levels[0]), injected.init(levels[0])]
        for _ in range(3):
            expected, states[0] = update(plain, levels, states[0])
            updates, states[1] = update(injected, levels, states[1])
            assert_close(updates, expected)
        np.testing.assert_array_equal(states[1].inner_state.gammas, states[0].gammas)


class TestJax:
    def test_compiles_once_while_gammas_change(self):
        traces = 0
        transform = penalty((optax.exponential_decay(1e-3, 5, 10.0), dual_ascent(0.1), balance(0.5)))

        def step(levels, state, values):
            nonlocal traces
            traces += 1
            return update(transform, levels, state, lower_values=values)

        compiled, levels = jax.jit(step), random_levels(0, 4)
        state = transform.init(levels[0])
        gammas = []
        for value in range(6):
            _, state = compiled(levels, state, (jnp.ones([]), jnp.asarray(value, jnp.float32), jnp.ones([])))
            gammas.append(state.gammas.tolist())
        assert traces == 1
        assert len({first for first, _, _ in gammas}) == 6 and len({second for _, second, _ in gammas}) > 3

    def test_its_state_can_be_donated(self):
        levels, transform = random_levels(0, 3), adaptive_penalty()
        step = jax.jit(lambda state, levels: update(transform, levels, state, lower_values=VALUES), donate_argnums=0)
        state = transform.init(levels[0])
        for _ in range(2):
            _, state = step(state, levels)
        assert state.count == 2

    def test_its_state_can_be_scanned(self):
        levels, transform = random_levels(0, 3), adaptive_penalty()

        def step(state, _):
            _, state = update(transform, levels, state, lower_values=VALUES)
            return state, state.gammas

        state, gammas = jax.lax.scan(step, transform.init(levels[0]), None, 5)
        np.testing.assert_array_equal(state.gammas, gammas[-1])
        assert state.count == 5

    def test_mapped_over_problems_it_is_itself_on_each(self):
        problems = [random_levels(0, 3)]
        problems += [[random_like(np.random.default_rng(seed), grads) for grads in problems[0]] for seed in (1, 2)]
        transform = adaptive_penalty()

        def twice(levels):
            _, state = update(transform, levels, lower_values=VALUES)
            return update(transform, levels, state, lower_values=VALUES)

        mapped = jax.jit(jax.vmap(twice))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(tuple, problems)))
        for index, levels in enumerate(problems):
            assert_close(jax.tree.map(lambda leaf, index=index: leaf[index], mapped), jax.jit(twice)(tuple(levels)))

    def test_needs_no_memory_for_another_tree(self):
        """Apart from what comes in and goes out, hardly more than a leaf."""
        tree = {f'layer_{index}': jnp.ones([64, 256]) for index in range(16)}
        transform = penalty((balance(), balance()), normalize=True)
        step = jax.jit(lambda levels, state: update(transform, levels, state))
        compiled = step.lower((tree, tree, tree), transform.init(tree)).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 3 * tree['layer_0'].nbytes

    @pytest.mark.skipif(jax.device_count() < 2, reason='needs two devices (XLA_FLAGS, set by conftest.py)')
    @pytest.mark.parametrize('axes', [('data', None), (None, 'data')])
    def test_two_devices_are_as_good_as_one(self, axes):
        rng = np.random.default_rng(0)
        levels = tuple({'kernel': jnp.asarray(rng.normal(size=[4, 6]), jnp.float32)} for _ in range(3))
        transform = penalty((dual_ascent(0.1, init=0.7), balance(0.3)), group=lambda path: path[0])
        mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
        sharded = jax.device_put(levels, NamedSharding(mesh, PartitionSpec(*axes)))
        step = jax.jit(lambda levels: update(transform, levels, lower_values=VALUES))
        direction, state = step(sharded)
        assert direction['kernel'].sharding == sharded[0]['kernel'].sharding
        assert_close((direction, state), step(levels), rtol=1e-6, atol=1e-6)
        assert 'all-gather' not in step.lower(sharded).compile().as_text()
