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

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bljust_jax.bilevel import diagnostics
from bljust_jax.bilevel.adaptive import Gamma, as_adaptive, nested_gammas
from bljust_jax.bilevel.gap import OptimumEstimate, running_minimum
from bljust_jax.bilevel.scope import Path, Scope, owners, paths_of

Group = Callable[[Path], str | Sequence[str] | None]
Grads = Sequence[jax.Array]  # of the active levels, on one leaf
Grams = dict[str, jax.Array]  # the Gram matrix of each group


class PenaltyState(NamedTuple):
    """State of the transformation returned by `penalty`; `lower` is the number of lower levels.

    The diagnostics are of the last update, are taken over the shared leaves and are 0 before the first update. Where an
    update was of some levels only, those of the others are 0, and "upper" is the upper-most that took part.

    Attributes:
      count: number of updates with all levels so far, int32 scalar.
      gammas: the penalty weights of the last update (of the first one, before it), float32 `[lower]`.
      cosines: cosine between the upper gradient and each lower one, float32 `[lower]`; 0 if either gradient is 0.
      norms: Euclidean norm of each level's gradient, upper first, float32 `[1 + lower]`.
      values: the lower losses last passed as `lower_values`, float32 `[lower]`.
      gaps: `values` minus the optimal values of the lower levels, as estimated or passed, float32 `[lower]`.
      pair_cosines: cosine between the gradients of every two levels, float32 `[1 + lower, 1 + lower]`.
      group_cosines: `cosines` within each group of shared leaves, float32 `[lower]` by name.
      shares: length of each level's part of the direction, gammas included, as a part of the sum of these lengths,
        float32 `[1 + lower]`.
      stationarity: `||g0 + gamma1 * (g1 + ...)||`, which vanishes where the penalty problem is solved, float32 scalar.
      adaptive: state of each gamma; empty for numbers and schedules.
      optima: state of the estimate of each lower level's optimal value.
    """

    count: jax.Array  # type: ignore[assignment]  # hides tuple.count
    gammas: jax.Array
    cosines: jax.Array
    norms: jax.Array
    values: jax.Array
    gaps: jax.Array
    pair_cosines: jax.Array
    group_cosines: dict[str, jax.Array]
    shares: jax.Array
    stationarity: jax.Array
    adaptive: tuple[Any, ...]
    optima: tuple[Any, ...]


