"""A training strategy is a schedule: its name -> a list of phases: which levels, how many steps, of what size."""

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optax

from bljust_jax.config import PSEUDO_LABELLING, LevelsConfig, OptimizerConfig, StrategyConfig
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
      turns: the levels take turns, one a step, instead of being active together.
      teaches: the student becomes the teacher when the phase begins, and remains it as it then is.
      anew: after that, the student begins again, from the parameters that it began with.
    """

    name: str
    levels: tuple[str, ...]
    steps: int
    stage: int = 0
    rate: float = 1.0
    turns: bool = False
    teaches: bool = False
    anew: bool = False

    @property
    def active_sets(self) -> tuple[tuple[str, ...], ...]:
        """The levels that are active together, in the order in which the steps have them."""
        return tuple((level,) for level in self.levels) if self.turns else (self.levels,)


def supervised(config: StrategyConfig) -> list[Phase]:
    """The supervised loss alone."""
    return [Phase('supervised', (UPPER,), config.labelled_steps)]


def pretrain_finetune(config: StrategyConfig) -> list[Phase]:
    """PT+FT: as many self-supervised steps as `bl_just` takes in all, then the supervised ones."""
    pretrain = config.explore_steps + config.labelled_steps - config.finetune_steps - seed_steps(config)
    return [Phase('pretrain', (LOWER,), pretrain, 0), Phase('finetune', (UPPER,), config.labelled_steps, 1)]


def joint(config: StrategyConfig) -> list[Phase]:
    """Weighted sum of both losses (JUST, arXiv 2111.08137); the weight is `levels.unsup.gamma_max`."""
    seed = seed_steps(config)
    return [Phase('seed', (UPPER,), seed), Phase('joint', (UPPER, LOWER), config.labelled_steps - seed)]


def alternating(config: StrategyConfig) -> list[Phase]:
    """A supervised step, a self-supervised one, and so on: as many of each as `joint` has."""
    seed = seed_steps(config)
    steps = 2 * (config.labelled_steps - seed)
    return [Phase('seed', (UPPER,), seed), Phase('alternating', (UPPER, LOWER), steps, turns=True)]


def bl_just(config: StrategyConfig) -> list[Phase]:
    """BL-JUST (arXiv 2412.08548): cycles of exploration and joint steps, then supervised fine-tuning."""
    seed = seed_steps(config)
    explore = _split(config.explore_steps, config.cycles)
    joint = _split(config.labelled_steps - config.finetune_steps - seed, config.cycles)
    cycles = [
        [
            Phase('explore', (LOWER,), explore_steps, rate=config.explore_rate),
            Phase('joint', (UPPER, LOWER), joint_steps),
        ]
        for explore_steps, joint_steps in zip(explore, joint, strict=True)
    ]
    finetune = Phase('finetune', (UPPER,), config.finetune_steps)
    return [Phase('seed', (UPPER,), seed), *itertools.chain(*cycles), finetune]


def tl_sud(config: StrategyConfig) -> list[Phase]:
    """Trilevel (Chien, Lin and Cui, Interspeech 2026): `bl_just` with distillation below the unsupervised level."""
    phases = bl_just(config)
    return [phase._replace(levels=(*phase.levels, LOWEST)) if LOWER in phase.levels else phase for phase in phases]


def pseudo_label(config: StrategyConfig) -> list[Phase]:
    """Self-training: the student learns to recognise, labels the untranscribed speech, and goes on with both."""
    seed = seed_steps(config)
    student = Phase('student', (UPPER, LOWER), config.labelled_steps - seed, 1, teaches=True)
    return [Phase('seed', (UPPER,), seed), student]


def noisy_student(config: StrategyConfig) -> list[Phase]:
    """Noisy student training (arXiv 2005.09629): each generation begins anew and is taught by the one before it."""
    seed = seed_steps(config)
    generations = enumerate(_split(config.labelled_steps - seed, config.generations), 1)
    students = [
        Phase(f'generation {number}', (UPPER, LOWER), steps, number, teaches=True, anew=True)
        for number, steps in generations
    ]
    return [Phase('seed', (UPPER,), seed), *students]


def momentum_pseudo_label(config: StrategyConfig) -> list[Phase]:
    """Momentum pseudo-labelling (arXiv 2106.08922): the teacher is the student's moving average."""
    return joint(config)


STRATEGIES: dict[str, Callable[[StrategyConfig], list[Phase]]] = {
    'bl_just': bl_just,
    'tl_sud': tl_sud,
    'supervised': supervised,
    'pretrain_finetune': pretrain_finetune,
    'joint': joint,
    'alternating': alternating,
    'pseudo_label': pseudo_label,
    'noisy_student': noisy_student,
    'momentum_pseudo_label': momentum_pseudo_label,
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


def seed_steps(config: StrategyConfig) -> int:
    """How many supervised steps come first: a third of all where a teacher's labels are learnt, if none are named."""
    if config.seed_steps >= 0:
        return config.seed_steps
    return config.labelled_steps // 3 if config.name in PSEUDO_LABELLING else 0


def gamma_kind(config: StrategyConfig, kind: str) -> str:
    """The schedule of γ: that of the level, but the weight of a weighted sum is constant."""
    return 'constant' if config.name in {'joint', *PSEUDO_LABELLING} else kind


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase that step number `step` (from 0) belongs to."""
    return phases[bisect.bisect_right(list(itertools.accumulate(phase.steps for phase in phases)), step)]


def beginnings(phases: Sequence[Phase]) -> dict[int, Phase]:
    """The step (from 0) that each phase begins with."""
    return dict(zip(itertools.accumulate((phase.steps for phase in phases[:-1]), initial=0), phases, strict=True))


def active_at(phases: Sequence[Phase], step: int) -> tuple[str, ...]:
    """The levels that are active in step number `step` (from 0)."""
    first, phase = max((start, phase) for start, phase in beginnings(phases).items() if start <= step)
    return phase.active_sets[(step - first) % len(phase.active_sets)]


def steps_by_levels(phases: Sequence[Phase]) -> dict[tuple[str, ...], int]:
    """How many steps have each set of active levels."""
    counts: collections.Counter[tuple[str, ...]] = collections.Counter()
    for phase in phases:
        sets = phase.active_sets
        for index, levels in enumerate(sets):
            counts[levels] += len(range(index, phase.steps, len(sets)))
    return dict(counts)


def total_steps(phases: Sequence[Phase]) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in phases)


def steps_with(phases: Sequence[Phase], *levels: str) -> int:
    """Steps in which all of `levels` are active."""
    return sum(steps for active, steps in steps_by_levels(phases).items() if set(levels) <= set(active))


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
