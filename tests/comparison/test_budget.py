"""Matched budgets against closed forms: step counts of two strategies whose costs are known."""

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bljust_jax.comparison.budget import MATCHES, matched, run_cost, scaled
from bljust_jax.comparison.costs import unit_costs
from bljust_jax.config import Config, DataConfig, StrategyConfig
from bljust_jax.errors import UserError
from bljust_jax.strategies import STRATEGIES, make_phases, steps_by_levels

SUP, UNSUP, BOTH = ('sup',), ('unsup',), ('sup', 'unsup')
COSTS = {SUP: 3.0, UNSUP: 2.0, BOTH: 5.0}


def arm(name: str, **steps: int) -> Config:
    return Config(strategy=StrategyConfig(name=name, **steps))


def test_a_run_costs_what_its_steps_cost():
    config = arm('bl_just', labelled_steps=1000, explore_steps=300, finetune_steps=400, cycles=3)
    assert run_cost(config.strategy, COSTS) == 300 * 2 + 600 * 5 + 400 * 3


def test_labelled_hours_leave_configs_as_they_are():
    config = arm('supervised')
    assert matched(config, arm('bl_just'), 'labelled_hours', unit_costs) is config


def test_labelled_hours_need_as_many_labelled_steps():
    with pytest.raises(UserError, match='takes 999 labelled steps and the reference, bl_just, 1000'):
        matched(arm('supervised', labelled_steps=999), arm('bl_just'), 'labelled_hours', unit_costs)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('labelled', 'train_unlabelled'),
        ('batch_seconds', 32.0),
        ('max_seconds', 9.0),
        ('pack_seconds', 0.0),
        ('speeds', (1.0,)),
    ],
)
def test_labelled_hours_need_the_same_labelled_batches(field, value):
    config = dataclasses.replace(arm('supervised'), data=DataConfig(**{field: value}))
    with pytest.raises(UserError, match=f'config.data.{field} is .* and that of the reference'):
        matched(config, arm('bl_just'), 'labelled_hours', unit_costs)


def test_a_part_of_the_labelled_split_is_seen_as_long():
    config = dataclasses.replace(arm('bl_just'), data=DataConfig(labelled_hours=0.25, unlabelled_hours=0.5))
    assert matched(config, arm('bl_just'), 'labelled_hours', unit_costs) is config


def test_steps_of_a_supervised_arm_are_those_of_the_reference():
    reference = arm('bl_just', labelled_steps=1000, explore_steps=300)
    assert matched(arm('supervised'), reference, 'steps', unit_costs).strategy.labelled_steps == 1300


def test_costs_of_a_closed_form():
    """bl_just costs 300·2 + 600·5 + 400·3 = 4800, which is 1600 supervised and 960 joint steps."""
    reference = arm('bl_just', labelled_steps=1000, explore_steps=300, finetune_steps=400)
    for name, steps in {'supervised': 1600, 'joint': 960}.items():
        assert matched(arm(name), reference, 'flops', lambda _: COSTS).strategy.labelled_steps == steps


def test_all_numbers_of_steps_are_scaled_by_one_factor():
    strategy = StrategyConfig(labelled_steps=100, explore_steps=20, finetune_steps=50, cycles=3)
    assert scaled(strategy, 2.5) == StrategyConfig(labelled_steps=250, explore_steps=50, finetune_steps=125, cycles=3)


@given(st.integers(1, 50), st.integers(0, 50), st.floats(0.01, 5.0))
@settings(max_examples=40)
def test_parts_of_the_labelled_steps_stay_within_them(finetune, seed, factor):
    labelled = finetune + seed
    strategy = StrategyConfig(labelled_steps=labelled, finetune_steps=finetune, seed_steps=seed)
    result = Config(strategy=scaled(strategy, factor))  # a UserError if they do not
    assert abs(result.strategy.labelled_steps - labelled * factor) <= 1


def test_reference_stays_as_it_is():
    config = arm('bl_just', labelled_steps=7, explore_steps=3, finetune_steps=2)
    assert matched(config, config, 'wall', lambda _: COSTS) == config


def test_nothing_but_numbers_of_steps_changes():
    config = dataclasses.replace(arm('pretrain_finetune'), seed=3, log_every_steps=7)
    result = matched(config, arm('bl_just'), 'steps', unit_costs)
    assert dataclasses.replace(result, strategy=config.strategy) == config


@given(
    name=st.sampled_from(list(STRATEGIES)),
    reference=st.sampled_from(list(STRATEGIES)),
    labelled=st.integers(500, 5000),
    explore=st.integers(0, 500),
    finetune=st.integers(0, 250),
    seed=st.integers(-1, 250),
    match=st.sampled_from(['steps', 'flops', 'wall']),
    costs=st.lists(st.floats(1.0, 5.0), min_size=9, max_size=9),
)
@settings(max_examples=40)
def test_every_arm_comes_within_a_percent(name, reference, labelled, explore, finetune, seed, match, costs):
    steps = {'labelled_steps': labelled, 'explore_steps': explore, 'finetune_steps': finetune, 'seed_steps': seed}

    def cost(config: Config) -> dict[tuple[str, ...], float]:
        """A cost for each set of levels, the same in every arm."""
        kinds = sorted(set().union(*(steps_by_levels(make_phases(arm(each).strategy)) for each in STRATEGIES)))
        return dict(zip(kinds, costs, strict=False))

    target = run_cost(arm(reference, **steps).strategy, cost(arm(reference)))
    assume(target / run_cost(arm(name, **steps).strategy, cost(arm(name))) > 0.3)
    result = matched(arm(name, **steps), arm(reference, **steps), match, cost)
    assert abs(run_cost(result.strategy, cost(result)) / target - 1) <= 0.01


def test_few_steps_may_not_come_near_enough():
    with pytest.raises(UserError, match=r'comes no nearer than .*% to the cost of the reference, bl_just'):
        matched(arm('supervised'), arm('bl_just', labelled_steps=2, explore_steps=3, finetune_steps=0), 'flops', odd)


def odd(config: Config) -> dict[tuple[str, ...], float]:
    return {SUP: 7.0, UNSUP: 1.1, BOTH: 1.3}


def test_mistakes_of_the_caller():
    with pytest.raises(ValueError, match=f'must be one of {", ".join(MATCHES)}'):
        matched(arm('joint'), arm('bl_just'), 'hours', unit_costs)
    with pytest.raises(ValueError, match=r'positive, but is \{.*None'):
        matched(arm('joint'), arm('bl_just'), 'flops', lambda _: {SUP: 1.0})
