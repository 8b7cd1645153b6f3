"""The bilevel method: combining the gradients of nested levels, the weights γ it takes, alternatives, and solvers."""

from bljust_jax.bilevel.adaptive import AdaptiveGamma, Gamma, Observation, balance, dual_ascent
from bljust_jax.bilevel.combiner import CombinerState, Geometry, combiner
from bljust_jax.bilevel.gap import OptimumEstimate, Shadow, ShadowState, running_minimum, shadow
from bljust_jax.bilevel.multi_objective import COMBINERS, alternating, cagrad, mgda, modo, pcgrad, weighted_sum
from bljust_jax.bilevel.penalty import PenaltyState, penalty
from bljust_jax.bilevel.schedules import gamma_schedule, per_epoch
from bljust_jax.bilevel.scope import Scope, by_prefix, by_regex
from bljust_jax.bilevel.solvers import Solver, SolverState, f2sa, g_pbgd, solve, v_pbgd

__all__ = [
    'COMBINERS',
    'AdaptiveGamma',
    'CombinerState',
    'Gamma',
    'Geometry',
    'Observation',
    'OptimumEstimate',
    'PenaltyState',
    'Scope',
    'Shadow',
    'ShadowState',
    'Solver',
    'SolverState',
    'alternating',
    'balance',
    'by_prefix',
    'by_regex',
    'cagrad',
    'combiner',
    'dual_ascent',
    'f2sa',
    'g_pbgd',
    'gamma_schedule',
    'mgda',
    'modo',
    'pcgrad',
    'penalty',
    'per_epoch',
    'running_minimum',
    'shadow',
    'solve',
    'v_pbgd',
    'weighted_sum',
]
