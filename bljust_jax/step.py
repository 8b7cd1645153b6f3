"""The training step: one gradient per active level, combined by the penalty, then one descent step.

Each level's gradient is compiled for each shape of its own stream, and the update once for each set of active
levels, so that the shapes of the streams do not multiply.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bljust_jax import rng
from bljust_jax.bilevel import CombinerState, PenaltyState
from bljust_jax.guards import Guards
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
      gradients: for each active level, upper-most first, `(batch, params, seed, step, teacher) -> Gradient`.
      update: `(state, gradients) -> (state, metrics)`, which donates `state`.
      teacher: parameters of a frozen teacher; without one it is the state's.
    """

    gradients: Mapping[str, jax.stages.Wrapped]
    update: jax.stages.Wrapped
    teacher: PyTree = ()

    def __call__(self, state: TrainState, batches: Mapping[str, Batch]) -> tuple[TrainState, Metrics]:
        gradients = [
            gradient(*self._arguments(state, name, batches[name])) for name, gradient in self.gradients.items()
        ]
        return self.update(state, gradients)

    def trace_gradient(self, level: str, state: TrainState, batch: Batch) -> jax.stages.Traced:
        """The gradient of `level` as it is traced for a batch of this shape, of which nothing is computed."""
        return self.gradients[level].trace(*self._arguments(state, level, batch))

    def _arguments(self, state: TrainState, level: str, batch: Batch) -> tuple[Any, ...]:
        return batch, state.params, state.seed, state.drawn[level], self.teacher or state.teacher


def level_gradient(
    level: Level,
    batch: Batch,
    params: Params,
    seed: jax.Array,
    step: jax.Array,
    teacher: PyTree = (),
    *,
    microbatches: int = 1,
) -> Gradient:
    """The gradient of `sum / weight` of one level's objective on one batch; its random streams are its own.

    With several microbatches, every so-many-th row is in the same one, so that each device goes on with its own rows.
    They are taken one after another, sums and weights are added up, and divided at the end.
    """
    key = jax.random.key(seed)

    def total(params: Params, part: jax.Array, batch: Batch) -> tuple[jax.Array, LossOutput]:
        rngs = {name: rng.stream(key, f'{level.name}/{name}', step) for name in STREAMS}
        if microbatches > 1:
            rngs = {name: jax.random.fold_in(stream, part) for name, stream in rngs.items()}
        output = level.loss({**params, 'teacher': teacher}, batch, rngs, step)
        return output.sum, output

    gradient = jax.grad(total, has_aux=True)
    if microbatches == 1:
        grads, output = gradient(params, jnp.int32(0), batch)
    else:
        parts = jnp.arange(microbatches), jax.tree.map(lambda x: _dealt(x, microbatches), batch)
        nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(gradient, params, *jax.tree.map(lambda x: x[0], parts)))

        def add(totals: PyTree, part: tuple[jax.Array, Batch]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, totals, gradient(params, *part)), None

        (grads, output), _ = jax.lax.scan(add, nothing, parts)
    weight = jnp.maximum(output.weight, 1.0)
    metrics = {'loss': Ratio(output.sum, output.weight), **output.metrics}
    return Gradient(
        output.sum / weight,
        jax.tree.map(lambda grad: grad / weight, grads),
        {f'{name}/{level.name}': ratio for name, ratio in metrics.items()},
    )