def penalty(
    gammas: Gamma | Sequence[Gamma],
    *,
    scope: Scope | None = None,
    group: Group | None = None,
    scale_owned: bool = False,
    normalize: bool = False,
    optimum: OptimumEstimate | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Combines the gradients of nested levels into one descent direction.

    On a shared leaf the direction is `g0 + gamma1 * (g1 + gamma2 * (g2 + ...))`, computed in float32; on a leaf owned
    by level i it is `gi`. Either is returned in the dtype of the upper gradient.

    The transformation goes first in a chain, and is updated with

      `update(upper_grads, state, params, lower_grads=(g1, ...), lower_values=(l1, ...))`

    where each of `lower_grads` is a tree like `upper_grads`: every level's gradient is taken over all parameters, and
    what it is on another level's head is ignored. `lower_values` (float scalars) is optional, unless a gamma follows
    the value gap. `lower_optima` (float scalars, or None where it is to be estimated) gives the optimal values of the
    lower levels to those who know them, or estimate them by a `shadow`.

    An update of some levels only, such as exploration with g1 + gamma2 * g2, names them: `levels=(1, 2)`, 0 being the
    upper one. The first argument is then the gradient of the upper-most of these, and `lower_grads`, `lower_values` and
    `lower_optima` are of the rest. They nest as they are, each with its own gamma; the direction on the heads of other
    levels is 0, and what the state remembers for later updates of other gammas, and of that of the upper-most level,
    does not change. Schedules go on with updates of all levels.

    For example, two losses that share an encoder:

      >>> import jax, jax.numpy as jnp, optax
      >>> from bljust_jax.bilevel import by_prefix, penalty
      >>> scope = by_prefix({'encoder': None, 'heads/sup': 0, 'heads/unsup': 1})
      >>> def sup(params):
      ...   return (params['encoder'] * params['heads']['sup'] - 2.0) ** 2
      >>> def unsup(params):
      ...   return (params['encoder'] - params['heads']['unsup']) ** 2
      >>> optimizer = optax.chain(penalty(optax.linear_schedule(0.0, 1.0, 100), scope=scope), optax.sgd(0.1))
      >>> params = {'encoder': jnp.array(3.0), 'heads': {'sup': jnp.array(0.0), 'unsup': jnp.array(0.0)}}
      >>> state = optimizer.init(params)
      >>> @jax.jit
      ... def step(params, state):
      ...   value, grads = jax.value_and_grad(unsup)(params)
      ...   updates, state = optimizer.update(
      ...     jax.grad(sup)(params), state, params, lower_grads=(grads,), lower_values=(value,)
      ...   )
      ...   return optax.apply_updates(params, updates), state
      >>> for _ in range(200):
      ...   params, state = step(params, state)
      >>> print(f'sup {sup(params):.3f}, unsup {unsup(params):.3f}, gamma {state[0].gammas[0]:.1f}')
      sup 0.000, unsup 0.000, gamma 1.0

    Among optax's wrappers:

    * `optax.MultiSteps` accumulates `upper_grads` alone. Put the penalty before it, with a gamma that stays the same
      while gradients are accumulated: `optax.chain(penalty(per_epoch(schedule, k)), optax.MultiSteps(inner, k))`.
    * `optax.apply_if_finite` looks at `upper_grads` alone. Put the penalty before it, and it looks at the direction.
      Where a gradient or a loss is not finite, the states of adaptive gammas and of the estimates do not change.
    * `optax.partition` and `optax.masked` may hide leaves; `lower_grads` are full trees all the same.
    * `optax.inject_hyperparams` takes every function for a schedule: name `scope` and `group` in its `static_args`.

    Args:
      gammas: the penalty weight of each lower level, upper-most first: a number, an optax schedule of the number of
        updates of all levels made so far, or an `AdaptiveGamma`. A bare one stands for a single lower level, the
        bilevel problem; an array `[lower]` for as many numbers.
      scope: maps the path of a leaf, a tuple of plain keys such as `('heads', 'ctc', 'kernel')`, to the index of the
        level that owns it (0 is the upper level), or to None if the levels share it. `by_prefix` and `by_regex` make
        one. By default all leaves are shared.
      group: maps the path of a shared leaf to the name of a group whose cosines are recorded by themselves, such as a
        block of the encoder, or to None. For a leaf that stacks layers along its first axis, to a name for each layer.
      scale_owned: whether a leaf owned by level i is scaled by gamma1 * ... * gammai, as in the gradient of the
        penalty problem; by default it is not.
      normalize: whether the direction on shared leaves, and with `scale_owned` on all leaves, is divided by
        1 + gamma1 + gamma1 * gamma2 + ..., the sum of the weights: for two levels it is the step of V-PBGD with a step
        size proportional to 1 / (1 + gamma), stable for any gamma.
      optimum: how the optimal value of each lower level is estimated from the values seen; `running_minimum()` by
        default.

    Returns:
      A transformation whose state is a `PenaltyState`. Its `init` and `update` raise `ValueError` if `scope` returns
      anything else, and `update` if the number of `lower_grads`, `lower_values` or `lower_optima` is not that of
      `gammas` (or of `levels` but the first), if `levels` do not ascend between 0 and the number of `gammas`, or if a
      lower gradient has another shape than the upper one.

    References:
      Cui et al., `Bilevel Joint Unsupervised and Supervised Training for Automatic Speech Recognition
      <https://arxiv.org/abs/2412.08548>`_, 2024

      Shen and Chen, `On Penalty-based Bilevel Gradient Descent Method <https://arxiv.org/abs/2302.05185>`_, 2023

      Chien, Lin and Cui, From Bilevel to Trilevel, Interspeech 2026 (nesting more than two levels)
    """
    rules = as_adaptive(gammas)
    lower = len(rules)
    estimate = running_minimum() if optimum is None else optimum

    everything = range(1 + lower)

    def grams_of(
        paths: Sequence[Path], owned: Sequence[int | None], leaves: Sequence[Grads], active: Sequence[int]
    ) -> tuple[jax.Array, Grams]:
        """The Gram matrix of all shared leaves, and of each group of them; 0 for levels that are not active."""
        groups: dict[tuple[tuple[str, ...], bool], list[Grads]] = {}
        for path, level, grads in zip(paths, owned, leaves, strict=True):
            if level is None:
                groups.setdefault(_names(path, group, grads[0]), []).append(grads)
        total, grams = diagnostics.gram([], 1 + lower), Grams()
        for (names, stacked), members in groups.items():
            gram = diagnostics.gram(members, len(active), stacked=stacked)
            layers = diagnostics.embed(gram if stacked else gram[None], active, 1 + lower)
            total += layers.sum(axis=0)
            for name, layer in zip(names, layers, strict=False):
                grams[name] = grams[name] + layer if name in grams else layer
        return total, grams

    def follow_values(
        lower_values: Sequence[jax.typing.ArrayLike],
        lower_optima: Sequence[jax.typing.ArrayLike | None] | None,
        state: PenaltyState,
        below: Sequence[int],
    ) -> tuple[jax.Array, jax.Array, tuple[Any, ...]]:
        """The values, what they are above their optima, and the states of the estimates of these."""
        _check_number('lower_values', lower_values, len(below))
        known = [None] * len(below) if lower_optima is None else lower_optima
        _check_number('lower_optima', known, len(below))
        values, gaps, optima = list(state.values), list(state.gaps), list(state.optima)
        for level, value, given in zip(below, _float32(lower_values), known, strict=True):
            index = level - 1
            seen, optima[index] = estimate.update(value, state.optima[index])
            values[index], gaps[index] = value, value - jnp.asarray(seen if given is None else given, jnp.float32)
        return _float32(values), _float32(gaps), tuple(optima)

    def direction(
        level: int | None, grads: Grads, nested: jax.Array | None, active: Sequence[int], weights: jax.Array
    ) -> jax.Array:
        scale = jnp.sum(weights) if normalize else 1.0
        if nested is not None:
            return nested / scale
        if level not in active:
            return jnp.zeros(grads[0].shape, jnp.float32)
        own = grads[active.index(level)].astype(jnp.float32)
        return own * (weights[level] / scale) if scale_owned else own

    def init_fn(params: optax.Params) -> PenaltyState:
        paths = paths_of(params)
        owned = owners(paths, scope, lower)  # a wrong scope is reported before the first step
        leaves = [[leaf] * (1 + lower) for leaf in jax.tree.leaves(params)]
        shapes = jax.eval_shape(lambda leaves: grams_of(paths, owned, leaves, everything), leaves)
        total, grams = jax.tree.map(jnp.zeros_like, shapes)
        count, adaptive = jnp.zeros([], jnp.int32), tuple(rule.init() for rule in rules)
        zeros = jnp.zeros([lower], jnp.float32)
        first, weights, _ = nested_gammas(rules, adaptive, zeros, count, zeros, total, everything)
        return PenaltyState(
            **_diagnose(total, grams, weights, 0),
            count=count,
            gammas=first,
            values=jnp.zeros([lower], jnp.float32),
            gaps=jnp.zeros([lower], jnp.float32),
            stationarity=jnp.zeros([], jnp.float32),
            adaptive=adaptive,
            optima=tuple(estimate.init() for _ in rules),
        )

    def update_fn(
        updates: optax.Updates,
        state: PenaltyState,
        params: optax.Params | None = None,
        *,
        lower_grads: Sequence[optax.Updates] = (),
        lower_values: Sequence[jax.typing.ArrayLike] | None = None,
        lower_optima: Sequence[jax.typing.ArrayLike | None] | None = None,
        levels: Sequence[int] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, PenaltyState]:
        del params, extra_args
        active = everything if levels is None else _checked_levels(levels, lower)
        upper, *below = active
        _check_number('lower_grads', lower_grads, len(below))
        paths = paths_of(updates)
        owned = owners(paths, scope, lower)
        trees = [updates, *(like(updates, grads) for grads in lower_grads)]
        leaves = list(zip(*map(jax.tree.leaves, trees), strict=True))
        total, grams = grams_of(paths, owned, leaves, active)
        finite = jnp.isfinite(total).all()

        values, gaps, optima, seen_gaps = state.values, state.gaps, state.optima, None
        if lower_values is not None:
            values, gaps, optima = follow_values(lower_values, lower_optima, state, below)
            finite, seen_gaps = finite & jnp.isfinite(values).all() & jnp.isfinite(gaps).all(), gaps
        elif lower_optima is not None:
            raise ValueError(f'lower_optima says nothing without lower_values: got {lower_optima}.')

        gammas, weights, adaptive = nested_gammas(
            rules, state.adaptive, state.gammas, state.count, seen_gaps, total, active
        )
        each = [gammas[level - 1] for level in below]
        nested = [_nest(grads, each) if level is None else None for level, grads in zip(owned, leaves, strict=True)]
        directions = [
            direction(level, grads, shared, active, weights).astype(grads[0].dtype)
            for level, grads, shared in zip(owned, leaves, nested, strict=True)
        ]
        # Not from the inner products: where the levels cancel, nothing would be left of it but their rounding errors.
        squares = [jnp.sum(shared**2) for shared in nested if shared is not None]
        return jax.tree.unflatten(jax.tree.structure(updates), directions), PenaltyState(
            **_diagnose(total, grams, weights, upper),
            count=optax.safe_increment(state.count) if len(active) == 1 + lower else state.count,
            gammas=gammas,
            values=values,
            gaps=gaps,
            stationarity=jnp.sqrt(sum(squares, start=jnp.zeros([], jnp.float32))),
            adaptive=_only_if(finite, adaptive, state.adaptive),
            optima=_only_if(finite, optima, state.optima),
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _names(path: Path, group: Group | None, leaf: jax.Array) -> tuple[tuple[str, ...], bool]:
    """The groups of a leaf, and whether it stacks layers, each with a name of its own."""
    names = group(path) if group else None
    if names is None or isinstance(names, str):
        return (() if names is None else (names,)), False
    if leaf.shape[:1] != (len(names),):
        raise ValueError(f'group({path}) names {len(names)} layers, but the leaf has the shape {leaf.shape}.')
    return tuple(names), True


def _diagnose(gram: jax.Array, grams: Grams, weights: jax.Array, upper: int) -> dict[str, Any]:
    """The fields of the state that say how the gradients of the levels lie to each other, and to that of `upper`."""
    pair_cosines = diagnostics.cosines(gram)
    return {
        'cosines': pair_cosines[upper, 1:],
        'norms': diagnostics.norms(gram),
        'pair_cosines': pair_cosines,
        'group_cosines': {name: diagnostics.cosines(part)[upper, 1:] for name, part in grams.items()},
        'shares': diagnostics.shares(gram, weights),
    }


def _nest(grads: Grads, gammas: Sequence[jax.Array]) -> jax.Array:
    """`g0 + gamma1 * (g1 + gamma2 * (g2 + ...))` in float32."""
    first = grads[0].astype(jnp.float32)
    return first + gammas[0] * _nest(grads[1:], gammas[1:]) if gammas else first


def like(updates: optax.Updates, grads: optax.Updates) -> optax.Updates:
    """`grads` without the leaves that are masked in `updates`, after a check of the shapes of the others."""

    def leaf(keys: tuple[Any, ...], update: Any, grad: Any) -> Any:
        if isinstance(update, optax.MaskedNode):
            return update
        if jnp.shape(grad) != jnp.shape(update):
            raise ValueError(
                f'A lower gradient must have the shape of the upper one: at {jax.tree_util.keystr(keys)} '
                f'they have {jnp.shape(grad)} and {jnp.shape(update)}.'
            )
        return grad

    return jax.tree.map_with_path(leaf, updates, grads, is_leaf=lambda node: isinstance(node, optax.MaskedNode))


def _only_if(accept: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(accept, new, old), new, old)


def _float32(scalars: Iterable[jax.typing.ArrayLike]) -> jax.Array:
    return jnp.asarray([jnp.asarray(scalar, jnp.float32) for scalar in scalars], jnp.float32)


def _checked_levels(levels: Sequence[int], lower: int) -> list[int]:
    ascending = sorted({int(level) for level in levels})
    if not ascending or ascending != list(levels) or not 0 <= ascending[0] <= ascending[-1] <= lower:
        raise ValueError(f'levels must ascend between 0 and {lower}, the number of gammas: got {levels}.')
    return ascending


def _check_number(name: str, given: Sequence[Any], lower: int) -> None:
    if len(given) != lower:
        raise ValueError(f'{name} must have one entry for each of the {lower} lower levels (gammas): got {len(given)}.')
