"""Trees of gradients for the tests of the penalty, and a call of it."""

import jax
import jax.numpy as jnp
import numpy as np

SHAPES = ((), (3,), (2, 3))
HEADS = ('sup', 'unsup', 'distil')


def heads_scope(path):
    return HEADS.index(path[1]) if path[0] == 'heads' else None


def random_tree(rng, shapes=SHAPES):
    """A tree of parameters whose encoder nests dicts, a list and a tuple."""

    def leaf():
        shape = shapes[rng.integers(len(shapes))]
        return jnp.asarray(rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3), jnp.float32)

    return {
        'encoder': {'blocks': [{'kernel': leaf(), 'bias': leaf()} for _ in range(2)], 'stem': (leaf(),)},
        'heads': {name: {'kernel': leaf(), 'bias': leaf()} for name in HEADS},
    }


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), tree)


def random_levels(seed, levels, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    first = random_tree(rng, shapes)
    return (first, *(random_like(rng, first) for _ in range(levels - 1)))


def update(transform, levels, state=None, **extra_args):
    state = transform.init(levels[0]) if state is None else state
    return transform.update(levels[0], state, levels[0], lower_grads=levels[1:], **extra_args)


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def assert_close(actual, expected, rtol=1e-5, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), actual, expected)


def assert_is_closed_form(direction, gammas, levels):
    """Checks g0 + γ1 g1 + γ1 γ2 g2 + ... to float32 rounding, relative to the size of the terms (they may cancel)."""
    weights = np.cumprod([1.0, *gammas])

    def check(actual, *grads):
        terms = [weight * np.asarray(grad, np.float64) for weight, grad in zip(weights, grads, strict=True)]
        assert (np.abs(actual - sum(terms)) <= 1e-6 * sum(map(np.abs, terms))).all()

    jax.tree.map(check, direction, *levels)
