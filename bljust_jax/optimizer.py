"""From gradients to steps: the penalty that combines the levels, and AdamW for the encoder and each head.

θ ← θ − α_k ( ∇θ L_sup + γ_k ∇θ L_unsup )
φ ← φ − β_k ∇φ L_sup
η ← η − ρ_k ∇η L_unsup                     (arXiv 2412.08548)
"""

import math
from collections.abc import Sequence

import jax
import optax

from bljust_jax.bilevel import COMBINERS, Gamma, balance, by_prefix, dual_ascent, gamma_schedule, per_epoch
from bljust_jax.config import Config, LevelConfig, OptimizerConfig, StrategyConfig
from bljust_jax.errors import UserError
from bljust_jax.strategies import UPPER, Phase, gamma_kind, learning_rate_curve, levels_of, steps_with
from bljust_jax.types import Params, PyTree


def make_penalty(config: Config, phases: Sequence[Phase]) -> optax.GradientTransformationExtraArgs:
    """The penalty on the lower levels, or its alternative; the encoder is shared, and looked at block by block.

    So is the head of the upper level where pseudo-labels train it.
    """
    levels = levels_of(phases)
    steps = steps_with(phases, *levels)
    gammas = [make_gamma(name, getattr(config.levels, name), config.strategy, steps) for name in levels[1:]]
    heads: dict[str, int | None] = {f'heads/{name}': index for index, name in enumerate(levels)}
    if config.pseudo_label.train_head and config.levels.unsup.objective == 'pseudo_label':
        heads[f'heads/{UPPER}'] = None
    layers = getattr(config, config.encoder).layers

    def block(path: tuple[str, ...]) -> str | list[str]:
        if 'blocks' in path:  # scanned
            return [f'block_{index}' for index in range(layers)]
        return next((name for name in path if name.startswith('block_')), path[1])

    combine = COMBINERS[config.optimizer.combine]
    return combine(tuple(gammas), scope=by_prefix({'encoder': None, **heads}), group=block)


def make_gamma(name: str, level: LevelConfig, strategy: StrategyConfig, steps: int) -> Gamma:
    """The penalty weight γ of the lower level `name`, for `steps` steps of all levels together.

    Raises:
      UserError: if γ has no time to rise.
    """

    def schedule(kind: str) -> optax.Schedule:
        changes = max(math.ceil(steps / level.gamma_every), 1)
        if kind != 'constant' and changes == 1 and steps > 1:
            raise UserError(
                f'config.levels.{name}.gamma_every={level.gamma_every} leaves γ no time to rise: there are {steps} '
                f'joint steps, and it must be below that.'
            )
        return per_epoch(gamma_schedule(kind, level.gamma_max, changes), level.gamma_every)

    kind = gamma_kind(strategy, level.gamma)
    match kind:
        case 'dual_ascent':
            lowest, highest = level.gamma_min, level.gamma_max
            return dual_ascent(level.gamma_step, level.gap_tolerance, init=lowest, gamma_min=lowest, gamma_max=highest)
        case 'balance':
            return balance(level.gamma_max, decay=level.gamma_decay)
        case 'invariant':
            return balance(schedule('linear'), decay=level.gamma_decay)
        case _:
            return schedule(kind)


def make_descent(config: Config, phases: Sequence[Phase]) -> optax.GradientTransformationExtraArgs:
    """One AdamW for the encoder and one for each head, each with its step size, on a common curve.

    `update` takes the names of the `active` levels: the other heads, their moments included, stay as they are.
    """
    groups = {'encoder': _adamw(config.optimizer, config.optimizer.learning_rate)}
    for name in levels_of(phases):
        head = _adamw(config.optimizer, getattr(config.levels, name).learning_rate)
        groups[name] = optax.transforms.conditionally_mask(
            head, lambda step, *, active, name=name, **_: name in active, forward_extra_args=True
        )
    return optax.chain(
        optax.partition(groups, _group_of_each),
        optax.scale_by_schedule(learning_rate_curve(phases, config.optimizer)),
    )


def begin_anew(state: optax.OptState, initial: optax.OptState) -> optax.OptState:
    """The state of `make_descent` with `initial` moments, at the same place of the learning rate's curve."""
    (moments, _), (_, curve) = initial, state
    return moments, curve


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
