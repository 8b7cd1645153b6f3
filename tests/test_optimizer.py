import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from bljust_jax.config import Config, LevelConfig, LevelsConfig, OptimizerConfig, StrategyConfig
from bljust_jax.errors import UserError
from bljust_jax.optimizer import make_descent, make_penalty
from bljust_jax.strategies import make_phases

pytestmark = pytest.mark.standard_dtypes

CONFIG = Config(
    levels=LevelsConfig(
        LevelConfig('ctc', learning_rate=0.02), LevelConfig('best_rq', learning_rate=0.03, gamma_max=2.0)
    ),
    strategy=StrategyConfig('bl_just', labelled_steps=9, explore_steps=4, finetune_steps=4, cycles=2, explore_rate=1.0),
    optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=0, final_ratio=1.0, weight_decay=0.1, clip=1e3),
)
PEAKS = {'encoder': 0.01, 'sup': 0.02, 'unsup': 0.03}
BOTH = ('sup', 'unsup')


@functools.cache
def tree(seed):
    keys = iter(jax.random.split(jax.random.key(seed), 6))

    def dense():
        return {'kernel': jax.random.normal(next(keys), (3, 2)), 'bias': jax.random.normal(next(keys), (2,))}

    return {'encoder': dense(), 'heads': {'sup': dense(), 'unsup': dense()}}


def groups(params):
    return {'encoder': params['encoder'], **params['heads']}


@functools.cache
def make_update(config):
    descent = make_descent(config, make_phases(config.strategy))

    def update(grads, state, params, active):
        updates, state = descent.update(grads, state, params, active=active)
        return optax.apply_updates(params, updates), state

    return descent, jax.jit(update, static_argnums=3)


def run(config, steps, scale=1.0):
    """Parameters after a step for each entry of `steps`, the levels active in it."""
    descent, update = make_update(config)
    params = tree(0)
    state = descent.init(params)
    for seed, active in enumerate(steps, start=1):
        grads = jax.tree.map(lambda leaf: scale * leaf, tree(seed))
        params, state = update(grads, state, params, active)
    return params, state


def torch_run(name, seeds, config, scale=1.0, clip=None):
    """The same group under torch's AdamW in float64, whose decay spares the bias."""
    start = {
        key: torch.tensor(np.asarray(leaf, np.float64), requires_grad=True)
        for key, leaf in groups(tree(0))[name].items()
    }
    options = config.optimizer
    optimizer = torch.optim.AdamW(
        [
            {'params': [start['kernel']], 'weight_decay': options.weight_decay},
            {'params': [start['bias']], 'weight_decay': 0.0},
        ],
        lr=PEAKS[name],
        betas=(options.b1, options.b2),
    )
    for seed in seeds:
        for key, leaf in groups(tree(seed))[name].items():
            start[key].grad = torch.tensor(scale * np.asarray(leaf, np.float64))
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(start.values(), clip)
        optimizer.step()
    return {key: leaf.detach().numpy() for key, leaf in start.items()}


@pytest.mark.parametrize('name', PEAKS)
def test_each_group_is_torchs_adamw_with_its_own_step_size(name):
    params, _ = run(CONFIG, [BOTH] * 4)
    for key, expected in torch_run(name, range(1, 5), CONFIG).items():
        np.testing.assert_allclose(groups(params)[name][key], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', PEAKS)
def test_gradients_are_clipped_group_by_group(name):
    """A large gradient of one head leaves the direction of the others alone."""
    config = dataclasses.replace(CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, clip=0.5))
    params, _ = run(config, [BOTH] * 3, scale=100.0)
    for key, expected in torch_run(name, range(1, 4), config, 100.0, 0.5).items():
        np.testing.assert_allclose(groups(params)[name][key], expected, rtol=1e-4, atol=1e-6)


def adam(state, name):
    """Count and moments of one group."""
    states = jax.tree.leaves(state[0].inner_states[name], is_leaf=lambda leaf: isinstance(leaf, optax.ScaleByAdamState))
    (found,) = [leaf for leaf in states if isinstance(leaf, optax.ScaleByAdamState)]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]


@pytest.mark.parametrize(('active', 'idle'), [(('unsup',), 'sup'), (('sup',), 'unsup')])
def test_an_idle_head_and_its_moments_stay_bit_identical(active, idle):
    before, before_state = run(CONFIG, [BOTH] * 2)
    after, after_state = run(CONFIG, [BOTH] * 2 + [active] * 2)
    jax.tree.map(np.testing.assert_array_equal, after['heads'][idle], before['heads'][idle])
    for now, then in zip(adam(after_state, idle), adam(before_state, idle), strict=True):
        np.testing.assert_array_equal(now, then)
    for name in {'encoder', *active}:
        assert (np.asarray(groups(after)[name]['kernel']) != groups(before)[name]['kernel']).all()
        assert all(
            (now != then).any() for now, then in zip(adam(after_state, name), adam(before_state, name), strict=True)
        )


def test_a_head_goes_on_where_it_stopped():
    """Steps of the other level in between change nothing: the same as torch without them."""
    params, _ = run(CONFIG, [BOTH, ('unsup',), ('unsup',), BOTH])
    for key, expected in torch_run('sup', [1, 4], CONFIG).items():
        np.testing.assert_allclose(params['heads']['sup'][key], expected, rtol=1e-4, atol=1e-6)


