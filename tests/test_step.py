"""The training step with toy levels."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bljust_jax.bilevel import penalty
from bljust_jax.checkpoint import abstract_like
from bljust_jax.config import LevelsConfig, StrategyConfig
from bljust_jax.sharding import state_shardings
from bljust_jax.step import _penalty_gauges, level_gradient, make_steps
from bljust_jax.strategies import active_at, beginnings, total_steps
from bljust_jax.types import Batch
from tests.toy_system import BATCHES, BOTH, CONFIG, mesh_of, toy_batch, toy_level, toy_system

pytestmark = pytest.mark.standard_dtypes


def joint_system(gamma, **fields):
    """Three joint steps with this kind of γ."""
    level = dataclasses.replace(CONFIG.levels.unsup, gamma=gamma, **fields)
    strategy = StrategyConfig('bl_just', labelled_steps=3, explore_steps=0, finetune_steps=0, cycles=1)
    return toy_system(dataclasses.replace(CONFIG, levels=LevelsConfig(unsup=level), strategy=strategy))


def numpy_of(tree):
    """A copy that outlives the donation of the original."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def run(system, seed=0):
    """States (first included) and metrics of all steps of the strategy."""
    state = system.init_state(seed)
    steps = system.make_steps()
    states, metrics = [numpy_of(state)], []
    for step in range(total_steps(system.phases)):
        state, step_metrics = steps[active_at(system.phases, step)](state, BATCHES)
        states.append(numpy_of(state))
        metrics.append({name: float(ratio.sum) / float(ratio.weight) for name, ratio in step_metrics.items()})
    return states, metrics


@pytest.fixture(scope='module')
def bl_just():
    system = toy_system()
    assert [(phase.name, phase.steps) for phase in system.phases] == [
        ('explore', 2),
        ('joint', 2),
        ('explore', 2),
        ('joint', 2),
        ('finetune', 2),
    ]
    return run(system)


@pytest.mark.parametrize('parts', [2, 3, 6])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(parts):
    """Also if the parts weigh differently: those of the last rows are empty."""
    batch = toy_batch(3, rows=6)._replace(lengths=np.array([8, 8, 8, 8, 0, 0], np.int32))
    level = toy_level('sup', [])
    arguments = batch, toy_system().init_params(0), jnp.int32(0), jnp.int32(0)
    whole = level_gradient(level, *arguments)
    taken = jax.jit(functools.partial(level_gradient, level, microbatches=parts))(*arguments)
    assert float(whole.metrics['loss/sup'].weight) == float(taken.metrics['loss/sup'].weight) == 4
    np.testing.assert_allclose(taken.value, whole.value, rtol=1e-6)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7), taken.grads, whole.grads
    )
    draws = [float(gradient.metrics['draw_dropout/sup'].sum) for gradient in (whole, taken)]
    assert float(taken.metrics['draw_dropout/sup'].weight) == parts and draws[1] != parts * draws[0]


def test_training_in_parts_has_the_losses_of_training_in_wholes(bl_just):
    optimizer = dataclasses.replace(CONFIG.optimizer, microbatches=2)
    _, parts = run(toy_system(dataclasses.replace(CONFIG, optimizer=optimizer)))
    losses = [[step.get(f'loss/{name}', 0.0) for name in BOTH] for metrics in (parts, bl_just[1]) for step in metrics]
    np.testing.assert_allclose(losses[: len(parts)], losses[len(parts) :], rtol=1e-5)


def test_batches_are_counted_for_each_level(bl_just):
    states, _ = bl_just
    assert [int(state.step) for state in states] == list(range(11))
    assert [int(state.drawn['sup']) for state in states] == [0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 6]
    assert [int(state.drawn['unsup']) for state in states] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_gamma_rises_over_the_joint_steps_only(bl_just):
    _, metrics = bl_just
    gammas = [step.get('gamma/unsup') for step in metrics]
    np.testing.assert_allclose([gamma for gamma in gammas if gamma is not None], [0, 1, 2, 3], rtol=1e-6)
    assert [gamma is not None for gamma in gammas] == [False, False, True, True, False, False, True, True, False, False]


