"""Multi-objective alternatives to the penalty, with its signature, for ablations.

A bilevel problem ranks its objectives: the upper one decides among the optima of the lower one. Multi-objective methods
treat the objectives as equals and look for a point at which none can fall without another rising. Each of them here
weighs the levels' gradients s_i = γ_i g_i on the shared leaves (see `combiner`), while each head follows its own level:

    weighted_sum   d = Σ s_i
    alternating    d = s_i, with i = 0, 1, ... by turns
    pcgrad         d = Σ s_i'       s_i' is s_i without what conflicts with the other levels
    mgda           d = Σ λ_i s_i    λ on the simplex, such that |d| is least
    cagrad         d = s + Δ        s the mean, |Δ| ≤ c |s|, such that the least of <s_i, d> is greatest
    modo           d = Σ λ_i s_i    λ follows that of `mgda` by small steps, with unbiased gradients

Published, they know no γ: γ = 1 gives their published form, and any other one scales a lower loss.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bljust_jax.bilevel import diagnostics
from bljust_jax.bilevel.adaptive import Gamma
from bljust_jax.bilevel.combiner import Geometry, combiner
from bljust_jax.bilevel.penalty import penalty


def weighted_sum(gammas: Gamma | Sequence[Gamma], **options: Any) -> optax.GradientTransformationExtraArgs:
    """The gradient of `l0 + gamma1 * l1 + gamma2 * l2 + ...`; with one lower level, the same as `penalty`.

    Args:
      gammas: weight of each lower loss, as a number or an optax schedule; see `combiner`.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`.
    """
    return combiner(lambda geometry: jnp.ones_like(geometry.weights), gammas, **options)


def alternating(gammas: Gamma | Sequence[Gamma], **options: Any) -> optax.GradientTransformationExtraArgs:
    """One level's scaled gradient at a time, by turns, the upper one first.

    The turns are those of the shared leaves: the heads, each with a gradient of its own, move at every update.

    Args:
      gammas: scale of each lower gradient, as a number or an optax schedule; see `combiner`.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`.
    """

    def weigh(geometry: Geometry) -> jax.Array:
        levels = len(geometry.weights)
        return jax.nn.one_hot(geometry.count % levels, levels, dtype=jnp.float32)

    return combiner(weigh, gammas, **options)


def pcgrad(gammas: Gamma | Sequence[Gamma], *, seed: int = 0, **options: Any) -> optax.GradientTransformationExtraArgs:
    """Projects conflicting gradients: from each, what points against another level's is taken away, then all are added.

    For each level i, begin with `s = s_i`, and for the other levels j in random order:

      `s <- s - min(<s, s_j>, 0) / |s_j|**2 * s_j`

    Args:
      gammas: scale of each lower gradient, as a number or an optax schedule; see `combiner`.
      seed: of the random orders, which differ at every update and matter if there are three levels or more.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`.

    References:
      Yu et al., `Gradient Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_, 2020
    """

    def weigh(geometry: Geometry) -> jax.Array:
        gram, levels = geometry.gram, len(geometry.weights)

        def surgery(level: jax.Array, key: jax.Array) -> jax.Array:
            """The weights of the gradients that level `level`'s projected gradient is a sum of."""

            def project(weights: jax.Array, other: jax.Array) -> tuple[jax.Array, None]:
                conflict = jnp.where(other == level, 0.0, jnp.minimum(jnp.sum(weights * gram[other]), 0.0))
                excess = _divide(conflict, gram[other, other])
                return weights - excess * jax.nn.one_hot(other, levels, dtype=jnp.float32), None

            own = jax.nn.one_hot(level, levels, dtype=jnp.float32)
            return jax.lax.scan(project, own, jax.random.permutation(key, levels))[0]

        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), geometry.count), levels)
        return jnp.sum(jax.vmap(surgery)(jnp.arange(levels), keys), axis=0)

    return combiner(weigh, gammas, **options)


