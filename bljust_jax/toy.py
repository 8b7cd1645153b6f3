"""Strategies in the plane: a bilevel problem of two parameters, whose training can be drawn.

    f(θ) = ½ ‖θ − a‖²                     upper level: it has one optimum, a, in the wrong place
    g(θ) = ½ (θ₂ − sin θ₁)²               lower level: all of the curve θ₂ = sin θ₁ is optimal

So few transcripts say where to go, and go wrong; much speech says on which curve the truth lies, and not where. The
bilevel solution is the point of the curve that is nearest to a. The phases are those of `bljust_jax.strategies`, and
the update is `bljust_jax.bilevel.penalty`, as in training.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from bljust_jax.bilevel import PenaltyState, gamma_schedule, penalty
from bljust_jax.config import StrategyConfig
from bljust_jax.strategies import LOWER, UPPER, active_at, gamma_kind, make_phases, phase_at, steps_with, total_steps

TARGET = (2.6, 1.8)
START = (-1.0, 2.0)


class Journey(NamedTuple):
    """What became of θ.

    Attributes:
      points: θ before the first step and after each, `[1 + steps, 2]`.
      gammas: γ of each step; NaN outside joint steps, `[steps]`.
      phases: the name of each step's phase.
    """

    points: np.ndarray
    gammas: np.ndarray
    phases: list[str]

    @property
    def end(self) -> np.ndarray:
        """The last θ, `[2]`."""
        return self.points[-1]


def upper(theta: jax.Array) -> jax.Array:
    """F of `theta [2]`."""
    return 0.5 * ((theta - jnp.array(TARGET)) ** 2).sum()


def lower(theta: jax.Array) -> jax.Array:
    """G of `theta [2]`."""
    return 0.5 * (theta[1] - jnp.sin(theta[0])) ** 2


def solution() -> np.ndarray:
    """The bilevel solution `[2]`: the least f where g is least."""
    place = optimize.minimize_scalar(lambda x: float(upper(jnp.array([x, jnp.sin(x)]))), (1.0, 2.0), tol=1e-8).x
    return np.array([place, np.sin(place)])


def travel(config: StrategyConfig, gamma: str = 'linear', gamma_max: float = 30.0, step_size: float = 0.02) -> Journey:
    """Trains θ by the strategy of `config`, with gradient descent.

    Args:
      config: the strategy and its steps.
      gamma: constant, linear or exponential, for strategies that do not have a γ of their own.
      gamma_max: the γ that it ends at.
      step_size: of all steps but those of exploration, which have a rate of their own.
    """
    phases = make_phases(config)
    schedule = gamma_schedule(gamma_kind(config, gamma), gamma_max, max(steps_with(phases, UPPER, LOWER), 1))
    combine = penalty(schedule)

    @functools.partial(jax.jit, static_argnames='active')
    def take_step(
        theta: jax.Array, state: PenaltyState, rate: float, active: tuple[str, ...]
    ) -> tuple[jax.Array, PenaltyState]:
        gradients = [jax.grad({UPPER: upper, LOWER: lower}[level])(theta) for level in active]
        direction = gradients[0]
        if active == (UPPER, LOWER):
            direction, state = combine.update(gradients[0], state, lower_grads=(gradients[1],))
        return theta - step_size * rate * direction, state

    theta = jnp.array(START)
    state = combine.init(theta)
    points, gammas, names = [theta], [], []
    for step in range(total_steps(phases)):
        phase, active = phase_at(phases, step), active_at(phases, step)
        theta, state = take_step(theta, state, phase.rate, active)
        points.append(theta)
        gammas.append(float(state.gammas[0]) if len(active) > 1 else np.nan)
        names.append(phase.name)
    return Journey(np.array(points), np.array(gammas), names)