def test_metrics_are_those_of_the_active_levels(bl_just):
    _, metrics = bl_just
    explore, joint, finetune = metrics[0], metrics[2], metrics[9]
    assert {'loss/unsup', 'grad_norm/unsup'} <= set(explore) and 'loss/sup' not in explore
    assert {'loss/sup', 'grad_norm/sup'} <= set(finetune) and 'loss/unsup' not in finetune
    assert {'loss/sup', 'loss/unsup', 'grad_norm/sup', 'grad_norm/unsup', 'grad_cosine/unsup'} <= set(joint)
    assert {'stationarity', 'value_gap/unsup', 'grad_cosine_block/unsup/Dense_0'} <= set(joint)
    assert not [name for name in (*explore, *finetune) if name.startswith(('gamma', 'grad_cosine', 'value_gap'))]
    assert joint['update_share/sup'] + joint['update_share/unsup'] == pytest.approx(1)
    assert joint['grad_cosine_block/unsup/Dense_0'] == pytest.approx(joint['grad_cosine/unsup'])
    common = {'learning_rate/encoder', 'learning_rate/sup', 'learning_rate/unsup', 'update_norm', 'param_norm'}
    assert all(common <= set(step) for step in metrics)
    assert -1 <= joint['grad_cosine/unsup'] <= 1


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def adam(state, name):
    """Count and moments of one group's Adam."""
    found = jax.tree.leaves(
        state.optimizer[0].inner_states[name], is_leaf=lambda leaf: isinstance(leaf, optax.ScaleByAdamState)
    )
    return arrays([leaf for leaf in found if isinstance(leaf, optax.ScaleByAdamState)])


@pytest.mark.parametrize(('steps', 'idle', 'active'), [((4, 6), 'sup', 'unsup'), ((8, 10), 'unsup', 'sup')])
def test_an_idle_level_keeps_head_and_moments_bit_for_bit(bl_just, steps, idle, active):
    before, after = (bl_just[0][step] for step in steps)
    for now, then in zip(
        arrays(after.params['heads'][idle]) + adam(after, idle),
        arrays(before.params['heads'][idle]) + adam(before, idle),
        strict=True,
    ):
        np.testing.assert_array_equal(now, then)
    for now, then in zip(
        arrays((after.params['encoder'], after.params['heads'][active])) + adam(after, active),
        arrays((before.params['encoder'], before.params['heads'][active])) + adam(before, active),
        strict=True,
    ):
        assert (now != then).any()
    for now, then in zip(arrays(after.penalty), arrays(before.penalty), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_joint_step_is_the_closed_form():
    """θ takes the upper gradient plus γ times the lower one, each head its own level's."""
    system = toy_system(dataclasses.replace(CONFIG, strategy=dataclasses.replace(CONFIG.strategy, name='joint')))
    steps = make_steps(
        system.levels,
        [BOTH],
        combine=system.combine,
        descent=optax.with_extra_args_support(optax.sgd(1.0)),
        learning_rates=lambda step: {},
    )
    state = system.init_state(0)._replace(optimizer=optax.sgd(1.0).init(system.init_params(0)))
    before = numpy_of(state.params)
    upper, lower = (
        level_gradient(level, BATCHES[level.name], state.params, state.seed, state.step) for level in system.levels
    )
    after, metrics = steps[BOTH](state, BATCHES)
    taken = jax.tree.map(lambda now, then: np.asarray(then) - np.asarray(now), after.params, before)
    close = {'rtol': 1e-4, 'atol': 1e-6}
    jax.tree.map(
        lambda t, a, b: np.testing.assert_allclose(t, np.asarray(a) + 3.0 * np.asarray(b), **close),
        taken['encoder'],
        upper.grads['encoder'],
        lower.grads['encoder'],
    )
    for name, gradient in (('sup', upper), ('unsup', lower)):
        jax.tree.map(
            lambda t, g: np.testing.assert_allclose(t, g, **close), taken['heads'][name], gradient.grads['heads'][name]
        )
        np.testing.assert_allclose(
            metrics[f'grad_norm/{name}'].sum, optax.tree.norm(gradient.grads['encoder']), rtol=1e-5
        )
        assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(gradient.grads['encoder']))
    assert metrics['gamma/unsup'].sum == 3.0


@pytest.mark.parametrize(
    ('gamma', 'fields', 'expected'),
    [
        ('constant', {}, [3.0, 3.0, 3.0]),
        ('linear', {'gamma_every': 2}, [0.0, 0.0, 3.0]),
        ('exponential', {}, [0.003, 3.0 / np.sqrt(1000), 3.0]),
        ('dual_ascent', {'gamma_min': 0.5, 'gap_tolerance': 100.0}, [0.5, 0.5, 0.5]),
    ],
)
def test_every_schedule_of_gamma_takes_joint_steps(gamma, fields, expected):
    _, metrics = run(joint_system(gamma, **fields))
    np.testing.assert_allclose([step['gamma/unsup'] for step in metrics], expected, rtol=1e-5)


