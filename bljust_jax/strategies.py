"""A training strategy is a schedule: its name -> a list of phases: which levels, how many steps, of what size."""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optax

from bljust_jax.config import LevelsConfig, OptimizerConfig, StrategyConfig
from bljust_jax.errors import UserError

UPPER, LOWER, LOWEST = 'sup', 'unsup', 'distill'


class Phase(NamedTuple):
    """Consecutive steps of one kind.

    Attributes:
      name: what reports call it.
      levels: the active levels, upper-most first; each draws a batch from its own stream at every step.
      steps: number of steps.
      stage: phases of one stage share one cycle of the learning rate.
      rate: factor on every step size.
    """

    name: str
    levels: tuple[str, ...]
    steps: int
    stage: int = 0
    rate: float = 1.0


def supervised(config: StrategyConfig) -> list[Phase]:
    """The supervised loss alone."""
    return [Phase('supervised', (UPPER,), config.labelled_steps)]


def pretrain_finetune(config: StrategyConfig) -> list[Phase]:
    """PT+FT: as many self-supervised steps as `bl_just` takes in all, then the supervised ones."""
    pretrain = config.explore_steps + config.labelled_steps - config.finetune_steps
    return [Phase('pretrain', (LOWER,), pretrain, 0), Phase('finetune', (UPPER,), config.labelled_steps, 1)]


def joint(config: StrategyConfig) -> list[Phase]:
    """Weighted sum of both losses (JUST, arXiv 2111.08137); the weight is `levels.unsup.gamma_max`."""
    return [Phase('joint', (UPPER, LOWER), config.labelled_steps)]


def bl_just(config: StrategyConfig) -> list[Phase]:
    """BL-JUST (arXiv 2412.08548): cycles of exploration and joint steps, then supervised fine-tuning."""
    explore = _split(config.explore_steps, config.cycles)
    joint = _split(config.labelled_steps - config.finetune_steps, config.cycles)
    cycles = [
        [
            Phase('explore', (LOWER,), explore_steps, rate=config.explore_rate),
            Phase('joint', (UPPER, LOWER), joint_steps),
        ]
        for explore_steps, joint_steps in zip(explore, joint, strict=True)
    ]
    return [*itertools.chain(*cycles), Phase('finetune', (UPPER,), config.finetune_steps)]


def tl_sud(config: StrategyConfig) -> list[Phase]:
    """Trilevel (Chien, Lin and Cui, Interspeech 2026): `bl_just` with distillation below the unsupervised level."""
    phases = bl_just(config)
    return [phase._replace(levels=(*phase.levels, LOWEST)) if LOWER in phase.levels else phase for phase in phases]


STRATEGIES: dict[str, Callable[[StrategyConfig], list[Phase]]] = {
    'bl_just': bl_just,
    'tl_sud': tl_sud,
    'supervised': supervised,
    'pretrain_finetune': pretrain_finetune,
    'joint': joint,
}


def make_phases(config: StrategyConfig) -> list[Phase]:
    """The phases of the strategy that `config.name` names; those without steps are left out.

    Raises:
      UserError: if there is no such strategy.
    """
    if config.name not in STRATEGIES:
        raise UserError(f'config.strategy.name must be one of {", ".join(STRATEGIES)}, not {config.name!r}.')
    return [phase for phase in STRATEGIES[config.name](config) if phase.steps > 0]


def levels_of(phases: Sequence[Phase]) -> tuple[str, ...]:
    """The levels of a run, upper-most first, each with a head: two in any run, and what else its phases use."""
    used = {UPPER, LOWER}.union(*(phase.levels for phase in phases))
    return tuple(field.name for field in dataclasses.fields(LevelsConfig) if field.name in used)


def gamma_kind(config: StrategyConfig, kind: str) -> str:
    """The schedule of γ: that of the level, but the weighted sum's weight is constant."""
    return 'constant' if config.name == 'joint' else kind


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase that step number `step` (from 0) belongs to."""
    return phases[bisect.bisect_right(list(itertools.accumulate(phase.steps for phase in phases)), step)]


def total_steps(phases: Sequence[Phase]) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in phases)


def steps_with(phases: Sequence[Phase], *levels: str) -> int:
    """Steps in which all of `levels` are active."""
    return sum(phase.steps for phase in phases if set(levels) <= set(phase.levels))


def learning_rate_curve(phases: Sequence[Phase], config: OptimizerConfig) -> optax.Schedule:
    """Factor on every peak step size.

    In each stage a linear warm-up to 1, then half a cosine to `final_ratio`; and in each phase its own `rate` on top.
    """
    stages = [sum(p.steps for p in group) for _, group in itertools.groupby(phases, key=lambda phase: phase.stage)]
    curves = [
        optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=1.0,
            warmup_steps=min(config.warmup_steps, steps // 2),
            decay_steps=steps,
            end_value=config.final_ratio,
        )
        for steps in stages
    ]
    curve = optax.join_schedules(curves, list(itertools.accumulate(stages))[:-1])
    ends = list(itertools.accumulate(phase.steps for phase in phases))[:-1]
    rate = optax.join_schedules([optax.constant_schedule(phase.rate) for phase in phases], ends)
    return lambda step: curve(step) * rate(step)


def _split(total: int, parts: int) -> list[int]:
    """`total` cut into `parts` whole numbers that differ by one at most."""
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]
