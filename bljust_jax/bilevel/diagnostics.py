"""What the gradients of the levels tell about each other, all of it from their inner products.

With g_i the gradient of level i on the leaves that the levels share, the Gram matrix G has G_ij = ⟨g_i, g_j⟩. Then

    ‖g_i‖ = √G_ii        cos(g_i, g_j) = G_ij / √(G_ii G_jj)        ⟨Σ a_i g_i, Σ b_j g_j⟩ = aᵀ G b

so that one pass over the gradients is enough, and the Gram matrix of a union of leaves is the sum of theirs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def gram(leaves: Sequence[Sequence[jax.Array]], levels: int, *, stacked: bool = False) -> jax.Array:
    """Inner products between the gradients of the levels, in float32.

    Args:
      leaves: for each leaf, the gradient of every level, of one shape.
      levels: number of levels.
      stacked: whether the first axis of the leaves numbers layers, to be looked at one by one.

    Returns:
      `[levels, levels]`, 0 if there are no leaves; if stacked, `[layers, levels, levels]`.
    """

    def product(i: int, j: int) -> jax.Array:
        # Not jnp.vdot, which flattens its arguments and so gathers a leaf that is sharded.
        terms = (_sum(grads[i].astype(jnp.float32) * grads[j].astype(jnp.float32), stacked) for grads in leaves)
        return sum(terms, start=jnp.zeros([], jnp.float32))

    half = {(i, j): product(i, j) for i in range(levels) for j in range(i, levels)}
    rows = [jnp.stack([half[min(i, j), max(i, j)] for j in range(levels)], axis=-1) for i in range(levels)]
    return jnp.stack(rows, axis=-2)


def embed(gram: jax.Array, levels: Sequence[int], size: int) -> jax.Array:
    """The Gram matrix `[..., size, size]` of which `gram` is the part of `levels`; 0 elsewhere."""
    if len(levels) == size:
        return gram
    rows, columns = jnp.ix_(jnp.asarray(levels), jnp.asarray(levels))
    return jnp.zeros((*gram.shape[:-2], size, size), gram.dtype).at[..., rows, columns].set(gram)


def inner(gram: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """`⟨Σ a_i g_i, Σ b_j g_j⟩` for coefficients `a`, `b` `[levels]`."""
    # Not a matrix product, which accelerators round to bfloat16 by default.
    return jnp.sum(jnp.outer(a, b) * gram)


def norm(gram: jax.Array, a: jax.Array) -> jax.Array:
    """`‖Σ a_i g_i‖` for coefficients `a` `[levels]`."""
    return jnp.sqrt(jnp.maximum(inner(gram, a, a), 0.0))


def norms(gram: jax.Array) -> jax.Array:
    """`‖g_i‖` `[levels]`."""
    return jnp.sqrt(jnp.diagonal(gram))


def cosines(gram: jax.Array) -> jax.Array:
    """`cos(g_i, g_j)` `[levels, levels]`; 0 if either gradient is 0."""
    lengths = norms(gram)
    return gram / _positive(jnp.outer(lengths, lengths))


def shares(gram: jax.Array, weights: jax.Array) -> jax.Array:
    """`w_i ‖g_i‖ / Σ w_j ‖g_j‖` `[levels]`: what part of a weighted sum is due to each level; 0 if all are 0."""
    lengths = weights * norms(gram)
    return lengths / _positive(jnp.sum(lengths))


def _sum(x: jax.Array, stacked: bool) -> jax.Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)) if stacked else None)


def _positive(x: jax.Array) -> jax.Array:
    return jnp.where(x == 0, 1.0, x)
