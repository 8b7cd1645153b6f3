"""Tests of penalty weights that adapt."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bljust_jax.bilevel import AdaptiveGamma, balance, dual_ascent, gamma_schedule, penalty

A, U, C = np.array([1.0, -2.0, 0.5], np.float32), np.array([1.0, 0.5, -1.0], np.float32), 1.0


def upper(theta):
    return 0.5 * jnp.sum((theta - A) ** 2)


def lower(theta):
    return 0.5 * (jnp.sum(U * theta) - C) ** 2


def descend(gamma, descent, steps, scales=(1.0, 1.0), **known):
    """Parameters and γ at each of `steps` steps on ½|θ - a|² above ½(u·θ - c)², the losses multiplied by `scales`."""
    optimizer = optax.chain(penalty(gamma), descent)

    def step(carry, _):
        theta, state = carry
        value, grads = jax.value_and_grad(lambda theta: scales[1] * lower(theta))(theta)
        upper_grads = jax.grad(lambda theta: scales[0] * upper(theta))(theta)
        updates, state = optimizer.update(
            upper_grads, state, theta, lower_grads=(grads,), lower_values=(value,), **known
        )
        return (optax.apply_updates(theta, updates), state), (theta, state[0].gammas[0])

    start = jnp.zeros([3])
    return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), None, steps)[1])()


def gammas(rule, grads, values=None, lower=1):
    """γ of updates with the gradients of all levels `[step][level]`."""
    transform = penalty(rule)
    state, result = transform.init(grads[0][0]), []
    for index, (first, *rest) in enumerate(grads):
        given = {} if values is None else {'lower_values': values[index], 'lower_optima': (0.0,) * lower}
        _, state = transform.update(first, state, lower_grads=tuple(rest), **given)
        result.append(state.gammas.tolist())
    return result


ONES = jnp.ones([2])


class TestDualAscent:
    def test_integrates_the_gap_above_the_tolerance_between_its_bounds(self):
        rule = dual_ascent(0.5, tolerance=1.0, init=1.0, gamma_min=0.5, gamma_max=3.0)
        values = [(3.0,), (1.0,), (9.0,), (-2.0,), (-2.0,), (0.0,)]
        assert gammas(rule, [(ONES, ONES)] * 6, values) == [[1.0], [2.0], [2.0], [3.0], [1.5], [0.5]]

    def test_finds_the_multiplier_of_the_constraint(self):
        """min ½|θ - a|² s.t. ½(u·θ - c)² <= ε has u·θ - c = √(2ε) and γ = (|u·a - c| / √(2ε) - 1) / |u|²."""
        tolerance = 0.02
        rule = dual_ascent(1.0, tolerance, gamma_max=20.0)
        theta, gamma = descend(rule, optax.sgd(0.02), 4000, lower_optima=(0.0,))
        multiplier = (abs(U @ A - C) / np.sqrt(2 * tolerance) - 1) / (U @ U)
        np.testing.assert_allclose(gamma[-1], multiplier, rtol=1e-3)
        np.testing.assert_allclose(lower(theta[-1]), tolerance, rtol=1e-2)

    def test_every_level_has_its_own(self):
        rules = (dual_ascent(1.0), dual_ascent(0.5, init=2.0))
        values = [(1.0, 4.0), (2.0, 1.0), (0.0, 0.0)]
        assert gammas(rules, [(ONES, ONES, ONES)] * 3, values, lower=2) == [[0.0, 2.0], [1.0, 4.0], [3.0, 4.5]]

    def test_needs_the_losses(self):
        with pytest.raises(ValueError, match='pass lower_values'):
            gammas(dual_ascent(0.1), [(ONES, ONES)])

    @pytest.mark.parametrize(('step_size', 'bounds'), [(0.0, {}), (-1.0, {}), (1.0, {'init': 2.0, 'gamma_max': 1.0})])
    def test_values_out_of_range_raise(self, step_size, bounds):
        with pytest.raises(ValueError, match='must'):
            dual_ascent(step_size, **bounds)


class TestBalance:
    def test_makes_the_lower_part_ratio_times_as_long(self):
        rng = np.random.default_rng(0)
        g0, g1, g2 = (jnp.asarray(rng.normal(size=[5]) * 10.0**k, jnp.float32) for k in (0, 3, -2))
        ((gamma1, gamma2),) = gammas((balance(0.5, decay=0.0), balance(2.0, decay=0.0)), [(g0, g1, g2)])
        norm = np.linalg.norm
        np.testing.assert_allclose(gamma2 * norm(g2), 2.0 * norm(g1), rtol=1e-4)
        np.testing.assert_allclose(gamma1 * norm(g1 + gamma2 * g2), 0.5 * norm(g0), rtol=1e-4)

    def test_smooths_both_norms(self):
        grads = [(ONES, ONES), (4 * ONES, ONES), (ONES, 3 * ONES)]
        up, low = (optax.ema(0.9, debias=False) for _ in range(2))
        states, expected = [up.init(jnp.zeros([])), low.init(jnp.zeros([]))], []
        for size in ((1.0, 1.0), (4.0, 1.0), (1.0, 3.0)):
            above, states[0] = up.update(jnp.asarray(size[0]), states[0])
            below, states[1] = low.update(jnp.asarray(size[1]), states[1])
            expected.append([0.5 * above / below])
        np.testing.assert_allclose(gammas(balance(0.5, decay=0.9), grads), expected, rtol=1e-5)

    def test_its_ratio_may_follow_a_schedule(self):
        schedule = optax.linear_schedule(0.0, 2.0, 2)
        found = gammas(balance(schedule), [(3 * ONES, ONES)] * 4)
        np.testing.assert_allclose(found, [[0.0], [3.0], [6.0], [6.0]], rtol=1e-6)

    def test_is_bounded(self):
        grads = [(ONES, ONES), (ONES, jnp.zeros([2])), (jnp.zeros([2]), ONES)]
        found = gammas(balance(2.0, decay=0.0, gamma_min=0.25, gamma_max=1.5), grads)
        assert found == [[1.5], [1.5], [0.25]]

    def test_begins_at_its_ratio(self):
        assert penalty(balance(0.75)).init(ONES).gammas.tolist() == [0.75]

    @pytest.mark.parametrize('options', [{'decay': 1.0}, {'decay': -0.1}, {'gamma_min': 2.0, 'gamma_max': 1.0}])
    def test_values_out_of_range_raise(self, options):
        with pytest.raises(ValueError, match='must'):
            balance(1.0, **options)


@pytest.mark.standard_dtypes
@pytest.mark.parametrize('descent', ['adam', 'sgd'])
@pytest.mark.parametrize('scales', [(1.0, 1000.0), (1000.0, 1.0), (1000.0, 1000.0), (1.0, 1e-3)])
def test_a_relative_schedule_does_not_depend_on_the_scale_of_the_losses(scales, descent):
    """γ times the lower gradient stays the same; a larger upper loss wants smaller steps of SGD, as without penalty."""
    rule = balance(gamma_schedule('linear', 2.0, 40))
    rates = (0.05, 0.05 / scales[0] if descent == 'sgd' else 0.05)
    plain, adjusted = (getattr(optax, descent)(rate) for rate in rates)
    theta, gamma = descend(rule, plain, 40)
    rescaled, other = descend(rule, adjusted, 40, scales)
    assert np.abs(theta[-1] - theta[0]).max() > 0.5
    np.testing.assert_allclose(rescaled, theta, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(other * scales[1] / scales[0], gamma, rtol=1e-3)


def test_an_absolute_schedule_does_depend_on_it():
    theta, _ = descend(gamma_schedule('linear', 4.0, 60), optax.sgd(0.05), 80)
    rescaled, _ = descend(gamma_schedule('linear', 4.0, 60), optax.sgd(0.05), 80, (1.0, 0.1))
    assert np.abs(rescaled - theta).max() > 0.1


def test_a_rule_of_ones_own_sees_the_gradients_of_all_levels():
    def update(seen, state):
        return jnp.asarray(0.5, jnp.float32), {
            'count': seen.count,
            'norms': jnp.stack([seen.upper_norm, seen.lower_norm]),
            'inner': seen.inner,
            'gap': seen.gap,
        }

    def init():
        return {'count': jnp.int32(0), 'norms': jnp.zeros([2]), 'inner': jnp.zeros([]), 'gap': jnp.zeros([])}

    rng = np.random.default_rng(0)
    g0, g1, g2 = (jnp.asarray(rng.normal(size=[4]), jnp.float32) for _ in range(3))
    transform = penalty((AdaptiveGamma(init, update), 3.0))
    _, state = transform.update(
        g0, transform.init(g0), lower_grads=(g1, g2), lower_values=(5.0, 0.0), lower_optima=(4.0, 0.0)
    )
    seen, nested = state.adaptive[0], g1 + 3.0 * g2
    np.testing.assert_allclose(seen['norms'], [np.linalg.norm(g0), np.linalg.norm(nested)], rtol=1e-5)
    np.testing.assert_allclose(seen['inner'], g0 @ nested, rtol=1e-5)
    assert seen['gap'] == 1.0 and seen['count'] == 0


@pytest.mark.parametrize('spoiled', ['upper', 'lower', 'value', 'optimum'])
def test_what_is_not_finite_leaves_no_trace(spoiled):
    transform = penalty((dual_ascent(1.0), balance()))
    bad = jnp.asarray([jnp.inf, 1.0])

    def update(state, name):
        return transform.update(
            bad if name == 'upper' else ONES,
            state,
            lower_grads=(ONES, bad if name == 'lower' else ONES),
            lower_values=(jnp.nan if name == 'value' else 2.0, 1.0),
            lower_optima=(jnp.nan if name == 'optimum' else None, None),
        )[1]

    before = update(update(transform.init(ONES), ''), '')
    after = update(before, spoiled)
    jax.tree.map(np.testing.assert_array_equal, (after.adaptive, after.optima), (before.adaptive, before.optima))
    assert after.count == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(update(after, '')))


@pytest.mark.parametrize('gamma', [np.array([1.0, 2.0]), lambda count: jnp.ones(2)])
def test_a_gamma_has_no_axes(gamma):
    with pytest.raises(ValueError, match=r'Each gamma must be a scalar: got the shape \(2,\)'):
        penalty((gamma,)).init(ONES)