@pytest.mark.parametrize(('gamma', 'ratios'), [('balance', [3.0, 3.0, 3.0]), ('invariant', [0.0, 1.5, 3.0])])
def test_a_relative_gamma_is_a_ratio_of_norms(gamma, ratios):
    _, metrics = run(joint_system(gamma, gamma_decay=0.0))
    found = [step['gamma/unsup'] * step['grad_norm/unsup'] / step['grad_norm/sup'] for step in metrics]
    np.testing.assert_allclose(found, ratios, rtol=1e-5)


def test_the_value_gap_is_the_loss_above_its_smoothed_minimum(bl_just):
    _, metrics = bl_just
    mean, lowest, expected = None, np.inf, []
    joint = [step for step in metrics if 'gamma/unsup' in step]
    for loss in (step['loss/unsup'] for step in joint):
        mean = loss if mean is None else 0.9 * mean + 0.1 * loss
        lowest = min(lowest, mean)
        expected.append(loss - lowest)
    np.testing.assert_allclose([step['value_gap/unsup'] for step in joint], expected, rtol=1e-4, atol=1e-5)


def test_three_levels_have_metrics_of_every_pair():
    transform = penalty((0.5, 2.0))
    grads = [jnp.asarray(grad) for grad in ([1.0, 0.0], [3.0, 4.0], [0.0, -2.0])]
    _, state = transform.update(grads[0], transform.init(grads[0]), lower_grads=tuple(grads[1:]))
    gauges = _penalty_gauges(state, {'sup': 0, 'unsup': 1, 'distil': 2})
    np.testing.assert_allclose(gauges['grad_cosine/unsup'], 0.6, rtol=1e-6)
    np.testing.assert_allclose(gauges['grad_cosine_pair/unsup/distil'], -0.8, rtol=1e-6)
    np.testing.assert_allclose(gauges['stationarity'], 2.5, rtol=1e-6)
    shares = [float(gauges[f'update_share/{name}']) for name in ('sup', 'unsup', 'distil')]
    np.testing.assert_allclose(shares, np.array([1.0, 2.5, 2.0]) / 5.5, rtol=1e-6)
    assert gauges['gamma/distil'] == 2.0 and gauges['grad_norm/distil'] == 2.0


def test_the_value_is_the_mean_over_what_counts():
    level = toy_level('sup', [])
    params = toy_system().init_params(0)
    arguments = params, jnp.int32(0), jnp.int32(0)
    half = BATCHES['sup']._replace(lengths=np.array([8, 8, 0, 0], np.int32))
    alone = Batch(*(leaf[:2] for leaf in BATCHES['sup']))
    padded, expected = level_gradient(level, half, *arguments), level_gradient(level, alone, *arguments)
    np.testing.assert_allclose(padded.value, expected.value, rtol=1e-6)
    assert padded.metrics['loss/sup'].weight == 2
    nothing = level_gradient(level, half._replace(lengths=np.zeros(4, np.int32)), *arguments)
    assert nothing.value == 0 and all((leaf == 0).all() for leaf in jax.tree.leaves(nothing.grads))


def test_gradients_compile_once_for_each_shape_and_updates_once():
    traces = []
    system = toy_system(traces=traces)

    def traced(name, transformation):
        def update(*args, **kwargs):
            traces.append(name)
            return transformation.update(*args, **kwargs)

        return transformation._replace(update=update)

    system = system._replace(combine=traced('combine', system.combine), descent=traced('descent', system.descent))
    state, steps = system.init_state(0), system.make_steps()
    traces.clear()
    for step in range(total_steps(system.phases)):
        state, _ = steps[active_at(system.phases, step)](state, BATCHES)
    assert sorted(traces) == ['combine', 'descent', 'descent', 'descent', 'sup', 'unsup']
    traces.clear()
    longer = {'sup': BATCHES['sup'], 'unsup': toy_batch(2, samples=12)}
    for batches in (longer, BATCHES, longer):
        state, _ = steps[BOTH](state, batches)
    assert traces == ['unsup']


def draws(metrics):
    return [value for name, value in sorted(metrics.items()) if name.startswith('draw_')]


def test_random_streams_differ_by_step_level_and_name_and_repeat(bl_just):
    _, metrics = bl_just
    values = [value for step in metrics for value in draws(step)]
    assert len(values) == (6 + 8) * 3 == len(set(values))
    _, again = run(toy_system())
    assert [draws(step) for step in again] == [draws(step) for step in metrics]
    _, other = run(toy_system(), seed=1)
    assert not set(values) & {value for step in other for value in draws(step)}


