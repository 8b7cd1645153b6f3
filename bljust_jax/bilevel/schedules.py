"""Schedules of the penalty weight γ, as optax schedules of the number of joint updates made so far.

γ is raised gradually, so that the recogniser first learns from transcribed speech and is then held ever more tightly to
the optimum of the lower level. With `steps` joint updates, counted k = 0, ..., K = steps - 1:

    constant       γ_k = γ_max
    linear         γ_k = γ_max k / K
    exponential    γ_k = γ_max 1000^(k / K - 1)

After the last of the joint updates γ stays at γ_max. `per_epoch` makes any of them one of the number of epochs.
"""

import jax
import jax.numpy as jnp
import optax

_RISE = 1000.0


def value_at(value: jax.typing.ArrayLike | optax.Schedule, count: jax.typing.ArrayLike) -> jax.Array:
    """A number, or a schedule after `count` updates, in float32."""
    return jnp.asarray(value(count) if callable(value) else value, jnp.float32)


def constant(gamma_max: float, steps: int) -> optax.Schedule:
    """`gamma_max` at every update; with it BL-JUST's joint steps are those of a weighted sum of losses."""
    del steps
    return optax.constant_schedule(gamma_max)


def linear(gamma_max: float, steps: int) -> optax.Schedule:
    """From 0 at the first of `steps` updates to `gamma_max` at the last; a single update has γ = 0."""
    return optax.linear_schedule(0.0, gamma_max, max(steps - 1, 1))


def exponential(gamma_max: float, steps: int) -> optax.Schedule:
    """From `gamma_max / 1000` at the first of `steps` updates to `gamma_max` at the last, by a constant factor."""
    return optax.exponential_decay(gamma_max / _RISE, max(steps - 1, 1), _RISE, end_value=gamma_max)


def per_epoch(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """`schedule` as a function of the number of epochs of `steps` updates each, constant within an epoch.

    For example, ten updates at each of 0, 0.002, 0.004, ...:

      >>> import optax
      >>> from bljust_jax.bilevel import per_epoch
      >>> gamma = per_epoch(optax.linear_schedule(0.0, 1.0, 500), steps=10)
      >>> [f'{gamma(count):.3f}' for count in (0, 9, 10, 5000)]
      ['0.000', '0.000', '0.002', '1.000']

    Raises:
      ValueError: if `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f'An epoch must have at least one step: got {steps}.')
    return lambda count: schedule(count // steps)


_KINDS = {'constant': constant, 'linear': linear, 'exponential': exponential}


def gamma_schedule(kind: str, gamma_max: float, steps: int) -> optax.Schedule:
    """The schedule of γ called `kind`.

    For example:

      >>> from bljust_jax.bilevel import gamma_schedule
      >>> gamma = gamma_schedule('linear', gamma_max=2.0, steps=5)
      >>> [float(gamma(count)) for count in range(6)]
      [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]

    Args:
      kind: constant, linear or exponential.
      gamma_max: the γ of the last joint update.
      steps: number of joint updates in the whole run, all cycles together.

    Returns:
      A function from the number of joint updates made so far to γ, for `penalty`.

    Raises:
      ValueError: for an unknown kind.
    """
    if kind not in _KINDS:
        raise ValueError(f'The γ schedule must be one of {", ".join(_KINDS)}: got {kind!r}.')
    return _KINDS[kind](gamma_max, steps)
