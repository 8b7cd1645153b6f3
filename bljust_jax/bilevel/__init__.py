"""The bilevel method: combining the gradients of nested levels, and the penalty weights γ that it takes."""

from bljust_jax.bilevel.adaptive import AdaptiveGamma, Gamma, Observation, balance, dual_ascent
from bljust_jax.bilevel.gap import OptimumEstimate, Shadow, ShadowState, running_minimum, shadow
from bljust_jax.bilevel.penalty import PenaltyState, penalty
from bljust_jax.bilevel.schedules import gamma_schedule, per_epoch
from bljust_jax.bilevel.scope import Scope, by_prefix, by_regex

__all__ = [
    'AdaptiveGamma',
    'Gamma',
    'Observation',
    'OptimumEstimate',
    'PenaltyState',
    'Scope',
    'Shadow',
    'ShadowState',
    'balance',
    'by_prefix',
    'by_regex',
    'dual_ascent',
    'gamma_schedule',
    'penalty',
    'per_epoch',
    'running_minimum',
    'shadow',
]
