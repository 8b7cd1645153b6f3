"""Tests of the penalty transformation."""

import doctest
import importlib

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies
from jax.sharding import NamedSharding, PartitionSpec

from bljust_jax.bilevel import PenaltyState, penalty

SHAPES = ((), (3,), (2, 3))
HEADS = ('sup', 'unsup', 'distil')

property_test = hypothesis.settings(max_examples=25, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)
positive = strategies.floats(1e-3, 200.0)


def heads_scope(path):
    return HEADS.index(path[1]) if path[0] == 'heads' else None


def random_tree(rng, heads=HEADS):
    """A tree of parameters whose encoder nests dicts, a list and a tuple."""

    def leaf():
        shape = SHAPES[rng.integers(len(SHAPES))]
        return jnp.asarray(rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3), jnp.float32)

    return {
        'encoder': {'blocks': [{'kernel': leaf(), 'bias': leaf()} for _ in range(2)], 'stem': (leaf(),)},
        'heads': {name: {'kernel': leaf(), 'bias': leaf()} for name in heads},
    }


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), tree)


def random_levels(seed, levels):
    rng = np.random.default_rng(seed)
    first = random_tree(rng)
    return (first, *(random_like(rng, first) for _ in range(levels - 1)))


def update(transform, levels, state=None, **extra_args):
    state = transform.init(levels[0]) if state is None else state
    return transform.update(levels[0], state, levels[0], lower_grads=levels[1:], **extra_args)


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def assert_close(actual, expected, rtol=1e-5, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), actual, expected)


def assert_is_closed_form(direction, gammas, levels):
    """Checks g0 + γ1 g1 + γ1 γ2 g2 + ... to float32 rounding, relative to the size of the terms (they may cancel)."""
    weights = np.cumprod([1.0, *gammas])

    def check(actual, *grads):
        terms = [weight * np.asarray(grad, np.float64) for weight, grad in zip(weights, grads, strict=True)]
        assert (np.abs(actual - sum(terms)) <= 1e-6 * sum(map(np.abs, terms))).all()

    jax.tree.map(check, direction, *levels)


class TestDirection:
    @property_test
    @hypothesis.given(seeds, positive)
    def test_bilevel_equals_the_closed_form(self, seed, gamma):
        levels = random_levels(seed, 2)
        direction, _ = update(penalty(gamma), levels)
        assert_is_closed_form(direction, [gamma], levels)

    @property_test
    @hypothesis.given(seeds, strategies.lists(positive, min_size=2, max_size=2))
    def test_trilevel_equals_the_closed_form(self, seed, gammas):
        levels = random_levels(seed, 3)
        direction, _ = update(penalty(gammas, scope=heads_scope), levels)
        assert_is_closed_form(direction['encoder'], gammas, [grads['encoder'] for grads in levels])
        for head, grads in zip(HEADS, levels, strict=True):
            jax.tree.map(np.testing.assert_array_equal, direction['heads'][head], grads['heads'][head])

    def test_without_lower_levels_it_is_the_upper_gradient(self):
        (grads,) = random_levels(0, 1)
        direction, state = update(penalty(()), (grads,))
        jax.tree.map(np.testing.assert_array_equal, direction, grads)
        assert state.gammas.shape == state.cosines.shape == (0,)
        assert state.norms.shape == (1,)

    def test_a_bare_gamma_is_a_sequence_of_one(self):
        levels = random_levels(0, 2)
        jax.tree.map(np.testing.assert_array_equal, update(penalty(0.3), levels), update(penalty([0.3]), levels))

    def test_gamma_zero_leaves_only_the_upper_gradient_on_shared_leaves(self):
        levels = random_levels(0, 2)
        direction, _ = update(penalty(0.0), levels)
        jax.tree.map(np.testing.assert_array_equal, direction, levels[0])

    @pytest.mark.parametrize('dtype', [jnp.float16, jnp.bfloat16])
    def test_combines_in_float32_and_returns_the_upper_dtype(self, dtype):
        # In half precision the small lower gradients would vanish next to 1, one by one.
        g0, g1, g2 = jnp.ones([2], dtype), jnp.full([2], 1e-3, jnp.float32), jnp.full([2], 1e-3, jnp.float32)
        direction, state = update(penalty((1.0, 3.0)), ({'w': g0}, {'w': g1}, {'w': g2}))
        assert direction['w'].dtype == dtype
        np.testing.assert_array_equal(direction['w'], jnp.asarray(1.004, jnp.float32).astype(dtype))
        assert {leaf.dtype for leaf in state} == {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}

    def test_an_owned_leaf_has_the_upper_dtype_too(self):
        levels = ({'heads': {'unsup': jnp.zeros([2], jnp.bfloat16)}}, {'heads': {'unsup': jnp.ones([2], jnp.float32)}})
        direction, _ = update(penalty(2.0, scope=heads_scope), levels)
        assert direction['heads']['unsup'].dtype == jnp.bfloat16
        np.testing.assert_array_equal(direction['heads']['unsup'].astype(jnp.float32), [1.0, 1.0])


