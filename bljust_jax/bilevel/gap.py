"""Estimates of a lower level's optimal value v, for the value gap L_lower − v.

v = min L_lower drops out of the penalty's gradient, but not out of the question how far the constraint is violated. It
is not known in general (where it is, pass it to `penalty`'s update as `lower_optima`). Two estimates:

    running minimum     m ← decay m + (1 − decay) L_lower,  v̂ ← min(v̂, m)        costs nothing
    shadow              ω ← ω − β ∇L_lower(ω), T times,      v̂ = L_lower(ω)        costs T gradients and a copy

The shadow is the auxiliary iterate ω of V-PBGD (https://arxiv.org/abs/2302.05185): a copy of the lower level's
variables that follows the lower loss alone, going on at each step from where it was. Unlike the running minimum it sees
the same batch as L_lower, and a lower loss that changes with the upper level's variables x. Then v depends on x as
well, and the penalty's gradient in x is ∇ₓ L_lower(x, y) − ∇ₓ L_lower(x, ω).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bljust_jax.types import PyTree


class OptimumEstimate(NamedTuple):
    """An estimate of the smallest value of a loss, from the values seen.

    Attributes:
      init: `init() -> state`.
      update: `update(value, state) -> (estimate, state)`, float32 scalars.
    """

    init: Callable[[], PyTree]
    update: Callable[[jax.Array, PyTree], tuple[jax.Array, PyTree]]


class RunningMinimumState(NamedTuple):
    """State of `running_minimum`: the moving average of the values, its minimum, and whether there was any value."""

    mean: jax.Array
    minimum: jax.Array
    begun: jax.Array


def running_minimum(decay: float = 0.9) -> OptimumEstimate:
    """The minimum so far of an exponential moving average, which noise of single batches does not drag down.

    While a loss falls, its average lags behind, and the gap may be negative.

    For example:

      >>> from bljust_jax.bilevel import running_minimum
      >>> estimate = running_minimum(decay=0.5)
      >>> state = estimate.init()
      >>> for value in (4.0, 2.0, 5.0):
      ...   optimum, state = estimate.update(value, state)
      ...   print(value, optimum)
      4.0 4.0
      2.0 3.0
      5.0 3.0

    Args:
      decay: of the moving average, which begins at the first value; 0 takes the values as they are.

    Returns:
      An estimate for `penalty`.

    Raises:
      ValueError: if `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f'decay must be in [0, 1): got {decay}.')

    def init() -> RunningMinimumState:
        return RunningMinimumState(jnp.zeros([], jnp.float32), jnp.zeros([], jnp.float32), jnp.zeros([], jnp.bool_))

    def update(value: jax.Array, state: RunningMinimumState) -> tuple[jax.Array, RunningMinimumState]:
        mean = jnp.where(state.begun, decay * state.mean + (1 - decay) * value, value)
        minimum = jnp.where(state.begun, jnp.minimum(state.minimum, mean), mean)
        return minimum, RunningMinimumState(mean, minimum, jnp.ones_like(state.begun))

    return OptimumEstimate(init, update)


class ShadowState(NamedTuple):
    """State of `shadow`: the parameters ω and the state of their optimizer."""

    params: optax.Params
    optimizer: optax.OptState


class Shadow(NamedTuple):
    """A copy of a level's parameters that follows this level's loss alone.

    Attributes:
      init: `init(params) -> state`.
      update: `update(state, *args) -> (value, state)`, the loss at the new parameters being `loss(params, *args)`.
    """

    init: Callable[[optax.Params], ShadowState]
    update: Callable[..., tuple[jax.Array, ShadowState]]


def shadow(loss: Callable[..., jax.Array], optimizer: optax.GradientTransformation, steps: int = 1) -> Shadow:
    """The warm-started inner iterate ω of V-PBGD, whose loss estimates the optimal value of the lower level.

    For example, v̂ of a lower level that moves with a variable x of the upper one:

      >>> import jax.numpy as jnp, optax
      >>> from bljust_jax.bilevel import shadow
      >>> omega = shadow(lambda y, x: (y - x) ** 2 + 3.0, optax.sgd(0.25), steps=4)
      >>> state = omega.init(jnp.array(0.0))
      >>> for x in (1.0, 1.1, 1.2):
      ...   optimum, state = omega.update(state, x)
      ...   print(f'{optimum:.3f}')
      3.004
      3.000
      3.000

    Args:
      loss: the lower level's loss, `loss(params, *args) -> scalar`.
      optimizer: takes the inner steps.
      steps: number of inner steps T of each update.

    Returns:
      A pair of pure functions. Pass the value to `penalty`'s update in `lower_optima`.

    Raises:
      ValueError: if `steps` is below 1.

    References:
      Shen and Chen, `On Penalty-based Bilevel Gradient Descent Method <https://arxiv.org/abs/2302.05185>`_, 2023
    """
    if steps < 1:
        raise ValueError(f'A shadow takes at least one step at a time: got {steps}.')

    def init(params: optax.Params) -> ShadowState:
        # A copy, as the original may be donated.
        return ShadowState(jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params), optimizer.init(params))

    def update(state: ShadowState, *args: Any) -> tuple[jax.Array, ShadowState]:
        def descend(_: int, state: ShadowState) -> ShadowState:
            updates, inner = optimizer.update(jax.grad(loss)(state.params, *args), state.optimizer, state.params)
            return ShadowState(optax.apply_updates(state.params, updates), inner)

        state = jax.lax.fori_loop(0, steps, descend, state)
        return loss(state.params, *args), state

    return Shadow(init, update)
