"""Tests of the multi-objective alternatives to the penalty."""

import doctest
import functools
import importlib
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies
from jax.sharding import NamedSharding, PartitionSpec
from scipy import optimize

from bljust_jax.bilevel import (
    COMBINERS,
    CombinerState,
    alternating,
    cagrad,
    combiner,
    mgda,
    modo,
    pcgrad,
    penalty,
    weighted_sum,
)

HEADS = ('sup', 'unsup', 'distil')
OTHERS = sorted(set(COMBINERS) - {'penalty'})

property_test = hypothesis.settings(max_examples=15, deadline=None)
seeds = strategies.integers(0, 2**32 - 1)


def heads_scope(path):
    return HEADS.index(path[1]) if path[0] == 'heads' else None


def random_levels(seed, levels):
    """Gradients of random sizes that agree or conflict, on an encoder that nests dicts, a list and a tuple."""
    rng = np.random.default_rng(seed)
    shapes = {
        'encoder': {'blocks': [{'kernel': (2, 3), 'bias': (3,)}], 'stem': ((),)},
        'heads': {name: {'kernel': (2,)} for name in HEADS[:levels]},
    }
    common = rng.normal(0, 1, 100)

    def grads():
        scale, share = 10.0 ** rng.uniform(-1, 1), rng.uniform(-1, 1)
        return jax.tree.map(
            lambda shape: jnp.asarray(
                scale * (share * common[: np.prod(shape, dtype=int)].reshape(shape) + rng.normal(0, 0.5, shape)),
                jnp.float32,
            ),
            shapes,
            is_leaf=lambda node: isinstance(node, tuple) and all(isinstance(size, int) for size in node),
        )

    return tuple(grads() for _ in range(levels))


def vector(tree):
    """The shared leaves in float64, `[elements]`."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree['encoder'])]).astype(np.float64)


def vectors(levels):
    return np.stack([vector(grads) for grads in levels])


def on_plane(*points):
    """Levels whose only shared leaf is a vector."""
    return tuple({'encoder': jnp.asarray(point, jnp.float32)} for point in points)


def update(transform, levels, state=None, **extra_args):
    state = transform.init(levels[0]) if state is None else state
    return transform.update(levels[0], state, levels[0], lower_grads=levels[1:], **extra_args)


@functools.cache
def compiled(factory, lower, **options):
    """A jitted update whose γ are arguments, so that examples share it."""

    @jax.jit
    def run(levels, gammas):
        return update(factory(tuple(gammas), scope=heads_scope, **options), levels)

    return lambda levels, gammas=(1.0,) * lower: run(levels, jnp.asarray(gammas, jnp.float32))


def direction_of(transform, *points):
    return jitted(transform, on_plane(*points))[0]['encoder']


def jitted(transform, levels, state=None, **extra_args):
    """`update`, compiled whole and not operation by operation."""
    return jax.jit(lambda *args: update(transform, *args, **extra_args))(levels, state)


def record_of(state):
    """What both the penalty and its alternatives keep."""
    return state.penalty if isinstance(state, CombinerState) else state


def assert_close(actual, expected, scale, tolerance=1e-4):
    """To within rounding of terms of size `scale`."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


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
