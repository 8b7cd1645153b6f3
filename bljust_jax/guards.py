"""Collapse guards: telling a level that has fallen for a trivial solution from one that learns.

Each guard is a margin, linear in metrics of the level and negative in collapse. Guards are part of the step and their
memory is part of its state, so that what they do to the step sizes depends on the steps alone: not on when a run logs,
nor on when it was interrupted.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.config import GuardsConfig
from bljust_jax.types import PyTree, Ratio

PREFIX = 'guard/'
Values = Mapping[str, jax.Array]


class Guard(NamedTuple):
    """What one kind of collapse looks like.

    Attributes:
      name: what it watches.
      metrics: the metrics of a level that its margin is made of; it watches the levels that have them all.
      margin: how far their values are from collapse, which a negative margin is.
      symptom: what is seen when its mean is negative, without a full stop.
      advice: what to do about it.
      learnt: whether health must first be learnt, so that the guard waits for `GuardsConfig.after_steps`.
    """

    name: str
    metrics: tuple[str, ...]
    margin: Callable[[Values, GuardsConfig], jax.Array]
    symptom: str
    advice: str
    learnt: bool = False


GUARDS = (
    Guard(
        'code_usage',
        ('code_usage',),
        lambda values, config: values['code_usage'] - config.min_code_usage,
        'hardly any entry of the codebooks is used',
        'Look at the features (a constant or silent channel?); with a learnt quantiser, raise the weight of its '
        'diversity loss or its temperature, and with a frozen one, change its seed or make it smaller.',
    ),
    Guard(
        'perplexity',
        ('perplexity',),
        lambda values, config: values['perplexity'] - config.min_perplexity,
        'nearly all targets are the same code',
        'The task is trivial: look at the features and at the units; with a learnt quantiser, raise the weight of its '
        'diversity loss or lower the learning rate.',
    ),
    Guard(
        'accuracy',
        ('accuracy', 'chance'),
        lambda values, config: values['accuracy'] - config.min_accuracy * values['chance'],
        'predictions are no better than chance',
        'Raise the learning rate of the level, its share of the steps or γ, mask less, or give it larger batches.',
        learnt=True,
    ),
    Guard(
        'spread_time',
        ('spread_time',),
        lambda values, config: values['spread_time'] - config.min_spread,
        'the encoder gives all frames of an utterance the same features',
        'Lower the learning rate or lengthen its warm-up; with a teacher that is a moving average, raise its momentum.',
    ),
    Guard(
        'spread_batch',
        ('spread_batch',),
        lambda values, config: values['spread_batch'] - config.min_spread,
        'the encoder gives all utterances the same features',
        'Lower the learning rate or lengthen its warm-up; with a teacher that is a moving average, raise its momentum.',
    ),
    Guard(
        'blank',
        ('blank',),
        lambda values, config: config.max_blank - values['blank'],
        'CTC recognises next to nothing but blanks',
        'Raise the learning rate or lengthen its warm-up, begin with short utterances, and see that labels fit their '
        'frames (the metric infeasible).',
        learnt=True,
    ),
)


class GuardState(NamedTuple):
    """What the guards remember, in arrays `[level, guard]`, and what came of it.

    Attributes:
      sums: of the margins since the last mean was taken, float32.
      counts: of the steps in them, int32.
      collapsed: whether the last mean was negative, bool.
      rate: what all step sizes are multiplied by, float32 scalar.
      taken: steps of each level that they have seen, int32 `[level]`.
    """

    sums: jax.Array
    counts: jax.Array
    collapsed: jax.Array
    rate: jax.Array
    taken: jax.Array


@dataclasses.dataclass(frozen=True)
class Guards:
    """The guards of all levels.

    A guard takes the mean of its margin over every `config.patience` steps of its level in turn. It trips when the mean
    is negative and was not before: collapse that lasts trips it once.

    Attributes:
      config: thresholds, and what a trip does.
      levels: names of all levels; their order is that of the rows of the state.
      warmup: steps of warm-up, which the guards on what must be learnt wait for before `config.after_steps` begin.
    """

    config: GuardsConfig
    levels: tuple[str, ...]
    warmup: int = 0

    def init(self) -> GuardState:
        """The state before the first step."""
        shape = len(self.levels), len(GUARDS)
        return GuardState(
            jnp.zeros(shape),
            jnp.zeros(shape, jnp.int32),
            jnp.zeros(shape, bool),
            jnp.float32(1),
            jnp.zeros(shape[:1], jnp.int32),
        )

    def scale(self, state: GuardState, updates: PyTree) -> PyTree:
        """The updates, or step sizes, at the present rate, which is always 1 unless the action is `slow`."""
        return jax.tree.map(lambda x: state.rate * x, updates) if self.config.action == 'slow' else updates

    def observe(
        self, state: GuardState, metrics: Mapping[str, Ratio], active: Sequence[str]
    ) -> tuple[GuardState, dict[str, Ratio]]:
        """Looks at the metrics of one step.

        Args:
          state: what the guards remember.
          metrics: of the step, keyed `accuracy/<level>`; one of weight 0 was not seen.
          active: names of the levels that took part in it.

        Returns:
          The new state, and `guard/<guard>/<level>` for each guard there is something to watch for: 1 if it trips.
        """
        rows = [self.levels.index(level) for level in active]
        taken = state.taken.at[jnp.array(rows)].add(1)
        watched: dict[tuple[int, int], tuple[jax.Array, jax.Array]] = {}
        for row, level in zip(rows, active, strict=True):
            for column, guard in enumerate(GUARDS):
                if (margin := self._margin(guard, level, metrics, state.taken[row])) is not None:
                    watched[row, column] = margin
        if not watched:
            return state._replace(taken=taken), {}
        places = tuple(jnp.array(indices) for indices in zip(*watched, strict=True))
        margins, seen = (jnp.stack(column) for column in zip(*watched.values(), strict=True))
        sums = state.sums[places] + jnp.where(seen, margins, 0)
        counts = state.counts[places] + seen.astype(jnp.int32)
        due = counts == self.config.patience
        before = state.collapsed[places]
        collapsed = jnp.where(due, sums < 0, before)
        tripped = collapsed & ~before
        factor = self.config.slow_factor if self.config.action == 'slow' else 1.0
        state = GuardState(
            sums=state.sums.at[places].set(jnp.where(due, 0, sums)),
            counts=state.counts.at[places].set(jnp.where(due, 0, counts)),
            collapsed=state.collapsed.at[places].set(collapsed),
            rate=state.rate * jnp.where(tripped.any(), factor, 1),
            taken=taken,
        )
        keys = [f'{PREFIX}{GUARDS[column].name}/{self.levels[row]}' for row, column in watched]
        return state, {
            key: Ratio(trip.astype(jnp.float32), jnp.float32(1)) for key, trip in zip(keys, tripped, strict=True)
        }

    def _margin(
        self, guard: Guard, level: str, metrics: Mapping[str, Ratio], taken: jax.Array
    ) -> tuple[jax.Array, jax.Array] | None:
        """The margin at this step, and whether it counts; None if the level lacks a metric that it is made of."""
        ratios = {name: metrics[key] for name in guard.metrics if (key := f'{name}/{level}') in metrics}
        if len(ratios) < len(guard.metrics):
            return None
        values = {name: ratio.sum / jnp.where(ratio.weight > 0, ratio.weight, 1) for name, ratio in ratios.items()}
        seen = functools.reduce(jnp.logical_and, (ratio.weight > 0 for ratio in ratios.values()))
        wait = self.warmup + self.config.after_steps if guard.learnt else 0
        return guard.margin(values, self.config), seen & (taken >= wait)


class Trip(NamedTuple):
    """A guard that tripped.

    Attributes:
      step: the step at which it did.
      guard: the guard.
      level: name of the level that it watches.
    """

    step: int
    guard: Guard
    level: str

    @property
    def key(self) -> str:
        """`guard/<guard>/<level>`."""
        return f'{PREFIX}{self.guard.name}/{self.level}'

    def message(self, config: GuardsConfig, values: Mapping[str, float]) -> str:
        """What is seen, what follows and what to do; `values` are means, keyed `accuracy/<level>`, shown if known."""
        keys = {name: f'{name}/{self.level}' for name in self.guard.metrics}
        shown = ', '.join(f'{name} {values[key]:.3g}' for name, key in keys.items() if key in values)
        slowed = f' Step sizes are now {config.slow_factor:g} of what they were.' if config.action == 'slow' else ''
        return (
            f'Over {config.patience} steps of level {self.level!r}, {self.guard.symptom}'
            f'{f" (lately {shown})" if shown else ""}.{slowed} {self.guard.advice}'
        )


def read_trips(lines: Iterable[Mapping[str, Any]]) -> dict[Trip, str]:
    """The guards that tripped in a run, and their messages, from the lines of its `metrics.jsonl`."""
    trips = {}
    for line in lines:
        for key, message in line.items():
            name, _, level = key.removeprefix(PREFIX).partition('/')
            if key.startswith(PREFIX) and name in _BY_NAME:
                trips[Trip(line['step'], _BY_NAME[name], level)] = str(message)
    return trips


def pop_trips(step: int, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], list[Trip]]:
    """Splits the metrics of a step, on the host, into those to be averaged and the guards that tripped."""
    kept = {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}
    tripped = (name.split('/')[1:] for name, value in metrics.items() if name not in kept and value.sum > 0)
    return kept, [Trip(step, _BY_NAME[guard], level) for guard, level in tripped]


_BY_NAME = {guard.name: guard for guard in GUARDS}
