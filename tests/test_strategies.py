import collections
import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.config import Config, OptimizerConfig, StrategyConfig
from bljust_jax.errors import UserError
from bljust_jax.strategies import (
    STRATEGIES,
    Phase,
    active_at,
    beginnings,
    gamma_kind,
    learning_rate_curve,
    levels_of,
    make_phases,
    phase_at,
    steps_by_levels,
    steps_with,
    total_steps,
)

SUP, UNSUP, DISTILL = 'sup', 'unsup', 'distill'
ALL = sorted(STRATEGIES)


def config(name, labelled=10, explore=5, finetune=4, cycles=2):
    return StrategyConfig(name, labelled, explore, finetune, cycles)


@pytest.mark.parametrize(
    ('name', 'phases'),
    [
        ('supervised', [Phase('supervised', (SUP,), 10)]),
        ('joint', [Phase('joint', (SUP, UNSUP), 10)]),
        ('pretrain_finetune', [Phase('pretrain', (UNSUP,), 11, 0), Phase('finetune', (SUP,), 10, 1)]),
        (
            'bl_just',
            [
                Phase('explore', (UNSUP,), 2, rate=0.1),
                Phase('joint', (SUP, UNSUP), 3),
                Phase('explore', (UNSUP,), 3, rate=0.1),
                Phase('joint', (SUP, UNSUP), 3),
                Phase('finetune', (SUP,), 4),
            ],
        ),
        (
            'tl_sud',
            [
                Phase('explore', (UNSUP, DISTILL), 2, rate=0.1),
                Phase('joint', (SUP, UNSUP, DISTILL), 3),
                Phase('explore', (UNSUP, DISTILL), 3, rate=0.1),
                Phase('joint', (SUP, UNSUP, DISTILL), 3),
                Phase('finetune', (SUP,), 4),
            ],
        ),
        ('alternating', [Phase('alternating', (SUP, UNSUP), 20, turns=True)]),
        ('momentum_pseudo_label', [Phase('seed', (SUP,), 3), Phase('joint', (SUP, UNSUP), 7)]),
        ('pseudo_label', [Phase('seed', (SUP,), 3), Phase('student', (SUP, UNSUP), 7, 1, teaches=True)]),
        (
            'noisy_student',
            [
                Phase('seed', (SUP,), 3),
                Phase('generation 1', (SUP, UNSUP), 3, 1, teaches=True, anew=True),
                Phase('generation 2', (SUP, UNSUP), 4, 2, teaches=True, anew=True),
            ],
        ),
    ],
)
def test_phases(name, phases):
    assert make_phases(config(name)) == phases


@pytest.mark.parametrize(
    ('changes', 'names'),
    [
        ({'explore': 0}, ['joint', 'joint', 'finetune']),
        ({'finetune': 0}, ['explore', 'joint', 'explore', 'joint']),
        ({'finetune': 10}, ['explore', 'explore', 'finetune']),
        ({'explore': 1, 'cycles': 3}, ['joint', 'joint', 'explore', 'joint', 'finetune']),
    ],
)
def test_phases_without_steps_are_left_out(changes, names):
    assert [phase.name for phase in make_phases(config('bl_just', **changes))] == names


@pytest.mark.parametrize(
    ('name', 'steps'),
    [
        ('bl_just', [('seed', 2), ('explore', 2), ('joint', 2), ('explore', 3), ('joint', 2), ('finetune', 4)]),
        ('pretrain_finetune', [('pretrain', 9), ('finetune', 10)]),
        ('joint', [('seed', 2), ('joint', 8)]),
        ('alternating', [('seed', 2), ('alternating', 16)]),
        ('supervised', [('supervised', 10)]),
        ('noisy_student', [('seed', 2), ('generation 1', 4), ('generation 2', 4)]),
    ],
)
def test_supervised_steps_come_first_if_there_are_to_be_any(name, steps):
    phases = make_phases(dataclasses.replace(config(name), seed_steps=2))
    assert [(phase.name, phase.steps) for phase in phases] == steps


@pytest.mark.parametrize(('name', 'seed'), [('bl_just', 7), ('joint', 11)])
def test_no_more_steps_come_first_than_there_are(name, seed):
    dataclasses.replace(config(name), seed_steps=seed - 1)
    with pytest.raises(UserError, match=f'config.strategy.seed_steps must be at most {seed - 1}, .* not {seed}'):
        Config(strategy=dataclasses.replace(config(name), seed_steps=seed))


budgets = st.tuples(st.integers(1, 200), st.integers(0, 100), st.integers(0, 200), st.integers(1, 9)).filter(
    lambda budget: budget[2] <= budget[0]
)


@given(budgets)
def test_every_strategy_takes_the_same_labelled_steps(budget):
    for name in ALL:
        assert steps_with(make_phases(config(name, *budget)), SUP) == budget[0]


@given(budgets)
def test_pretraining_and_bl_just_take_the_same_self_supervised_steps(budget):
    labelled, explore, finetune, _ = budget
    both = [make_phases(config(name, *budget)) for name in ('bl_just', 'pretrain_finetune')]
    assert [steps_with(phases, UNSUP) for phases in both] == [explore + labelled - finetune] * 2
    assert steps_with(both[0], SUP, UNSUP) == labelled - finetune


