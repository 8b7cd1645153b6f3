"""Gradients that agree or conflict, and calls of what combines them, for the tests of alternatives to the penalty."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.bilevel.trees import HEADS, heads_scope, update


def random_levels(seed, levels):
    """Gradients of random sizes that agree or conflict, on an encoder that nests dicts, a list and a tuple."""
    rng = np.random.default_rng(seed)
    shapes = {
        'encoder': {'blocks': [{'kernel': (2, 3), 'bias': (3,)}], 'stem': ((),)},
        'heads': {name: {'kernel': (2,)} for name in HEADS[:levels]},
    }
    common = rng.normal(0, 1, 100)

    def grads():
        scale, share = 10.0 ** rng.uniform(-1, 1), rng.uniform(-1, 1)
        return jax.tree.map(
            lambda shape: jnp.asarray(
                scale * (share * common[: np.prod(shape, dtype=int)].reshape(shape) + rng.normal(0, 0.5, shape)),
                jnp.float32,
            ),
            shapes,
            is_leaf=lambda node: isinstance(node, tuple) and all(isinstance(size, int) for size in node),
        )

    return tuple(grads() for _ in range(levels))


def vector(tree):
    """The shared leaves in float64, `[elements]`."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree['encoder'])]).astype(np.float64)


def vectors(levels):
    return np.stack([vector(grads) for grads in levels])


def on_plane(*points):
    """Levels whose only shared leaf is a vector."""
    return tuple({'encoder': jnp.asarray(point, jnp.float32)} for point in points)


@functools.cache
def compiled(factory, lower, **options):
    """A jitted update whose γ are arguments, so that examples share it."""

    @jax.jit
    def run(levels, gammas):
        return update(factory(tuple(gammas), scope=heads_scope, **options), levels)

    return lambda levels, gammas=(1.0,) * lower: run(levels, jnp.asarray(gammas, jnp.float32))


def direction_of(transform, *points):
    return jitted(transform, on_plane(*points))[0]['encoder']


def jitted(transform, levels, state=None, **extra_args):
    """`update`, compiled whole and not operation by operation."""
    return jax.jit(lambda *args: update(transform, *args, **extra_args))(levels, state)


def assert_close(actual, expected, scale, tolerance=1e-4):
    """To within rounding of terms of size `scale`."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