class TestScope:
    def test_paths_are_plain_keys(self):
        seen = set()
        tree = {'heads': {'ctc': {'kernel': 0.0}}, 'blocks': [0.0, (0.0,)], 'state': optax.ScaleByScheduleState(0.0)}
        penalty(1.0, scope=lambda path: seen.add(path)).init(jax.tree.map(jnp.asarray, tree))
        assert seen == {('heads', 'ctc', 'kernel'), ('blocks', 0), ('blocks', 1, 0), ('state', 'count')}

    @pytest.mark.parametrize('level', [2, -1, 'sup', True, 1.0])
    def test_an_unknown_level_raises_and_names_the_path(self, level):
        params = {'encoder': jnp.ones([2]), 'heads': {'sup': jnp.ones([2])}}
        transform = penalty(1.0, scope=lambda path: level if path[0] == 'heads' else None)
        with pytest.raises(ValueError, match=r"\('heads', 'sup'\).* 0 to 1"):
            transform.init(params)
        with pytest.raises(ValueError, match=r"\('heads', 'sup'\).* 0 to 1"):
            update(transform, (params, params), penalty(1.0).init(params))


class TwoHeads(nn.Module):
    """A shared encoder under two heads."""

    def setup(self):
        self.encoder = nn.Dense(4)
        self.sup = nn.Dense(3)
        self.unsup = nn.Dense(2)

    def __call__(self, inputs, head):
        return getattr(self, head)(jnp.tanh(self.encoder(inputs)))

    def both(self, inputs):
        return self(inputs, 'sup'), self(inputs, 'unsup')


@pytest.fixture(scope='module')
def grads():
    model = TwoHeads()
    inputs = jax.random.normal(jax.random.key(0), [5, 6])
    params = model.init(jax.random.key(1), inputs, method='both')['params']

    def loss(params, head):
        return jnp.mean((model.apply({'params': params}, inputs, head) - 1.0) ** 2)

    return tuple(jax.jit(jax.grad(loss), static_argnums=1)(params, head) for head in ('sup', 'unsup'))


