"""Tests of the penalty transformation: its direction."""

import dataclasses
import doctest
import importlib
import re
from typing import Any

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies

from bljust_jax.bilevel import PenaltyState, balance, dual_ascent, penalty
from bljust_jax.bilevel.scope import paths_of
from tests.bilevel.trees import (
    HEADS,
    SHAPES,
    assert_close,
    assert_is_closed_form,
    double,
    heads_scope,
    random_levels,
    update,
)

property_test = hypothesis.settings(max_examples=25, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)
positive = strategies.floats(1e-3, 200.0)


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

    def test_an_array_of_gammas_is_a_sequence(self):
        levels = random_levels(0, 3)
        expected = update(penalty((0.5, 2.0)), levels)
        jax.tree.map(np.testing.assert_array_equal, update(penalty(jnp.asarray([0.5, 2.0])), levels), expected)

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
        diagnostics = jax.tree.leaves(state[: PenaltyState._fields.index('adaptive')])
        assert {leaf.dtype for leaf in diagnostics} == {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}

    def test_an_owned_leaf_has_the_upper_dtype_too(self):
        levels = ({'heads': {'unsup': jnp.zeros([2], jnp.bfloat16)}}, {'heads': {'unsup': jnp.ones([2], jnp.float32)}})
        direction, _ = update(penalty(2.0, scope=heads_scope), levels)
        assert direction['heads']['unsup'].dtype == jnp.bfloat16
        np.testing.assert_array_equal(direction['heads']['unsup'].astype(jnp.float32), [1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf to be: its shape, and the dtype of the upper and of the lower gradients."""

    shape: tuple[int, ...]
    upper: Any
    lower: Any

    def draw(self, rng, level):
        return jnp.asarray(rng.normal(size=self.shape), self.lower if level else self.upper)


dtypes = strategies.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16])
trees = strategies.recursive(
    strategies.builds(Leaf, strategies.sampled_from(SHAPES), dtypes, dtypes),
    lambda children: (
        strategies.lists(children, min_size=1, max_size=3)
        | strategies.tuples(children, children)
        | strategies.dictionaries(strategies.sampled_from('abc'), children, min_size=1)
    ),
    max_leaves=6,
)


class TestAnyTree:
    """Trees, dtypes, numbers of levels and scopes at random."""

    @property_test
    @hypothesis.given(
        trees, seeds, strategies.lists(strategies.sampled_from([0.0, 0.3, 4.0]), max_size=3), strategies.data()
    )
    def test_direction_and_diagnostics(self, tree, seed, gammas, data):
        rng, lower = np.random.default_rng(seed), len(gammas)
        levels = [jax.tree.map(lambda leaf, level=level: leaf.draw(rng, level), tree) for level in range(1 + lower)]
        paths = paths_of(tree)
        owned = [data.draw(strategies.none() | strategies.integers(0, lower)) for _ in paths]
        direction, state = update(penalty(gammas, scope=dict(zip(paths, owned, strict=True)).get), levels)

        weights, shared = np.cumprod([1.0, *gammas]), [np.zeros([1 + lower, 0])]
        assert jax.tree.structure(direction) == jax.tree.structure(tree)
        leaves = zip(jax.tree.leaves(tree), owned, *map(jax.tree.leaves, [direction, *levels]), strict=True)
        for spec, owner, found, *grads in leaves:
            assert (found.shape, found.dtype) == (spec.shape, spec.upper)
            exact = np.stack([np.asarray(grad, np.float64).ravel() for grad in grads])
            if owner is not None:
                expected = np.asarray(grads[owner].astype(spec.upper), np.float64).ravel()
                np.testing.assert_array_equal(np.asarray(found, np.float64).ravel(), expected)
                continue
            shared.append(exact)
            terms = weights[:, None] * exact
            rounding = float(jnp.finfo(spec.upper).eps) * np.abs(terms.sum(axis=0)) + 1e-6 * np.abs(terms).sum(axis=0)
            difference = np.abs(np.asarray(found, np.float64).ravel() - terms.sum(axis=0))
            assert (difference <= rounding + float(jnp.finfo(spec.upper).tiny)).all()

        vectors = np.concatenate(shared, axis=1)
        norms = np.linalg.norm(vectors, axis=1)
        close = {'rtol': 1e-4, 'atol': 1e-5 * float(weights @ norms)}
        np.testing.assert_allclose(state.norms, norms, **close)
        np.testing.assert_allclose(state.stationarity, np.linalg.norm(weights @ vectors), **close)
        if norms.all():
            cosines = vectors @ vectors.T / np.outer(norms, norms)
            np.testing.assert_allclose(state.pair_cosines, cosines, atol=1e-4)
            np.testing.assert_array_equal(state.cosines, state.pair_cosines[0, 1:])
            np.testing.assert_allclose(state.shares, weights * norms / (weights @ norms), rtol=1e-4)


class TestScaling:
    """γ1 = 2, γ2 = 3: the weights are 1, 2, 6, and 9 in all."""

    gammas = (2.0, 3.0)

    def test_normalize_divides_shared_leaves_by_the_sum_of_the_weights(self):
        levels = random_levels(0, 3)
        plain, before = update(penalty(self.gammas, scope=heads_scope), levels)
        direction, state = update(penalty(self.gammas, scope=heads_scope, normalize=True), levels)
        assert_close(direction['encoder'], jax.tree.map(lambda leaf: leaf / 9, plain['encoder']))
        jax.tree.map(np.testing.assert_array_equal, direction['heads'], plain['heads'])
        jax.tree.map(np.testing.assert_array_equal, state, before)

    @pytest.mark.parametrize('normalize', [False, True])
    def test_scale_owned_multiplies_each_head_by_its_weight(self, normalize):
        levels = random_levels(0, 3)
        direction, _ = update(penalty(self.gammas, scope=heads_scope, scale_owned=True, normalize=normalize), levels)
        for head, grads, weight in zip(HEADS, levels, (1.0, 2.0, 6.0), strict=True):
            scale = weight / 9 if normalize else weight
            expected = jax.tree.map(lambda leaf, scale=scale: scale * leaf, grads['heads'][head])
            assert_close(direction['heads'][head], expected)

    def test_normalized_steps_do_not_grow_with_gamma(self):
        levels = random_levels(0, 2)
        sizes = [float(optax.tree.norm(update(penalty(gamma, normalize=True), levels)[0])) for gamma in (1.0, 1e6)]
        assert sizes[1] <= max(float(optax.tree.norm(grads)) for grads in levels) * 1.001
        np.testing.assert_allclose(sizes[1], optax.tree.norm(levels[1]), rtol=1e-3)


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


class TestSomeLevels:
    """Updates in which not all levels take part."""

    @property_test
    @hypothesis.given(
        seeds,
        strategies.lists(positive, min_size=2, max_size=2),
        strategies.sets(strategies.integers(0, 2), min_size=1).map(sorted),
    )
    def test_they_nest_as_they_are_and_other_heads_stand_still(self, seed, gammas, active):
        levels = random_levels(seed, 3)
        direction, state = self.update(penalty(gammas, scope=heads_scope), levels, active)
        own = [gammas[level - 1] for level in active[1:]]
        assert_is_closed_form(direction['encoder'], own, [levels[level]['encoder'] for level in active])
        for level, head in enumerate(HEADS):
            expected = levels[level] if level in active else jax.tree.map(jnp.zeros_like, levels[level])
            jax.tree.map(np.testing.assert_array_equal, direction['heads'][head], expected['heads'][head])
        vectors = [np.concatenate([x.ravel() for x in jax.tree.leaves(double(g['encoder']))]) for g in levels]
        norms = np.where(np.isin(range(3), active), np.linalg.norm(vectors, axis=1), 0.0)
        np.testing.assert_allclose(state.norms, norms, rtol=1e-5)
        weights = np.zeros(3)
        weights[active] = np.cumprod([1.0, *own])
        np.testing.assert_allclose(state.shares, weights * norms / (weights @ norms), rtol=1e-4)
        np.testing.assert_allclose(
            state.stationarity, np.linalg.norm(weights @ np.stack(vectors)), rtol=1e-3, atol=1e-5 * weights @ norms
        )
        upper = active[0]
        for level in active[1:]:
            cosine = vectors[upper] @ vectors[level] / norms[upper] / norms[level]
            np.testing.assert_allclose(state.cosines[level - 1], cosine, atol=1e-4)

    def test_all_of_them_are_the_same_as_none_named(self):
        transform, levels = penalty((0.5, balance()), scope=heads_scope), random_levels(0, 3)
        jax.tree.map(
            np.testing.assert_array_equal, self.update(transform, levels, (0, 1, 2)), update(transform, levels)
        )

    def test_schedules_wait_and_what_is_not_used_does_not_change(self):
        schedule = optax.linear_schedule(0.0, 8.0, 8)
        ascent = [dual_ascent(1.0, init=1.0) for _ in range(2)]
        levels = random_levels(0, 4)
        transform = penalty((schedule, *ascent))
        state = transform.init(levels[0])
        for _ in range(2):
            _, state = update(transform, levels, state, lower_values=(5.0, 5.0, 5.0), lower_optima=(0.0, 2.0, 3.0))
        _, after = self.update(transform, levels, (1, 2, 3), state, lower_values=(4.0, 6.0), lower_optima=(2.0, 3.0))
        assert after.count == state.count == 2
        np.testing.assert_allclose(after.gammas, [1.0, 7.0, 5.0])  # the first from the step before, 1 + 2·3 and 1 + 2·2
        np.testing.assert_array_equal(after.values, [5.0, 4.0, 6.0])
        np.testing.assert_array_equal(after.gaps, [5.0, 2.0, 3.0])
        jax.tree.map(np.testing.assert_array_equal, after.optima[0], state.optima[0])
        _, last = update(transform, levels, after, lower_values=(5.0, 5.0, 5.0), lower_optima=(0.0, 2.0, 3.0))
        np.testing.assert_allclose(last.gammas, [2.0, 9.0, 8.0])

    def test_normalized_by_the_weights_that_count(self):
        levels = random_levels(0, 3)
        plain, normalized = (
            self.update(penalty((5.0, 3.0), normalize=normalize), levels, (1, 2))[0] for normalize in (False, True)
        )
        assert_close(normalized, jax.tree.map(lambda leaf: leaf / 4, plain))

    @pytest.mark.parametrize('levels', [(), (2, 1), (1, 1), (1, 3), (-1, 1)])
    def test_wrong_levels_raise_with_what_was_given(self, levels):
        grads = random_levels(0, 1)[0]
        transform = penalty((1.0, 1.0))
        with pytest.raises(ValueError, match=rf'levels must ascend between 0 and 2, .* got {re.escape(str(levels))}'):
            transform.update(grads, transform.init(grads), lower_grads=(grads,), levels=levels)

    @staticmethod
    def update(transform, levels, active, state=None, **extra_args):
        first, *rest = (levels[level] for level in active)
        state = transform.init(first) if state is None else state
        return transform.update(first, state, lower_grads=tuple(rest), levels=active, **extra_args)


class TestErrors:
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

    def test_a_lower_gradient_of_another_shape_raises_with_both_and_the_leaf(self):
        upper, lower = {'a': {'w': jnp.ones([3])}}, {'a': {'w': jnp.ones([1])}}
        with pytest.raises(ValueError, match=r"\['a'\]\['w'\] they have \(1,\) and \(3,\)"):
            update(penalty(1.0), (upper, lower))

    def test_gammas_of_two_axes_raise_with_their_shape(self):
        with pytest.raises(ValueError, match=r'\[lower\]: got the shape \(2, 1\)'):
            penalty(jnp.ones([2, 1]))


def test_docstring_examples():
    # Not `import ... as`: the package's attribute `penalty` is the function.
    results = doctest.testmod(importlib.import_module('bljust_jax.bilevel.penalty'))
    assert results.attempted > 0
    assert results.failed == 0
