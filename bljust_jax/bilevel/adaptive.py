"""Penalty weights γ: numbers, schedules, and rules that adapt γ to what they see of the gradients and losses.

A γ that adapts is a pair of pure functions with a small state of its own, in the way of optax's transformations:

    init() -> state                     update(observation, state) -> (γ of this step, state)

A number and a schedule are such pairs too, whose state is empty. With n the gradient that γ multiplies (that of its
level and, nested, of those below), g that of the level above, and v̂ an estimate of the lower level's optimal value:

    dual ascent      γ_{k+1} = clip(γ_k + s (L_lower − v̂ − ε), γ_min, γ_max)
    balance          γ_k = clip(ρ_k mean‖g‖ / mean‖n‖, γ_min, γ_max)

Dual ascent raises γ as long as the constraint L_lower − v̂ ≤ ε is violated, and lowers it when there is slack. In
balance, ρ_k is γ in units in which both gradients are equally long. With a schedule for ρ_k that is a schedule of γ
which does not change if either loss is multiplied by a number. It shares a step out, and is no penalty method: followed
to the end, ρ < 1 leads to an optimum of the upper level, as γ falls with its gradient, and ρ > 1 to one of the lower.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from bljust_jax.bilevel import diagnostics
from bljust_jax.bilevel.schedules import value_at
from bljust_jax.types import PyTree


class Observation(NamedTuple):
    """What an adaptive γ is told at a step; scalars, float32 if not said otherwise.

    Attributes:
      count: number of updates so far, int32.
      gap: value gap of the level that γ penalises: its loss minus the estimate of its optimum; None if the losses
        were not passed.
      upper_norm: norm of the gradient of the level above, on the shared leaves.
      lower_norm: norm of what γ multiplies there: the gradient of its level, those below nested.
      inner: inner product of the two.
    """

    count: jax.Array  # type: ignore[assignment]  # hides tuple.count
    gap: jax.Array | None
    upper_norm: jax.Array
    lower_norm: jax.Array
    inner: jax.Array


class AdaptiveGamma(NamedTuple):
    """A penalty weight with a state.

    Attributes:
      init: `init() -> state`.
      update: `update(observation, state) -> (gamma, state)`, gamma a float32 scalar. `penalty` calls it once with an
        observation of zeros too, for the gamma that its state shows before the first update.
    """

    init: Callable[[], PyTree]
    update: Callable[[Observation, PyTree], tuple[jax.Array, PyTree]]


Gamma: TypeAlias = jax.typing.ArrayLike | optax.Schedule | AdaptiveGamma


def dual_ascent(
    step_size: float,
    tolerance: float = 0.0,
    *,
    init: float = 0.0,
    gamma_min: float = 0.0,
    gamma_max: float = float('inf'),
) -> AdaptiveGamma:
    """γ as the multiplier of the constraint `value gap <= tolerance`, by projected gradient ascent.

    While the lower loss falls, `running_minimum` lags behind it, the gap is about 0, and γ does not rise. Where the
    optimum is known or followed by a `shadow`, pass it, and γ rises from the start.

    Args:
      step_size: what γ gains at a step for a gap of 1 above the tolerance.
      tolerance: the gap at which γ stays as it is.
      init: γ of the first update.
      gamma_min, gamma_max: bounds of γ.

    Returns:
      A γ for `penalty`, whose `update` then needs `lower_values`.

    Raises:
      ValueError: if `step_size` is not positive, or `gamma_min <= init <= gamma_max` does not hold.
    """
    if not step_size > 0:
        raise ValueError(f'The step size of dual ascent must be positive: got {step_size}.')
    if not gamma_min <= init <= gamma_max:
        raise ValueError(f'gamma_min <= init <= gamma_max must hold: got {gamma_min}, {init}, {gamma_max}.')

    def update(seen: Observation, gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
        if seen.gap is None:
            raise ValueError('Dual ascent follows the value gap: pass lower_values to update.')
        return gamma, jnp.clip(gamma + step_size * (seen.gap - tolerance), gamma_min, gamma_max)

    return AdaptiveGamma(lambda: jnp.asarray(init, jnp.float32), update)


def balance(
    ratio: float | optax.Schedule = 1.0,
    *,
    decay: float = 0.9,
    gamma_min: float = 0.0,
    gamma_max: float = float('inf'),
) -> AdaptiveGamma:
    """γ for which what the lower level adds to the shared leaves is `ratio` times as long as the gradient above it.

    γ times the lower gradient, and so the trajectory, is the same if either loss is multiplied by a number (the upper
    one: up to that number, as without a penalty). Bounds on γ limit that.

    Args:
      ratio: the length wanted, a number or a schedule of the number of updates.
      decay: of the exponential moving averages of both norms; 0 takes those of the current step.
      gamma_min, gamma_max: bounds of γ. As the lower gradient vanishes, γ grows without a bound unless there is one.

    Returns:
      A γ for `penalty`; before any gradient is seen, both count as equally long.

    Raises:
      ValueError: if `decay` is not in [0, 1), or `gamma_min <= gamma_max` does not hold.
    """
    if not 0 <= decay < 1:
        raise ValueError(f'decay must be in [0, 1): got {decay}.')
    if not gamma_min <= gamma_max:
        raise ValueError(f'gamma_min <= gamma_max must hold: got {gamma_min}, {gamma_max}.')

    def update(seen: Observation, means: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Both means begin at 0, and in their quotient that bias cancels.
        means = decay * means + (1 - decay) * jnp.stack([seen.upper_norm, seen.lower_norm])
        upper, lower = means
        quotient = jnp.where(lower > 0, upper / jnp.where(lower > 0, lower, 1.0), 1.0)
        return jnp.clip(value_at(ratio, seen.count) * quotient, gamma_min, gamma_max), means

    return AdaptiveGamma(lambda: jnp.zeros([2], jnp.float32), update)


def as_adaptive(gammas: Gamma | Sequence[Gamma]) -> tuple[AdaptiveGamma, ...]:
    """Every γ as an `AdaptiveGamma`; a bare one stands for one level, an array `[lower]` for its entries.

    Raises:
      ValueError: for an array of more axes.
    """
    if isinstance(gammas, AdaptiveGamma) or callable(gammas):
        each: Sequence[Gamma] = (gammas,)
    elif isinstance(gammas, Sequence):
        each = gammas
    elif jnp.ndim(gammas) > 1:
        raise ValueError(f'gammas must be a scalar or have one axis, [lower]: got the shape {jnp.shape(gammas)}.')
    else:
        each = tuple(jnp.asarray(gammas)) if jnp.ndim(gammas) else (gammas,)
    return tuple(gamma if isinstance(gamma, AdaptiveGamma) else _scheduled(gamma) for gamma in each)


def nested_gammas(
    rules: Sequence[AdaptiveGamma],
    states: Sequence[PyTree],
    gammas: jax.Array,
    count: jax.Array,
    gaps: jax.Array | None,
    gram: jax.Array,
    active: Sequence[int],
) -> tuple[jax.Array, jax.Array, tuple[PyTree, ...]]:
    """The γ of the active levels, the lowest first, as each multiplies what is nested below: n_i = g_i + γ_j n_j.

    j is the next active level below i. The γ of the upper-most active level and of others that are not active are not
    used: they stay what they were, and so do their states.

    Args:
      rules: a γ for each lower level, upper-most first.
      states: theirs.
      gammas: their last values `[lower]`.
      count: number of updates so far.
      gaps: value gaps `[lower]`, or None if they are not known.
      gram: Gram matrix of the levels `[1 + lower, 1 + lower]`.
      active: the active levels, ascending from 0, the upper level.

    Returns:
      The γ `[lower]`; the weights of the levels' gradients in the direction, (1, γ1, γ1 γ2, ...) if all of them are
      active, `[1 + lower]`; the new states.
    """
    basis = jnp.eye(1 + len(rules), dtype=jnp.float32)
    nested = basis[active[-1]]
    values, updated = list(gammas), list(states)
    for above, level in reversed(list(itertools.pairwise(active))):
        seen = Observation(
            count=count,
            gap=None if gaps is None else gaps[level - 1],
            upper_norm=diagnostics.norm(gram, basis[above]),
            lower_norm=diagnostics.norm(gram, nested),
            inner=diagnostics.inner(gram, basis[above], nested),
        )
        values[level - 1], updated[level - 1] = rules[level - 1].update(seen, states[level - 1])
        nested = basis[above] + values[level - 1] * nested
    return jnp.asarray(values, jnp.float32), nested, tuple(updated)


def _scheduled(gamma: jax.typing.ArrayLike | optax.Schedule) -> AdaptiveGamma:
    def update(seen: Observation, state: tuple[()]) -> tuple[jax.Array, tuple[()]]:
        value = value_at(gamma, seen.count)
        if value.ndim:
            raise ValueError(f'Each gamma must be a scalar: got the shape {value.shape}.')
        return value, state

    return AdaptiveGamma(tuple, update)