class TestModel:
    """What reaches what, on a Linen model: an implementation can get this wrong without any error."""

    @staticmethod
    def direction(grads, gamma):
        return update(penalty(gamma, scope=lambda path: {'sup': 0, 'unsup': 1}.get(path[0])), grads)[0]

    def test_the_lower_gradient_reaches_the_encoder(self, grads):
        kernel = self.direction(grads, 7.0)['encoder']['kernel'] - grads[0]['encoder']['kernel']
        assert np.abs(kernel).max() > 1e-3
        np.testing.assert_allclose(kernel, 7.0 * grads[1]['encoder']['kernel'], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize('gamma', [0.0, 0.5, 180.0])
    def test_each_head_follows_its_own_level_unscaled(self, grads, gamma):
        direction = self.direction(grads, gamma)
        jax.tree.map(np.testing.assert_array_equal, direction['sup'], grads[0]['sup'])
        jax.tree.map(np.testing.assert_array_equal, direction['unsup'], grads[1]['unsup'])
        assert optax.tree.norm(direction['unsup']) > 1e-3

    @pytest.mark.parametrize(('level', 'other'), [(0, 'unsup'), (1, 'sup')])
    def test_nothing_of_a_level_reaches_the_other_head(self, grads, level, other):
        spoiled = list(grads)
        spoiled[level] = {**grads[level], other: jax.tree.map(lambda leaf: leaf + 1e3, grads[level][other])}
        jax.tree.map(np.testing.assert_array_equal, self.direction(spoiled, 0.5), self.direction(grads, 0.5))


class TestState:
    def test_starts_at_zero_with_the_first_gammas(self):
        state = penalty((0.5, optax.linear_schedule(3.0, 4.0, 10))).init(random_levels(0, 1)[0])
        assert isinstance(state, PenaltyState)
        expected = PenaltyState(0, [0.5, 3.0], [0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0])
        for actual, wanted in zip(state, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)

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

    def test_compiles_once_while_gamma_changes(self):
        traces = 0
        transform = penalty(optax.exponential_decay(1e-3, 5, 10.0))

        def step(levels, state):
            nonlocal traces
            traces += 1
            return update(transform, levels, state, lower_values=(jnp.ones([]),))

        compiled, levels = jax.jit(step), random_levels(0, 2)
        state = transform.init(levels[0])
        gammas = set()
        for _ in range(10):
            _, state = compiled(levels, state)
            gammas.add(float(state.gammas[0]))
        assert (traces, len(gammas)) == (1, 10)

    def test_its_state_can_be_donated(self):
        levels, transform = random_levels(0, 2), penalty(1.0)
        step = jax.jit(lambda state, levels: update(transform, levels, state), donate_argnums=0)
        state = transform.init(levels[0])
        for _ in range(2):
            _, state = step(state, levels)
        assert state.count == 2

    def test_its_state_can_be_scanned(self):
        levels = random_levels(0, 3)
        transform = penalty((optax.linear_schedule(0.0, 1.0, 5), 0.1), scope=heads_scope)
        state, _ = jax.lax.scan(
            lambda state, _: update(transform, levels, state)[::-1], transform.init(levels[0]), None, 5
        )
        np.testing.assert_allclose(state.gammas, [0.8, 0.1])

    @pytest.mark.parametrize('given', [0, 1, 3])
    def test_wrong_number_of_lower_gradients_raises_with_both_numbers(self, given):
        levels = random_levels(0, 1 + given)
        with pytest.raises(ValueError, match=rf'lower_grads .* 2 lower levels .* got {given}'):
            update(penalty((1.0, 2.0)), levels, penalty((1.0, 2.0)).init(levels[0]))

    def test_wrong_number_of_lower_values_raises_with_both_numbers(self):
        with pytest.raises(ValueError, match=r'lower_values .* 1 lower levels .* got 2'):
            update(penalty(1.0), random_levels(0, 2), lower_values=(1.0, 2.0))

    def test_a_lower_gradient_of_another_structure_raises(self):
        grads = random_levels(0, 1)[0]
        with pytest.raises(ValueError, match='heads'):
            update(penalty(1.0), (grads, {'encoder': grads['encoder']}))

    @pytest.mark.skipif(jax.device_count() < 2, reason='needs two devices (XLA_FLAGS, set by conftest.py)')
    @pytest.mark.parametrize('axes', [('data', None), (None, 'data')])
    def test_does_not_depend_on_sharding(self, axes):
        rng = np.random.default_rng(0)
        levels = tuple({'kernel': jnp.asarray(rng.normal(size=[4, 6]), jnp.float32)} for _ in range(2))
        mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
        sharded = jax.device_put(levels, NamedSharding(mesh, PartitionSpec(*axes)))
        step = jax.jit(lambda levels: update(penalty(0.7), levels))
        direction, state = step(sharded)
        assert direction['kernel'].sharding == sharded[0]['kernel'].sharding
        assert_close((direction, state), step(levels), rtol=1e-6, atol=1e-6)
        assert 'all-gather' not in step.lower(sharded).compile().as_text()


class TestQuadratic:
    """Upper ½|θ - a|² + ½(φ - θ₀)², lower ½(u·θ - η)² + ½(η - c)².

    The lower level's optimum over η is ¼(u·θ - c)², so the constraint is u·θ = c, the bilevel solution the projection
    of a on that plane, and the penalty's minimiser for a fixed γ is θ = a - γ u (u·a - c) / (2 + γ |u|²).
    """

    a, u, c = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.5, -1.0]), 1.0

    def upper(self, params):
        return 0.5 * jnp.sum((params['encoder'] - self.a) ** 2) + 0.5 * (params['sup'] - params['encoder'][0]) ** 2

    def lower(self, params):
        return 0.5 * (self.u @ params['encoder'] - params['unsup']) ** 2 + 0.5 * (params['unsup'] - self.c) ** 2

    def projection(self):
        return self.a - self.u * (self.u @ self.a - self.c) / (self.u @ self.u)

    def minimiser(self, gamma):
        return self.a - gamma * self.u * (self.u @ self.a - self.c) / (2 + gamma * self.u @ self.u)

    def solve(self, gamma, rate, steps):
        transform = penalty(gamma, scope=lambda path: {'sup': 0, 'unsup': 1}.get(path[0]))
        optimizer = optax.chain(transform, optax.sgd(rate))

        def step(_, carry):
            params, state = carry
            value, grads = jax.value_and_grad(self.lower)(params)
            updates, state = optimizer.update(
                jax.grad(self.upper)(params), state, params, lower_grads=(grads,), lower_values=(value,)
            )
            return optax.apply_updates(params, updates), state

        params = {'encoder': jnp.zeros([3]), 'sup': jnp.zeros([]), 'unsup': jnp.zeros([])}
        return jax.jit(lambda: jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params))))()

    def test_a_rising_gamma_leads_to_the_constrained_solution(self):
        params, (state, _) = self.solve(optax.linear_schedule(0.0, 256.0, 10_000), 1.5e-3, 30_000)
        np.testing.assert_allclose(params['encoder'], self.projection(), atol=1e-2)
        np.testing.assert_allclose(params['encoder'], self.minimiser(256.0), atol=3e-4)
        np.testing.assert_allclose(params['sup'], params['encoder'][0], atol=3e-4)
        np.testing.assert_allclose(params['unsup'], self.c, atol=1e-2)
        np.testing.assert_allclose(state.gammas, [256.0])
        assert state.values[0] < 1e-4

    def test_the_distance_to_the_solution_is_of_order_one_over_gamma(self):
        scaled = []
        for gamma in (16.0, 64.0, 256.0):
            params, _ = self.solve(gamma, 1 / (2 + 2.5 * gamma), int(100 * gamma))
            np.testing.assert_allclose(params['encoder'], self.minimiser(gamma), atol=3e-4)
            scaled.append(gamma * np.linalg.norm(params['encoder'] - self.projection()))
        limit = 2 * abs(self.u @ self.a - self.c) / np.linalg.norm(self.u) ** 3
        np.testing.assert_allclose(scaled, limit, rtol=0.1)


def test_docstring_examples():
    # Not `import ... as`: the package's attribute `penalty` is the function.
    results = doctest.testmod(importlib.import_module('bljust_jax.bilevel.penalty'))
    assert results.attempted > 0
    assert results.failed == 0