@given(budgets)
def test_cycles_are_as_even_as_can_be(budget):
    phases = make_phases(config('bl_just', *budget))
    for name in ('explore', 'joint'):
        steps = [phase.steps for phase in phases if phase.name == name]
        assert not steps or max(steps) - min(steps) <= 1


def test_unknown_strategies_are_named():
    with pytest.raises(UserError, match="config.strategy.name must be one of bl_just, .*, not 'alternate'"):
        make_phases(config('alternate'))


@pytest.mark.parametrize('name', ALL)
def test_phase_at_every_step(name):
    phases = make_phases(config(name))
    expected = list(itertools.chain(*([phase] * phase.steps for phase in phases)))
    assert [phase_at(phases, step) for step in range(total_steps(phases))] == expected


def test_phase_at_boundaries():
    phases = make_phases(config('bl_just'))
    steps = [0, 1, 2, 4, 5, 7, 8, 10, 11, 14]
    names = ['explore', 'explore', 'joint', 'joint', 'explore', 'explore', 'joint', 'joint', 'finetune', 'finetune']
    assert [phase_at(phases, step).name for step in steps] == names
    with pytest.raises(IndexError):
        phase_at(phases, 15)


@pytest.mark.parametrize('name', ALL)
def test_every_run_has_two_levels_and_one_that_distils_a_third(name):
    assert levels_of(make_phases(config(name))) == ((SUP, UNSUP, DISTILL) if name == 'tl_sud' else (SUP, UNSUP))


def test_levels_take_turns():
    phases = make_phases(dataclasses.replace(config('alternating'), seed_steps=3))
    active = [active_at(phases, step) for step in range(total_steps(phases))]
    assert active == [(SUP,)] * 3 + [(SUP,), (UNSUP,)] * 7
    assert steps_with(phases, SUP) == 10 and steps_with(phases, UNSUP) == 7 and steps_with(phases, SUP, UNSUP) == 0


@pytest.mark.parametrize('name', ALL)
def test_every_step_is_counted_with_its_levels(name):
    phases = make_phases(config(name))
    active = collections.Counter(active_at(phases, step) for step in range(total_steps(phases)))
    assert steps_by_levels(phases) == active
    assert all(phase_at(phases, start) == phase for start, phase in beginnings(phases).items())
    assert len(beginnings(phases)) == len(phases)


def test_steps_with_counts_phases_in_which_all_levels_are_active():
    phases = make_phases(config('bl_just'))
    assert [steps_with(phases, *levels) for levels in [(SUP,), (UNSUP,), (SUP, UNSUP), ()]] == [10, 11, 6, 15]


@pytest.mark.parametrize('kind', ['linear', 'exponential', 'constant'])
def test_weighted_sums_alone_have_a_constant_weight(kind):
    assert {name: gamma_kind(config(name), kind) for name in ALL} == {
        'alternating': kind,
        'bl_just': kind,
        'tl_sud': kind,
        'joint': 'constant',
        'pseudo_label': 'constant',
        'noisy_student': 'constant',
        'momentum_pseudo_label': 'constant',
        'pretrain_finetune': kind,
        'supervised': kind,
    }


def rates(phases, warmup=4, final=0.1):
    curve = learning_rate_curve(phases, OptimizerConfig(warmup_steps=warmup, final_ratio=final))
    return np.array([float(curve(step)) for step in range(total_steps(phases) + 1)])


@pytest.mark.standard_dtypes
def test_exploration_takes_shorter_steps_on_the_same_curve():
    phases = make_phases(config('bl_just', 30, 10, 10))
    plain = rates([phase._replace(rate=1.0) for phase in phases])
    factors = [0.1 if phase_at(phases, step).name == 'explore' else 1.0 for step in range(total_steps(phases))]
    assert set(factors) == {0.1, 1.0}
    np.testing.assert_allclose(rates(phases)[:-1], plain[:-1] * factors, rtol=1e-6)


@pytest.mark.standard_dtypes
def test_one_stage_warms_up_and_decays_along_half_a_cosine():
    values = rates([phase._replace(rate=1.0) for phase in make_phases(config('bl_just', 30, 10, 10))])
    np.testing.assert_allclose(values[:5], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    decay = np.arange(41 - 4) / 36
    np.testing.assert_allclose(values[4:], 0.1 + 0.9 * (1 + np.cos(np.pi * decay)) / 2, atol=1e-6)


@pytest.mark.standard_dtypes
def test_fine_tuning_after_pretraining_starts_over():
    phases = make_phases(config('pretrain_finetune', 20, 10, 10))
    assert [phase.steps for phase in phases] == [20, 20]
    values = rates(phases)
    one_stage = rates([Phase('alone', (SUP,), 20)])
    np.testing.assert_allclose(values[:20], one_stage[:20], atol=1e-6)
    np.testing.assert_allclose(values[20:], one_stage, atol=1e-6)
    assert values[19] < 0.11 and values[20] == 0 and values[24] == 1 and values[40] == pytest.approx(0.1)


@pytest.mark.standard_dtypes
@pytest.mark.parametrize(('warmup', 'steps', 'peak'), [(0, 10, 0), (100, 10, 5), (3, 1, 0)])
def test_short_stages_reach_the_peak(warmup, steps, peak):
    values = rates([Phase('short', (SUP,), steps)], warmup)
    assert values[peak] == values.max() == pytest.approx(1) and values[-1] == pytest.approx(0.1)