def mgda(gammas: Gamma | Sequence[Gamma], **options: Any) -> optax.GradientTransformationExtraArgs:
    """The shortest convex combination of the gradients: along it no level rises, and it is 0 where all cannot fall.

    For two levels the weight of the upper one is `<s1 - s0, s1> / |s1 - s0|**2`, clipped to between 0 and 1; for more,
    every face of the simplex is tried. The direction is never longer than the shortest of the gradients, so a γ near 0
    makes it nearly 0.

    Args:
      gammas: scale of each lower gradient, as a number or an optax schedule; see `combiner`.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`.

    References:
      Désidéri, Multiple-gradient descent algorithm (MGDA) for multiobjective optimization, Comptes Rendus Mathématique
      350, 2012

      Sener and Koltun, `Multi-Task Learning as Multi-Objective Optimization <https://arxiv.org/abs/1810.04650>`_, 2018
    """

    def weigh(geometry: Geometry) -> jax.Array:
        return _minimise_on_simplex(geometry.gram, jnp.zeros_like(geometry.weights))

    return combiner(weigh, gammas, **options)


def cagrad(gammas: Gamma | Sequence[Gamma], *, c: float = 0.5, **options: Any) -> optax.GradientTransformationExtraArgs:
    """Conflict-averse gradient: near the mean gradient, the direction along which the worst level falls fastest.

    With the mean `s` of the gradients, it is the `d` with `|d - s| <= c |s|` for which the least of `<s_i, d>` is
    greatest. By duality

      `d = s + c |s| s_w / |s_w|`,  `s_w = sum(w_i s_i)`,  `w = argmin over the simplex of <s_w, s> + c |s| |s_w|`

    Args:
      gammas: scale of each lower gradient, as a number or an optax schedule; see `combiner`.
      c: 0 gives the mean gradient; from 1 on it is no longer sure that the mean loss falls.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`.

    Raises:
      ValueError: if `c` is negative.

    References:
      Liu et al., `Conflict-Averse Gradient Descent for Multi-task Learning <https://arxiv.org/abs/2110.14048>`_, 2021
    """
    if c < 0:
        raise ValueError(f'c must not be negative: got {c}.')

    def weigh(geometry: Geometry) -> jax.Array:
        gram, levels = geometry.gram, len(geometry.weights)
        mean = jnp.full([levels], 1 / levels, jnp.float32)
        radius = c * diagnostics.norm(gram, mean)

        def weights_at(length: jax.Array) -> jax.Array:
            """As |v| = min over t of (|v|² / t + t) / 2, these are the optimal ones if |s_w| comes out as `length`."""
            return _minimise_on_simplex(radius * gram, length * _apply(gram, mean))

        def halve(_: int, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = interval
            middle = (low + high) / 2
            longer = diagnostics.norm(gram, weights_at(middle)) > middle
            return jnp.where(longer, middle, low), jnp.where(longer, high, middle)

        longest = jnp.sqrt(jnp.max(jnp.diag(gram)))
        length, _ = jax.lax.fori_loop(0, 24, halve, (jnp.zeros_like(longest), longest))
        weights = weights_at(length)
        return mean + _divide(radius, diagnostics.norm(gram, weights)) * weights

    return combiner(weigh, gammas, **options)


def modo(
    gammas: Gamma | Sequence[Gamma], *, step_size: float = 0.1, **options: Any
) -> optax.GradientTransformationExtraArgs:
    """Multi-objective gradient with double sampling: the weights of `mgda` followed by projected gradient steps.

    On one batch, `mgda` finds weights that fit the noise of the gradients. Here they move a little at every update, by
    a gradient that is unbiased because its two factors S(z), the columns s_i on batch z, are of independent batches:

      `w <- projection onto the simplex of (w - step_size * S(z1)^T S(z2) w)`

    The second batch is that of the extra argument `second_grads` of `update`. Without it the first one serves twice,
    which is exact for whole-data gradients and otherwise favours the level with less noise.

    Args:
      gammas: scale of each lower gradient, as a number or an optax schedule; see `combiner`.
      step_size: of the weights, in units of 1 / |gradient|**2. Above 4 / |s0 - s1|**2, that is with the default for
        gradients some 5 long, the weights swing between the levels instead of settling.
      **options: scope, group and optimum; see `combiner`.

    Returns:
      A transformation whose state is a `CombinerState`, with the weights to be continued from.

    References:
      Chen et al., `Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
      Conflict-Avoidance <https://arxiv.org/abs/2305.20057>`_, 2023
    """

    def weigh(geometry: Geometry) -> jax.Array:
        return _onto_simplex(geometry.weights - step_size * _apply(geometry.cross, geometry.weights))

    return combiner(weigh, gammas, **options)


COMBINERS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    'penalty': penalty,
    'weighted_sum': weighted_sum,
    'alternating': alternating,
    'pcgrad': pcgrad,
    'mgda': mgda,
    'cagrad': cagrad,
    'modo': modo,
}


