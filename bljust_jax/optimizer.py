"""From gradients to steps: the penalty that combines the levels, and AdamW for the encoder and each head.

θ ← θ − α_k ( ∇θ L_sup + γ_k ∇θ L_unsup )
φ ← φ − β_k ∇φ L_sup
η ← η − ρ_k ∇η L_unsup                     (arXiv 2412.08548)
"""

import dataclasses
from collections.abc import Sequence

import jax
import optax

from bljust_jax.bilevel import gamma_schedule, penalty
from bljust_jax.config import Config, OptimizerConfig
from bljust_jax.strategies import Phase, gamma_kind, learning_rate_curve, steps_with
from bljust_jax.types import Params, PyTree


def make_penalty(config: Config, phases: Sequence[Phase]) -> optax.GradientTransformationExtraArgs:
    """The penalty on the lower levels, γ rising over the steps in which both levels are active."""
    upper, *lower = (field.name for field in dataclasses.fields(config.levels))
    gammas = []
    for name in lower:
        level = getattr(config.levels, name)
        kind = gamma_kind(config.strategy, level.gamma)
        gammas.append(gamma_schedule(kind, level.gamma_max, max(steps_with(phases, upper, name), 1)))
    owners = {name: index for index, name in enumerate((upper, *lower))}
    return penalty(tuple(gammas), scope=lambda path: owners[path[1]] if path[0] == 'heads' else None)


def make_descent(config: Config, phases: Sequence[Phase]) -> optax.GradientTransformationExtraArgs:
    """One AdamW for the encoder and one for each head, each with its step size, on a common curve.

    `update` takes the names of the `active` levels: the other heads, their moments included, stay as they are.
    """
    names = [field.name for field in dataclasses.fields(config.levels)]
    groups = {'encoder': _adamw(config.optimizer, config.optimizer.learning_rate)}
    for name in names:
        head = _adamw(config.optimizer, getattr(config.levels, name).learning_rate)
        groups[name] = optax.transforms.conditionally_mask(
            head, lambda step, *, active, name=name, **_: name in active, forward_extra_args=True
        )
    return optax.chain(
        optax.partition(groups, _group_of_each),
        optax.scale_by_schedule(learning_rate_curve(phases, config.optimizer)),
    )


def _adamw(config: OptimizerConfig, learning_rate: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(config.b1, config.b2),
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
        optax.scale_by_learning_rate(learning_rate),
    )


def _group_of_each(params: Params) -> PyTree:
    return jax.tree.map_with_path(lambda path, _: path[1].key if path[0].key == 'heads' else path[0].key, params)


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree.map_with_path(lambda path, _: path[-1].key == 'kernel', params)
