"""Matched budgets: what the arms of a comparison may spend is made equal by scaling their schedules.

A budget is counted in one of four units, `MATCHES`. A run costs the sum over its steps of the cost of a step, which
depends on the levels that are active in it:

    cost of a run = Σ over sets of levels of steps(levels) · cost of a step of these levels

`matched` multiplies all step counts of an arm's strategy by one factor, so that its cost is that of the reference arm.
Labelled hours need no factor: `strategy.labelled_steps` means the same in every strategy.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from bljust_jax.config import Config, StrategyConfig
from bljust_jax.errors import UserError
from bljust_jax.strategies import UPPER, make_phases, steps_by_levels, steps_with

MATCHES = ('labelled_hours', 'steps', 'flops', 'wall')
TOLERANCE = 0.01  # of the reference's cost

# What decides, besides the steps, how much transcribed audio is seen: a part of the split is seen more often instead.
_LABELLED = ('labelled', 'batch_seconds', 'max_seconds', 'pack_seconds', 'speeds')
_STEPS = ('labelled_steps', 'explore_steps', 'finetune_steps')  # and seed_steps, if it is a number

StepCosts = Mapping[tuple[str, ...], float]


def matched(config: Config, reference: Config, match: str, cost: Callable[[Config], StepCosts]) -> Config:
    """`config` with its step counts scaled so that the run costs what that of `reference` does, within 1%.

    Nothing else changes: proportions of a schedule stay up to rounding, and so do intervals of evaluation, warm-up and
    number of cycles. The result for `config == reference` is `reference`.

    Args:
      config: of the arm.
      reference: of the reference arm.
      match: one of `MATCHES`.
      cost: cost of a step of each set of levels that a config's strategy has; see `bljust_jax.comparison.costs`. It is
        not called for labelled hours.

    Raises:
      UserError: if no factor comes within 1% (of a run of few steps, where a step is more than that), or, for labelled
        hours, if the arms differ in labelled steps or in how the labelled batches are made.
      ValueError: if `match` is none of `MATCHES`, or a cost is not positive.
    """
    if match not in MATCHES:
        raise ValueError(f'match must be one of {", ".join(MATCHES)}, not {match!r}')
    if match == 'labelled_hours':
        _check_labelled(config, reference)
        return config
    target = run_cost(reference.strategy, cost(reference))
    costs = cost(config)
    if config == reference:
        return config
    factor = target / run_cost(config.strategy, costs)
    # Rounding leaves some steps more or less: factors next to the exact one do too, but others.
    factors = sorted(factor * np.linspace(0.97, 1.03, 121), key=lambda near: abs(near - factor))
    candidates = dict.fromkeys(scaled(config.strategy, near) for near in factors)
    best = min(candidates, key=lambda strategy: abs(run_cost(strategy, costs) - target))
    error = run_cost(best, costs) / target - 1
    if abs(error) > TOLERANCE:
        raise UserError(
            f'--match={match}: strategy {config.strategy.name} comes no nearer than {100 * error:+.1f}% to the cost of '
            f'the reference, {reference.strategy.name}, with whole steps: give both more steps '
            '(config.strategy.labelled_steps).'
        )
    return dataclasses.replace(config, strategy=best)


def run_cost(strategy: StrategyConfig, costs: StepCosts) -> float:
    """What all steps of a run cost, at `costs` of a step of each set of levels.

    Raises:
      ValueError: if a cost is missing or not positive.
    """
    counts = steps_by_levels(make_phases(strategy))
    wrong = {levels: costs.get(levels) for levels in counts if not costs.get(levels, 0) > 0}
    if wrong:
        raise ValueError(f'the cost of a step must be positive, but is {wrong} for these levels')
    return sum(steps * costs[levels] for levels, steps in counts.items())


def scaled(strategy: StrategyConfig, factor: float) -> StrategyConfig:
    """`strategy` with every number of steps times `factor`, in whole steps.

    That of the seed is rounded down and others to the nearest, so that what makes up the labelled steps never comes to
    more than these.
    """
    steps = {name: math.floor(getattr(strategy, name) * factor + 0.5) for name in _STEPS}
    if strategy.seed_steps > 0:
        steps['seed_steps'] = math.floor(strategy.seed_steps * factor)
    return dataclasses.replace(strategy, **steps | {'labelled_steps': max(steps['labelled_steps'], 1)})


def _check_labelled(config: Config, reference: Config) -> None:
    mine, theirs = (steps_with(make_phases(one.strategy), UPPER) for one in (config, reference))
    if mine != theirs:
        raise UserError(
            f'--match=labelled_hours: strategy {config.strategy.name} takes {mine} labelled steps and the reference, '
            f'{reference.strategy.name}, {theirs}: give both the same config.strategy.labelled_steps.'
        )
    for name in _LABELLED:
        mine, theirs = (getattr(one.data, name) for one in (config, reference))
        if mine != theirs:
            raise UserError(
                f'--match=labelled_hours: config.data.{name} is {mine!r} and that of the reference {theirs!r}, so that '
                'as many steps are other labelled hours: give both the same, or match something else.'
            )
