"""What a step of each set of levels costs: one, its FLOPs, or its seconds; for `bljust_jax.comparison.budget`."""

from collections.abc import Callable
from pathlib import Path

from bljust_jax.comparison.budget import StepCosts, steps_by_levels
from bljust_jax.config import Config


def step_costs(match: str, workdir: Path) -> Callable[[Config], StepCosts]:
    """The function that tells the cost of a step of each set of levels of a config, in the unit of `match`.

    Args:
      match: one of `budget.MATCHES`; `labelled_hours` has no cost, and gets that of `steps`.
      workdir: of the comparison, where `calibration.json` keeps the seconds that were measured.
    """
    if match in ('labelled_hours', 'steps'):
        return unit_costs
    raise NotImplementedError(match)


def unit_costs(config: Config) -> StepCosts:
    """Every step costs one."""
    return dict.fromkeys(steps_by_levels(config.strategy), 1.0)