def test_runs_repeat_bit_for_bit(bl_just):
    states, _ = run(toy_system())
    jax.tree.map(np.testing.assert_array_equal, states[-1], bl_just[0][-1])


def test_a_run_goes_on_from_its_state(bl_just):
    """From the state after step 5 come the states after 6, 7, ...: nothing else is remembered."""
    system = toy_system()
    state, steps = jax.tree.map(jnp.asarray, bl_just[0][5]), system.make_steps()
    for step in range(5, 10):
        state, _ = steps[active_at(system.phases, step)](state, BATCHES)
    jax.tree.map(np.testing.assert_array_equal, numpy_of(state), bl_just[0][10])


def strategy_system(name, **fields):
    strategy = StrategyConfig(name, labelled_steps=6, explore_steps=0, finetune_steps=0, **fields)
    return toy_system(dataclasses.replace(CONFIG, strategy=strategy))


def test_a_level_draws_the_same_whatever_the_strategy():
    """The n-th batch of a stream has the same masks, noise and dropout in every strategy."""
    draws = {}
    for name in ('bl_just', 'joint', 'supervised', 'pretrain_finetune', 'alternating'):
        _, metrics = run(strategy_system(name, cycles=1))
        for level in BOTH:
            mask = [step[f'draw_mask/{level}'] for step in metrics if f'draw_mask/{level}' in step]
            draws.setdefault(level, set()).add(tuple(mask))
    assert {len(mask) for mask in draws['sup']} == {6} and len(draws['sup']) == 1
    assert {len(mask) for mask in draws['unsup']} == {0, 6} and len(draws['unsup']) == 2


def test_alternating_levels_follow_their_own_gradients():
    """Each step is that of its level alone, so the other level's head stays."""
    states, metrics = run(strategy_system('alternating'))
    assert len(metrics) == 12
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        still, moved = BOTH[1 - number % 2], BOTH[number % 2]
        assert_same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
        assert_same(before.params['heads'][still], after.params['heads'][still])
        assert not np.array_equal(before.params['heads'][moved]['kernel'], after.params['heads'][moved]['kernel'])


@pytest.mark.parametrize('name', ['pseudo_label', 'noisy_student'])
def test_a_student_becomes_the_teacher_where_a_phase_begins(name):
    system = strategy_system(name, seed_steps=2, generations=2)._replace(teacher=CONFIG)
    assert not system.frozen_teacher and not system.momentum
    state, steps, initial = system.init_state(0), system.make_steps(), numpy_of(system.init_params(0))
    begins = beginnings(system.phases)
    same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
    for step in range(total_steps(system.phases)):
        before = numpy_of(state)
        if phase := begins.get(step):
            state = system.begin(phase, state)
            if phase.teaches:
                same(state.teacher, before.params)
                same(state.params, initial if phase.anew else before.params)
            if phase.anew:
                moments = [mu for _, mu in optax.tree.get_all_with_path(state.optimizer, 'mu')]
                assert len(jax.tree.leaves(moments)) == len(jax.tree.leaves(state.params))
                assert not any(leaf.any() for leaf in jax.tree.leaves(moments))
                assert int(state.optimizer[1].count) == step
                assert not state.guards.taken.any()
        teacher = numpy_of(state.teacher)
        state, _ = steps[active_at(system.phases, step)](state, BATCHES)
        same(teacher, state.teacher)
    assert [start for start, phase in begins.items() if phase.teaches] == [2] if name == 'pseudo_label' else [2, 4]


def test_the_state_is_donated():
    system = toy_system()
    state = system.init_state(0)
    system.make_steps()[BOTH](state, BATCHES)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize(('shape', 'active'), [((1, 1), ('sup',)), ((1, 1), BOTH), ((2, 1), BOTH), ((1, 2), BOTH)])
def test_an_update_writes_the_state_over_the_old_one(shape, active):
    """There is never a second copy of parameters and optimiser state."""
    system = toy_system()
    abstract = jax.eval_shape(system.init_state, 0)
    shardings = state_shardings(mesh_of(shape), abstract)
    state = abstract_like(abstract, shardings)
    step = system.make_steps(shardings)[active]
    gradients = [
        jax.eval_shape(gradient, BATCHES[name], state.params, state.seed, state.step)
        for name, gradient in step.gradients.items()
    ]
    memory = step.update.lower(state, gradients).compile().memory_analysis()
    leaves = jax.tree.leaves((state.params, state.optimizer))
    size = sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)
    assert memory.alias_size_in_bytes >= size > 0
