"""Penalty-based multilevel gradient descent, as an optax gradient transformation.

BL-JUST (https://arxiv.org/abs/2412.08548) trains a recogniser on transcribed speech subject to its encoder being
optimal for a self-supervised loss on untranscribed speech. With the encoder θ shared by the levels and a head for each
(φ supervised, η unsupervised), the bilevel problem

    min over θ, φ   L_sup(θ, φ)     s.t.   θ ∈ argmin over θ' of min over η   L_unsup(θ', η)

is replaced by its penalty form (https://arxiv.org/abs/2302.05185), in which the lower level's optimal value v is a
constant without a gradient and γ is raised during training:

    min over θ, φ, η   L_sup(θ, φ) + γ (L_unsup(θ, η) - v)

A step computes each level's gradient on its own batch and combines them, leaf by leaf, into one direction:

    g0, g1 = ∇ L_sup, ∇ L_unsup
    d[θ] = g0[θ] + γ g1[θ]             shared by the levels
    d[φ] = g0[φ]                       owned by the upper level
    d[η] = g1[η]                       owned by the lower level, so not scaled by γ

More levels nest: d[θ] = g0 + γ1 (g1 + γ2 (g2 + ...)). `penalty` turns the gradients into d; what follows it in an
`optax.chain` turns d into a step, with a step size for each group of parameters if so wished (`optax.partition`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

Path = tuple[Any, ...]
Scope = Callable[[Path], int | None]
Gamma: TypeAlias = jax.typing.ArrayLike | optax.Schedule


class PenaltyState(NamedTuple):
    """State of the transformation returned by `penalty`; `lower` is the number of lower levels.

    The diagnostics are of the last update, are taken over the shared leaves and are 0 before the first update.

    Attributes:
      count: number of updates so far, int32 scalar.
      gammas: the penalty weights of the last update (of the first one, before it), float32 `[lower]`.
      cosines: cosine between the upper gradient and each lower one, float32 `[lower]`; 0 if either gradient is 0.
      norms: Euclidean norm of each level's gradient, upper first, float32 `[1 + lower]`.
      values: the lower losses last passed as `lower_values`, float32 `[lower]`.
    """

    count: jax.Array  # type: ignore[assignment]  # hides tuple.count
    gammas: jax.Array
    cosines: jax.Array
    norms: jax.Array
    values: jax.Array


def penalty(gammas: Gamma | Sequence[Gamma], *, scope: Scope | None = None) -> optax.GradientTransformationExtraArgs:
    """Combines the gradients of nested levels into one descent direction.

    On a shared leaf the direction is `g0 + gamma1 * (g1 + gamma2 * (g2 + ...))`, computed in float32; on a leaf owned
    by level i it is `gi`. Either is returned in the dtype of the upper gradient.

    The transformation goes first in a chain, and is updated with

      `update(upper_grads, state, params, lower_grads=(g1, ...), lower_values=(l1, ...))`

    where each of `lower_grads` is a tree like `upper_grads`: every level's gradient is taken over all parameters, and
    what it is on another level's head is ignored. `lower_values` (float scalars) is optional and only recorded.

    For example, two losses that share an encoder:

      >>> import jax, jax.numpy as jnp, optax
      >>> from bljust_jax.bilevel import penalty
      >>> def scope(path):
      ...   return {'sup': 0, 'unsup': 1}[path[1]] if path[0] == 'heads' else None
      >>> def sup(params):
      ...   return (params['encoder'] * params['heads']['sup'] - 2.0) ** 2
      >>> def unsup(params):
      ...   return (params['encoder'] - params['heads']['unsup']) ** 2
      >>> optimizer = optax.chain(penalty(optax.linear_schedule(0.0, 1.0, 100), scope=scope), optax.sgd(0.1))
      >>> params = {'encoder': jnp.array(3.0), 'heads': {'sup': jnp.array(0.0), 'unsup': jnp.array(0.0)}}
      >>> state = optimizer.init(params)
      >>> for _ in range(200):
      ...   value, grads = jax.value_and_grad(unsup)(params)
      ...   updates, state = optimizer.update(
      ...     jax.grad(sup)(params), state, params, lower_grads=(grads,), lower_values=(value,)
      ...   )
      ...   params = optax.apply_updates(params, updates)
      >>> print(f'sup {sup(params):.3f}, unsup {unsup(params):.3f}, gamma {state[0].gammas[0]:.1f}')
      sup 0.000, unsup 0.000, gamma 1.0

    Args:
      gammas: the penalty weight of each lower level, upper-most first: a number, or an optax schedule of the number of
        updates made so far. A bare one stands for a single lower level, the bilevel problem.
      scope: maps the path of a leaf, a tuple of plain keys such as `('heads', 'ctc', 'kernel')`, to the index of the
        level that owns it (0 is the upper level), or to None if the levels share it. By default all leaves are shared.

    Returns:
      A transformation whose state is a `PenaltyState`. Its `init` and `update` raise `ValueError` if `scope` returns
      anything else, and `update` if the number of `lower_grads` or `lower_values` is not that of `gammas`.

    References:
      Cui et al., `Bilevel Joint Unsupervised and Supervised Training for Automatic Speech Recognition
      <https://arxiv.org/abs/2412.08548>`_, 2024

      Shen and Chen, `On Penalty-based Bilevel Gradient Descent Method <https://arxiv.org/abs/2302.05185>`_, 2023

      Chien, Lin and Cui, From Bilevel to Trilevel, Interspeech 2026 (nesting more than two levels)
    """
    schedules = tuple(gammas) if isinstance(gammas, Sequence) else (gammas,)
    lower = len(schedules)

    def gammas_at(count: jax.Array) -> jax.Array:
        return jnp.asarray([gamma(count) if callable(gamma) else gamma for gamma in schedules], jnp.float32)

    def owner(keys: tuple[Any, ...]) -> int | None:
        path = tuple(map(_plain_key, keys))
        level = scope(path) if scope else None
        # `type` and not `isinstance`: True, from a scope that answers "is it shared?", must not pass for level 1.
        if level is not None and not (type(level) is int and 0 <= level <= lower):
            raise ValueError(
                f'scope({path}) must be None, for a shared leaf, or a level from 0 to {lower}: got {level!r}.'
            )
        return level

    def shared(tree: optax.Updates) -> list[jax.Array]:
        return [leaf.astype(jnp.float32) for keys, leaf in jax.tree.leaves_with_path(tree) if owner(keys) is None]

    def init_fn(params: optax.Params) -> PenaltyState:
        for keys, _ in jax.tree.leaves_with_path(params):
            owner(keys)  # a wrong scope is reported before the first step
        count = jnp.zeros([], jnp.int32)
        return PenaltyState(
            count=count,
            gammas=gammas_at(count),
            cosines=jnp.zeros([lower], jnp.float32),
            norms=jnp.zeros([1 + lower], jnp.float32),
            values=jnp.zeros([lower], jnp.float32),
        )

    def update_fn(
        updates: optax.Updates,
        state: PenaltyState,
        params: optax.Params | None = None,
        *,
        lower_grads: Sequence[optax.Updates] = (),
        lower_values: Sequence[jax.typing.ArrayLike] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, PenaltyState]:
        del params, extra_args
        _check_number('lower_grads', lower_grads, lower)
        gammas = gammas_at(state.count)

        def direction(keys: tuple[Any, ...], *grads: jax.Array) -> jax.Array:
            level = owner(keys)
            combined = _nest(grads, tuple(gammas)) if level is None else grads[level]
            return combined.astype(grads[0].dtype)

        directions = jax.tree.map_with_path(direction, updates, *lower_grads)
        cosines, norms = _alignment([shared(grads) for grads in (updates, *lower_grads)])
        values = state.values
        if lower_values is not None:
            _check_number('lower_values', lower_values, lower)
            values = jnp.asarray([jnp.asarray(value, jnp.float32) for value in lower_values], jnp.float32)
        return directions, PenaltyState(optax.safe_increment(state.count), gammas, cosines, norms, values)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _nest(grads: Sequence[jax.Array], gammas: Sequence[jax.Array]) -> jax.Array:
    """`g0 + gamma1 * (g1 + gamma2 * (g2 + ...))` in float32."""
    first = grads[0].astype(jnp.float32)
    return first + gammas[0] * _nest(grads[1:], gammas[1:]) if gammas else first


def _alignment(levels: Sequence[Sequence[jax.Array]]) -> tuple[jax.Array, jax.Array]:
    """Cosines of the first level's leaves with each other level's `[lower]`, and each level's norm `[1 + lower]`."""
    upper, *lower = levels
    norms = jnp.sqrt(jnp.stack([_inner(leaves, leaves) for leaves in levels]))
    products = jnp.asarray([_inner(upper, leaves) for leaves in lower], jnp.float32)
    scales = norms[0] * norms[1:]
    return products / jnp.where(scales == 0, 1.0, scales), norms


def _inner(xs: Sequence[jax.Array], ys: Sequence[jax.Array]) -> jax.Array:
    # Not jnp.vdot, which flattens its arguments and so gathers a leaf that is sharded.
    return sum((jnp.sum(x * y) for x, y in zip(xs, ys, strict=True)), start=jnp.zeros([], jnp.float32))


def _plain_key(key: Any) -> Any:
    match key:
        case DictKey(key=plain) | FlattenedIndexKey(key=plain) | GetAttrKey(name=plain) | SequenceKey(idx=plain):
            return plain
    return key


def _check_number(name: str, given: Sequence[Any], lower: int) -> None:
    if len(given) != lower:
        raise ValueError(f'{name} must have one entry for each of the {lower} lower levels (gammas): got {len(given)}.')
