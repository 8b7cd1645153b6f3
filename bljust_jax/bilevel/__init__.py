"""The bilevel method: combining the gradients of nested levels, and the schedule of the penalty weight γ."""

from bljust_jax.bilevel.penalty import PenaltyState, penalty
from bljust_jax.bilevel.schedules import gamma_schedule

__all__ = ['PenaltyState', 'gamma_schedule', 'penalty']