def _minimise_on_simplex(curvature: jax.Array, slope: jax.Array) -> jax.Array:
    """Where on the simplex `½ wᵀ Q w + bᵀ w` is least, for positive semidefinite Q `[levels, levels]` and b `[levels]`.

    The optimum lies inside some face of the simplex and solves a linear system there. For a handful of levels the
    faces are few: all are tried, and the best point is taken.
    """
    levels = len(slope)
    size = jnp.max(jnp.abs(curvature))
    curvature, slope = _divide(curvature, size), _divide(slope, size)
    if levels == 2:
        return _minimise_on_segment(curvature, slope)

    def stationary(face: jax.Array) -> jax.Array:
        """Where the function is stationary on the plane of a face; some point of the face if that is outside of it."""
        inside = jnp.outer(face, face)
        matrix = jnp.block([[inside * curvature + jnp.diag(1 - face), face[:, None]], [face[None], jnp.zeros([1, 1])]])
        solution = jnp.linalg.solve(matrix, jnp.append(-face * slope, 1.0))[:levels]
        weights = jnp.where(jnp.isfinite(solution).all(), jnp.maximum(solution, 0.0), 0.0) + 1e-30 * face
        return weights / jnp.sum(weights)

    faces = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=levels))[1:], jnp.float32)
    candidates = jax.vmap(stationary)(faces)
    values = jax.vmap(lambda weights: jnp.sum(weights * (0.5 * _apply(curvature, weights) + slope)))(candidates)
    return candidates[jnp.argmin(values)]


def _minimise_on_segment(curvature: jax.Array, slope: jax.Array) -> jax.Array:
    """`_minimise_on_simplex` for two levels."""
    bend = curvature[0, 0] - 2 * curvature[0, 1] + curvature[1, 1]
    towards = curvature[1, 1] - curvature[0, 1] + slope[1] - slope[0]
    upper = jnp.where(bend > 0, jnp.clip(_divide(towards, bend), 0.0, 1.0), 0.5)
    return jnp.stack([upper, 1 - upper])


def _onto_simplex(weights: jax.Array) -> jax.Array:
    """The nearest point of the simplex: all weights less what makes those that stay positive sum to 1."""
    descending = -jnp.sort(-weights)
    counts = jnp.arange(1, len(weights) + 1, dtype=jnp.float32)
    return jnp.maximum(weights - jnp.max((jnp.cumsum(descending) - 1) / counts), 0.0)


def _apply(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    # Not a matrix product, which accelerators round to bfloat16 by default.
    return jnp.sum(matrix * vector[None], axis=1)


def _divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x / y`, and 0 where y is 0."""
    return jnp.where(y == 0, 0.0, x / jnp.where(y == 0, 1.0, y))