def test_decay_shrinks_kernels_alone():
    descent = make_descent(CONFIG, make_phases(CONFIG.strategy))
    params = tree(0)
    updates, _ = descent.update(jax.tree.map(jnp.zeros_like, params), descent.init(params), params, active=BOTH)
    for name, peak in PEAKS.items():
        np.testing.assert_allclose(
            groups(updates)[name]['kernel'], -peak * 0.1 * groups(params)[name]['kernel'], rtol=1e-5
        )
        np.testing.assert_array_equal(groups(updates)[name]['bias'], np.zeros(2))


def test_all_groups_follow_the_curve_of_the_stage():
    config = dataclasses.replace(
        CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, warmup_steps=2, weight_decay=0.0)
    )
    descent = make_descent(config, make_phases(config.strategy))
    params, grads = tree(0), jax.tree.map(jnp.ones_like, tree(0))
    state, steps = descent.init(params), []
    for _ in range(4):
        updates, state = descent.update(grads, state, params, active=BOTH)
        steps.append({name: -float(group['bias'][0]) for name, group in groups(updates).items()})
    for name, peak in PEAKS.items():  # a constant gradient makes Adam step by the step size itself
        np.testing.assert_allclose([step[name] for step in steps], [0, peak / 2, peak, peak], rtol=1e-3)


def gammas(config, updates, values=None, scale=1.0):
    """γ of updates with equal gradients, but for the lower one's `scale`, and the lower losses `values`."""
    penalty = make_penalty(config, make_phases(config.strategy))
    params = tree(0)
    lower = jax.tree.map(lambda leaf: scale * leaf, params)
    state, result = penalty.init(params), []
    for step in range(updates):
        losses = (1.0 if values is None else values[step],)
        _, state = penalty.update(params, state, params, lower_grads=(lower,), lower_values=losses)
        result.append(float(state.gammas[0]))
    return result


def test_gamma_rises_over_the_joint_steps():
    np.testing.assert_allclose(gammas(CONFIG, 6), [0, 0.5, 1, 1.5, 2, 2])


def test_the_weighted_sum_has_a_constant_weight():
    config = dataclasses.replace(CONFIG, strategy=dataclasses.replace(CONFIG.strategy, name='joint'))
    assert gammas(config, 4) == [2.0] * 4


def with_gamma(kind, **fields):
    level = dataclasses.replace(CONFIG.levels.unsup, gamma=kind, **fields)
    return dataclasses.replace(CONFIG, levels=dataclasses.replace(CONFIG.levels, unsup=level))


def test_gamma_may_change_every_few_steps_only():
    """Five joint steps in epochs of two: it reaches the highest γ in the last one."""
    np.testing.assert_allclose(gammas(with_gamma('linear', gamma_every=2), 6), [0, 0, 1, 1, 2, 2])


def test_gamma_that_has_no_time_to_rise_is_refused():
    level = LevelConfig('best_rq', gamma_every=1000)
    config = dataclasses.replace(CONFIG, levels=LevelsConfig(CONFIG.levels.sup, level))
    with pytest.raises(UserError, match=r'levels.unsup.gamma_every=1000 leaves γ no time .* 5 joint steps'):
        make_penalty(config, make_phases(config.strategy))


def test_gamma_may_be_relative_to_the_gradients():
    """The gradients are the same here, so that the ratio of their norms is 1."""
    np.testing.assert_allclose(gammas(with_gamma('balance'), 3), [2, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(gammas(with_gamma('invariant'), 6), [0, 0.5, 1, 1.5, 2, 2], rtol=1e-6)
    half = gammas(with_gamma('balance'), 3, scale=2.0)
    np.testing.assert_allclose(half, [1, 1, 1], rtol=1e-6)


def test_gamma_may_follow_the_value_gap():
    """The loss rises from 1 to 2, which leaves the running minimum at 1; γ begins at its least."""
    config = with_gamma('dual_ascent', gamma_step=0.5, gap_tolerance=0.4, gamma_min=0.2)
    np.testing.assert_allclose(gammas(config, 6, values=[1, 2, 2, 2, 2, 2]), [0.2, 0.2, 0.5, 0.8, 1.1, 1.4], rtol=1e-5)
    falling = dataclasses.replace(config, strategy=dataclasses.replace(CONFIG.strategy, name='joint'))
    assert gammas(falling, 2, values=[1, 9]) == [2.0, 2.0]


@pytest.mark.parametrize('name', ['supervised', 'pretrain_finetune'])
def test_strategies_without_joint_steps_have_a_penalty_too(name):
    """Their state has the same shape, so that checkpoints of all strategies look alike."""
    config = dataclasses.replace(CONFIG, strategy=dataclasses.replace(CONFIG.strategy, name=name))
    states = [make_penalty(c, make_phases(c.strategy)).init(tree(0)) for c in (config, CONFIG)]
    assert jax.tree.map(jnp.shape, states[0]) == jax.tree.map(jnp.shape, states[1])


def test_the_penalty_shares_the_encoder_and_leaves_heads_to_their_level():
    config = dataclasses.replace(CONFIG, strategy=dataclasses.replace(CONFIG.strategy, name='joint'))
    penalty = make_penalty(config, make_phases(config.strategy))
    upper, lower = tree(1), tree(2)
    direction, _ = penalty.update(upper, penalty.init(tree(0)), tree(0), lower_grads=(lower,))
    for key in ('kernel', 'bias'):
        np.testing.assert_allclose(
            direction['encoder'][key], upper['encoder'][key] + 2.0 * lower['encoder'][key], rtol=1e-6
        )
        np.testing.assert_array_equal(direction['heads']['sup'][key], upper['heads']['sup'][key])
        np.testing.assert_array_equal(direction['heads']['unsup'][key], lower['heads']['unsup'][key])
