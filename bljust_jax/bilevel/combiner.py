"""Combining the gradients of several levels by weights that depend on how the gradients lie to each other.

Multi-objective methods, nearly all of them, descend along a weighted sum of the objectives' gradients, and find the
weights from the gradients' inner products alone. With γ_0 = 1 and the penalty weight γ_i of lower level i:

    s_i = γ_i g_i                        what the method takes for the gradient of level i
    w = weigh(<s_i, s_j> for all i, j)   inner products over the shared leaves
    d[θ] = Σ w_i s_i                     shared by the levels
    d[head of level i] = g_i             owned by it, so neither weighted nor scaled

`combiner` makes an optax transformation of such a `weigh`, with the signature of `penalty`; `multi_objective` has the
published ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bljust_jax.bilevel import diagnostics
from bljust_jax.bilevel.adaptive import Gamma
from bljust_jax.bilevel.gap import OptimumEstimate
from bljust_jax.bilevel.penalty import Group, PenaltyState, like, penalty
from bljust_jax.bilevel.scope import Scope, owners, paths_of


class Geometry(NamedTuple):
    """What the weights may depend on.

    Attributes:
      gram: inner products of the levels' scaled gradients over the shared leaves, float32 `[levels, levels]`.
      cross: those of the scaled gradients (rows) with the ones of an independent batch (columns), if the update was
        given such; else `gram`.
      weights: what they were at the last update, float32 `[levels]`; 1 / levels before the first.
      count: number of updates so far, int32 scalar.
    """

    gram: jax.Array
    cross: jax.Array
    weights: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


Weigh = Callable[[Geometry], jax.Array]


class CombinerState(NamedTuple):
    """State of the transformation returned by `combiner`.

    Attributes:
      penalty: what a `penalty` would have recorded, but `shares` and `stationarity` are those of the weighted sum.
      weights: weight of each level's scaled gradient at the last update (1 / levels before it), float32 `[levels]`.
    """

    penalty: PenaltyState
    weights: jax.Array


def combiner(
    weigh: Weigh,
    gammas: Gamma | Sequence[Gamma],
    *,
    scope: Scope | None = None,
    group: Group | None = None,
    optimum: OptimumEstimate | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Combines the gradients of the levels by the weights that `weigh` finds for them.

    The transformation goes first in a chain, and is updated with

      `update(upper_grads, state, params, lower_grads=(g1, ...), lower_values=(l1, ...), second_grads=(h0, h1, ...))`

    as a `penalty` is; the optional `second_grads` are all levels' gradients, upper first, on a batch independent of the
    first one, for methods that need two samples. Arithmetic is in float32, the result in the dtype of the upper
    gradient. An update of some of the levels (`levels=(1, 2)`), such as exploration, is that of a `penalty`.

    For example, the level with the smaller gradient alone:

      >>> import jax, jax.numpy as jnp
      >>> from bljust_jax.bilevel import combiner
      >>> smaller = combiner(lambda geometry: jax.nn.one_hot(jnp.argmin(jnp.diag(geometry.gram)), 2), gammas=1.0)
      >>> params = {'encoder': jnp.zeros(2)}
      >>> grads, lower_grads = {'encoder': jnp.array([3.0, 4.0])}, {'encoder': jnp.array([0.0, 2.0])}
      >>> direction, state = smaller.update(grads, smaller.init(params), params, lower_grads=(lower_grads,))
      >>> print(direction['encoder'], state.weights, state.penalty.norms)
      [0. 2.] [0. 1.] [5. 2.]

    Args:
      weigh: from a `Geometry` to the weight of each level's scaled gradient, float32 `[levels]`.
      gammas: the scale of each lower level's gradient, upper-most first, given as those of a `penalty`.
      scope: which level owns a leaf; see `penalty`.
      group: which group a leaf belongs to, for the cosines that are recorded; see `penalty`.
      optimum: estimate of the lower levels' optimal values, for the value gaps that are recorded; see `penalty`.

    Returns:
      A transformation whose state is a `CombinerState`. Its `init` and `update` raise `ValueError` where those of a
      `penalty` do, and `update` if the number of `second_grads` is wrong.
    """
    recorder = penalty(gammas, scope=scope, group=group, optimum=optimum)

    def init_fn(params: optax.Params) -> CombinerState:
        record = recorder.init(params)
        levels = len(record.norms)
        return CombinerState(record, jnp.full([levels], 1 / levels, jnp.float32))

    def update_fn(
        updates: optax.Updates,
        state: CombinerState,
        params: optax.Params | None = None,
        *,
        lower_grads: Sequence[optax.Updates] = (),
        second_grads: Sequence[optax.Updates] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, CombinerState]:
        nested, record = recorder.update(updates, state.penalty, params, lower_grads=lower_grads, **extra_args)
        levels = len(record.norms)
        if 1 + len(lower_grads) < levels:
            return nested, state._replace(penalty=record)
        owned = owners(paths_of(updates), scope, levels - 1)
        leaves = _leaves(updates, (updates, *lower_grads))
        scales = jnp.append(jnp.ones([1], jnp.float32), record.gammas)

        lengths = scales * record.norms
        gram = cross = jnp.outer(lengths, lengths) * record.pair_cosines
        if second_grads is not None:
            if len(second_grads) != levels:
                raise ValueError(f'second_grads must have {levels} entries, upper first: got {len(second_grads)}.')
            pairs = zip(owned, leaves, _leaves(updates, second_grads), strict=True)
            products = diagnostics.gram([first + second for level, first, second in pairs if level is None], 2 * levels)
            cross = jnp.outer(scales, scales) * products[:levels, levels:]
        weights = weigh(Geometry(gram, cross, state.weights, state.penalty.count)).astype(jnp.float32)
        # Those that follow from the last ones must not be lost to a single bad batch.
        weights = jnp.where(jnp.isfinite(weights).all(), weights, state.weights)

        directions = [
            _weighted_sum(weights * scales, grads) if level is None else grads[level].astype(jnp.float32)
            for level, grads in zip(owned, leaves, strict=True)
        ]
        squares = [jnp.sum(leaf**2) for level, leaf in zip(owned, directions, strict=True) if level is None]
        record = record._replace(
            shares=diagnostics.shares(gram, jnp.abs(weights)),
            stationarity=jnp.sqrt(sum(squares, start=jnp.zeros([], jnp.float32))),
        )
        directions = [leaf.astype(grads[0].dtype) for leaf, grads in zip(directions, leaves, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(updates), directions), CombinerState(record, weights)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _leaves(updates: optax.Updates, levels: Sequence[optax.Updates]) -> list[tuple[jax.Array, ...]]:
    """For each leaf that is not masked in `updates`, the gradient of every level."""
    return list(zip(*(jax.tree.leaves(like(updates, grads)) for grads in levels), strict=True))


def _weighted_sum(weights: jax.Array, grads: Sequence[jax.Array]) -> jax.Array:
    terms = [weight * grad.astype(jnp.float32) for weight, grad in zip(weights, grads, strict=True)]
    return sum(terms[1:], start=terms[0])
