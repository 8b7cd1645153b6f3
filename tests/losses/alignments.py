"""What the tests of losses over alignments, CTC and RNN-T, have in common."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import strategies as st

BATCH = 4
lengths = functools.partial(st.lists, min_size=BATCH, max_size=BATCH)


def loss_and_gradient_of(loss):
    """A function of rows: the loss of each, and the gradient of their `weights`-weighted sum."""

    @functools.partial(jax.jit, static_argnames='blank_id')
    def loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights, *, blank_id=0):
        def weighted(logits):
            losses = loss(logits, logit_lengths, labels, label_lengths, blank_id=blank_id)
            return (losses * weights).sum(), losses

        (_, losses), gradient = jax.value_and_grad(weighted, has_aux=True)(logits)
        return losses, gradient

    return loss_and_gradient


def random_rows(seed, scale=2.0, blank_id=0, *, shape, labels):
    """Logits of this shape, labels without blanks (few different ones, so that repeats are common) and weights."""
    rng = np.random.default_rng(seed)
    batch, vocab = shape[0], shape[-1]
    ids = np.array([i for i in range(vocab) if i != blank_id])
    logits = rng.normal(size=shape, scale=scale).astype(np.float32)
    return logits, rng.choice(ids, (batch, labels)).astype(np.int32), rng.normal(size=batch).astype(np.float32)


def label_shapes(batch, label):
    """Shapes and types of logit lengths, labels and label lengths."""
    return [((batch,), np.int32), ((batch, label), np.int32), ((batch,), np.int32)]


def compiled(loss, shapes, sharding=None):
    """The gradient of `loss` with respect to all arrays of floats, compiled for rows of these shapes."""
    rows = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype in shapes]
    floats = tuple(i for i, (_, dtype) in enumerate(shapes) if dtype == np.float32)
    return jax.jit(jax.grad(lambda *rows: loss(*rows).sum(), floats)).lower(*rows).compile()


def rows_on_two_devices():
    mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))


def assert_exchanges_nothing(program):
    text = program.as_text()
    assert not [word for word in ('all-gather', 'all-to-all', 'collective-permute', 'all-reduce') if word in text]


def assert_names_shapes(loss, shapes, match):
    """That `loss` refuses arrays of these shapes, the last three of them integers, and names every shape."""
    dtypes = [np.float32] * (len(shapes) - 3) + [np.int32] * 3
    rows = [np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    with pytest.raises(ValueError, match=match) as error:
        loss(*rows)
    assert all(str(shape) in str(error.value) for shape in shapes)