def _dealt(rows: jax.Array, parts: int) -> jax.Array:
    """`[batch, ...]` dealt out like cards: `[parts, batch / parts, ...]`."""
    return jnp.swapaxes(rows.reshape(len(rows) // parts, parts, *rows.shape[1:]), 0, 1)


def moving_average(teacher: PyTree, params: PyTree, step: jax.Array, momentum: float) -> PyTree:
    """The mean teacher (arXiv 1703.01780) after step number `step`, from 0: `m teacher + (1 − m) params`.

    m is the momentum, but at first smaller, so that the teacher is the plain mean of the parameters after each step.
    """
    before = step.astype(jnp.float32)
    kept = jnp.minimum(momentum, before / (before + 1))
    return jax.tree.map(lambda mean, new: kept * mean + (1 - kept) * new, teacher, params)


def make_update(
    active: Sequence[str],
    *,
    levels: Sequence[str],
    combine: optax.GradientTransformationExtraArgs,
    descent: optax.GradientTransformationExtraArgs,
    learning_rates: Callable[[jax.Array], Mapping[str, jax.Array]],
    momentum: float = 0.0,
    guards: Guards | None = None,
) -> Callable[[TrainState, Sequence[Gradient]], tuple[TrainState, Metrics]]:
    """`update(state, gradients of the active ones of all levels, upper-most first) -> (state, metrics)`."""
    upper, *lower = active
    places = {name: levels.index(name) for name in active}

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
                levels=tuple(places.values()),
            )
        updates, optimizer = descent.update(direction, state.optimizer, state.params, active=tuple(active))
        sizes = learning_rates(state.step)
        if guards:
            updates, sizes = guards.scale(state.guards, (updates, sizes))
        metrics = {name: ratio for gradient in gradients for name, ratio in gradient.metrics.items()}
        gauges = {f'grad_norm/{upper}': optax.tree.norm(first.grads['encoder'])}
        gauges |= {f'learning_rate/{group}': size for group, size in sizes.items()}
        gauges['update_norm'] = optax.tree.norm(updates)
        gauges['param_norm'] = optax.tree.norm(state.params)
        if lower:
            gauges |= _penalty_gauges(penalty_state, places)
        params = optax.apply_updates(state.params, updates)
        remembered, trips = guards.observe(state.guards, metrics, active) if guards else (state.guards, {})
        state = TrainState(
            step=state.step + 1,
            params=params,
            penalty=penalty_state,
            optimizer=optimizer,
            drawn={name: count + (name in active) for name, count in state.drawn.items()},
            seed=state.seed,
            teacher=moving_average(state.teacher, params, state.step, momentum) if momentum else state.teacher,
            guards=remembered,
        )
        return state, metrics | {name: Ratio(value, jnp.float32(1)) for name, value in gauges.items()} | trips

    return update


def make_steps(
    levels: Sequence[Level],
    active_sets: Iterable[tuple[str, ...]],
    *,
    combine: optax.GradientTransformationExtraArgs,
    descent: optax.GradientTransformationExtraArgs,
    learning_rates: Callable[[jax.Array], Mapping[str, jax.Array]],
    shardings: TrainState | None = None,
    momentum: float = 0.0,
    teacher: PyTree = (),
    guards: Guards | None = None,
    microbatches: int = 1,
) -> dict[tuple[str, ...], Step]:
    """The step of each set of active levels, upper-most first; they share the compiled gradients of their levels.

    Args:
      levels: all levels.
      active_sets: which of them are active, by name.
      combine: the penalty, or an alternative to it.
      descent: what follows it.
      learning_rates: step count -> step size of each group, for the log.
      shardings: how the state lies on the devices, and gradients as its parameters; by default wherever they are.
      momentum: of the teacher in the state, the moving average of its parameters; 0 without one.
      teacher: parameters of a frozen teacher.
      guards: of all levels; None for none.
      microbatches: that each batch is taken in.
    """
    names = [level.name for level in levels]
    anyhow: Any = None
    laid_out = anyhow if shardings is None else Gradient(anyhow, shardings.params, anyhow)
    gradients = {
        level.name: jax.jit(functools.partial(level_gradient, level, microbatches=microbatches), out_shardings=laid_out)
        for level in levels
    }

    def make_step(active: tuple[str, ...]) -> Step:
        update = jax.jit(
            make_update(
                active,
                levels=names,
                combine=combine,
                descent=descent,
                learning_rates=learning_rates,
                momentum=momentum,
                guards=guards,
            ),
            donate_argnums=0,
            out_shardings=None if shardings is None else (shardings, None),
        )
        return Step({name: gradients[name] for name in active}, update, teacher)

    return {active: make_step(active) for active in active_sets}


def _penalty_gauges(state: PenaltyState | CombinerState, active: Mapping[str, int]) -> dict[str, jax.Array]:
    """What the penalty, or its alternative, has seen of the active levels' losses, and of their encoder gradients.

    `active` maps their names to their numbers among all levels; cosines are with the upper-most of them.
    """
    gauges: dict[str, jax.Array] = {}
    if isinstance(state, CombinerState):
        if len(active) == len(state.weights):
            gauges |= {f'weight/{name}': state.weights[level] for name, level in active.items()}
        state = state.penalty
    gauges['stationarity'] = state.stationarity
    gauges |= {f'update_share/{name}': state.shares[level] for name, level in active.items()}
    lower = list(active.items())[1:]
    for name, level in lower:
        gauges[f'gamma/{name}'] = state.gammas[level - 1]
        gauges[f'value_gap/{name}'] = state.gaps[level - 1]
        gauges[f'grad_cosine/{name}'] = state.cosines[level - 1]
        gauges[f'grad_norm/{name}'] = state.norms[level]
        for block, cosines in state.group_cosines.items():
            gauges[f'grad_cosine_block/{name}/{block}'] = cosines[level - 1]
    for (one, i), (other, j) in itertools.combinations(lower, 2):
        gauges[f'grad_cosine_pair/{one}/{other}'] = state.pair_cosines[i, j]
    return gauges
