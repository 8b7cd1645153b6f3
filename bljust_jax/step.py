"""The training step: one gradient per active level, combined by the penalty, then one descent step.

Each level's gradient is compiled for each shape of its own stream, and the update once for each set of active
levels, so that the shapes of the streams do not multiply.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bljust_jax import rng
from bljust_jax.bilevel import CombinerState, PenaltyState
from bljust_jax.types import Batch, Level, LossOutput, Params, PyTree, Ratio, TrainState

Metrics = Mapping[str, Ratio]
STREAMS = ('dropout', 'augment', 'mask')


class Gradient(NamedTuple):
    """A level's mean loss (scalar), its gradient (a tree like the parameters) and its metrics."""

    value: jax.Array
    grads: PyTree
    metrics: Metrics


class Step(NamedTuple):
    """A pure training step `(state, {level: batch}) -> (state, metrics)`, which donates `state`; of jitted parts.

    Attributes:
      gradients: for each active level, upper-most first, `(batch, params, seed, step) -> Gradient`.
      update: `(state, gradients) -> (state, metrics)`, which donates `state`.
    """

    gradients: Mapping[str, jax.stages.Wrapped]
    update: jax.stages.Wrapped

    def __call__(self, state: TrainState, batches: Mapping[str, Batch]) -> tuple[TrainState, Metrics]:
        arguments = state.params, state.seed, state.step
        return self.update(state, [gradient(batches[name], *arguments) for name, gradient in self.gradients.items()])


def level_gradient(level: Level, batch: Batch, params: Params, seed: jax.Array, step: jax.Array) -> Gradient:
    """The gradient of `sum / weight` of one level's objective on one batch; its random streams are its own."""
    key = jax.random.key(seed)
    rngs = {name: rng.stream(key, f'{level.name}/{name}', step) for name in STREAMS}

    def mean(params: Params) -> tuple[jax.Array, LossOutput]:
        output = level.loss(params, batch, rngs, step)
        return output.sum / jnp.maximum(output.weight, 1.0), output

    (value, output), grads = jax.value_and_grad(mean, has_aux=True)(params)
    metrics = {'loss': Ratio(output.sum, output.weight), **output.metrics}
    return Gradient(value, grads, {f'{name}/{level.name}': ratio for name, ratio in metrics.items()})


def make_update(
    active: Sequence[str],
    *,
    combine: optax.GradientTransformationExtraArgs,
    descent: optax.GradientTransformationExtraArgs,
    learning_rates: Callable[[jax.Array], Mapping[str, jax.Array]],
) -> Callable[[TrainState, Sequence[Gradient]], tuple[TrainState, Metrics]]:
    """`update(state, gradients of the active levels, upper-most first) -> (state, metrics)`."""
    upper, *lower = active

    def update(state: TrainState, gradients: Sequence[Gradient]) -> tuple[TrainState, Metrics]:
        first, *rest = gradients
        direction, penalty_state = first.grads, state.penalty
        if lower:
            direction, penalty_state = combine.update(
                first.grads,
                state.penalty,
                state.params,
                lower_grads=tuple(gradient.grads for gradient in rest),
                lower_values=tuple(gradient.value for gradient in rest),
            )
        updates, optimizer = descent.update(direction, state.optimizer, state.params, active=tuple(active))
        metrics = {name: ratio for gradient in gradients for name, ratio in gradient.metrics.items()}
        gauges = {f'grad_norm/{upper}': optax.tree.norm(first.grads['encoder'])}
        gauges |= {f'learning_rate/{group}': rate for group, rate in learning_rates(state.step).items()}
        gauges['update_norm'] = optax.tree.norm(updates)
        gauges['param_norm'] = optax.tree.norm(state.params)
        if lower:
            gauges |= _penalty_gauges(penalty_state, active)
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            penalty=penalty_state,
            optimizer=optimizer,
            drawn={name: count + (name in active) for name, count in state.drawn.items()},
            seed=state.seed,
        )
        return state, metrics | {name: Ratio(value, jnp.float32(1)) for name, value in gauges.items()}

    return update


def make_steps(
    levels: Sequence[Level],
    active_sets: Iterable[tuple[str, ...]],
    *,
    combine: optax.GradientTransformationExtraArgs,
    descent: optax.GradientTransformationExtraArgs,
    learning_rates: Callable[[jax.Array], Mapping[str, jax.Array]],
    shardings: TrainState | None = None,
) -> dict[tuple[str, ...], Step]:
    """The step of each set of active levels, upper-most first; they share the compiled gradients of their levels.

    Args:
      levels: all levels.
      active_sets: which of them are active, by name.
      combine: the penalty, or an alternative to it.
      descent: what follows it.
      learning_rates: step count -> step size of each group, for the log.
      shardings: how the state lies on the devices; by default wherever it is.

    Raises:
      ValueError: for a set of more than one level, but not all.
    """
    for active in active_sets:
        if len(active) not in (1, len(levels)):
            raise ValueError(f'one level or all {len(levels)} of them can be active together, not {active}')
    gradients = {level.name: jax.jit(functools.partial(level_gradient, level)) for level in levels}

    def make_step(active: tuple[str, ...]) -> Step:
        update = jax.jit(
            make_update(active, combine=combine, descent=descent, learning_rates=learning_rates),
            donate_argnums=0,
            out_shardings=None if shardings is None else (shardings, None),
        )
        return Step({name: gradients[name] for name in active}, update)

    return {active: make_step(active) for active in active_sets}


def _penalty_gauges(state: PenaltyState | CombinerState, active: Sequence[str]) -> dict[str, jax.Array]:
    """What the penalty, or its alternative, has seen of the encoder's gradients and of the losses of all levels."""
    gauges: dict[str, jax.Array] = {}
    if isinstance(state, CombinerState):
        gauges |= {f'weight/{name}': state.weights[index] for index, name in enumerate(active)}
        state = state.penalty
    gauges['stationarity'] = state.stationarity
    gauges |= {f'update_share/{name}': state.shares[index] for index, name in enumerate(active)}
    for index, name in enumerate(active[1:]):
        gauges[f'gamma/{name}'] = state.gammas[index]
        gauges[f'value_gap/{name}'] = state.gaps[index]
        gauges[f'grad_cosine/{name}'] = state.cosines[index]
        gauges[f'grad_norm/{name}'] = state.norms[index + 1]
        for block, cosines in state.group_cosines.items():
            gauges[f'grad_cosine_block/{name}/{block}'] = cosines[index]
    for (i, one), (j, other) in itertools.combinations(enumerate(active[1:], 1), 2):
        gauges[f'grad_cosine_pair/{one}/{other}'] = state.pair_cosines[i, j]
    return gauges
