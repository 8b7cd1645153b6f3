"""Tests of the RNN-T loss of a joiner in chunks of frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.losses import rnnt_joint_loss, rnnt_loss
from tests.losses import alignments
from tests.losses.alignments import (
    BATCH,
    assert_exchanges_nothing,
    assert_names_shapes,
    compiled,
    label_shapes,
    rows_on_two_devices,
)

TIME, LABELS, VOCAB, WIDTH = 9, 5, 4, 3
random_rows = functools.partial(alignments.random_rows, shape=(BATCH, TIME, LABELS + 1, VOCAB), labels=LABELS)


def random_projections(seed):
    """A joiner's weights, frames of an encoder and outputs of a prediction network."""
    rng = np.random.default_rng(seed)
    sizes = (WIDTH, VOCAB), (BATCH, TIME, WIDTH), (BATCH, LABELS + 1, WIDTH)
    return tuple(rng.normal(size=size).astype(np.float32) for size in sizes)


def join(weights, encoded, predicted):
    return jnp.tanh(encoded[:, :, None] + predicted[:, None]) @ weights


def joint(weights, encoded, predicted, *rest, **options):
    return rnnt_joint_loss(functools.partial(join, weights), encoded, predicted, *rest, **options)


@pytest.mark.parametrize(('chunk', 'blank_id'), [(1, 0), (4, 2), (9, 0), (30, 0)])
def test_a_joiner_in_chunks_is_the_joiner_at_once(chunk, blank_id):
    _, labels, weights = random_rows(9, blank_id=blank_id)
    rest = np.array([9, 4, 1, 0], np.int32), labels, np.array([5, 0, 3, 2], np.int32)
    projections = random_projections(9)

    def in_chunks(*projections):
        losses = joint(*projections, *rest, blank_id=blank_id, chunk=chunk)
        return (losses * weights).sum(), losses

    def at_once(*projections):
        losses = rnnt_loss(join(*projections), *rest, blank_id=blank_id)
        return (losses * weights).sum(), losses

    (_, losses), gradients = jax.value_and_grad(in_chunks, (0, 1, 2), has_aux=True)(*projections)
    (_, expected_losses), expected_gradients = jax.value_and_grad(at_once, (0, 1, 2), has_aux=True)(*projections)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('garbage', [1e4, np.nan])
def test_padding_of_projections_has_no_influence_and_no_gradient(garbage):
    _, labels, _ = random_rows(10)
    logit_lengths, label_lengths = np.array([9, 4, 1, 0], np.int32), np.array([5, 0, 3, 2], np.int32)
    kernel, encoded, predicted = random_projections(10)
    late = np.arange(TIME) >= logit_lengths[:, None]
    past = np.arange(LABELS + 1) > label_lengths[:, None]
    filled = kernel, np.where(late[..., None], garbage, encoded), np.where(past[..., None], garbage, predicted)

    def loss(*projections):
        return joint(*projections, logit_lengths, labels, label_lengths, chunk=2).sum()

    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(kernel, encoded, predicted)
    same_value, same_gradients = jax.value_and_grad(loss, (0, 1, 2))(*(x.astype(np.float32) for x in filled))
    np.testing.assert_array_equal(same_value, value)
    for same, gradient in zip(same_gradients, gradients, strict=True):
        np.testing.assert_array_equal(same, gradient)
    np.testing.assert_array_equal(np.asarray(gradients[1])[late], 0)
    np.testing.assert_array_equal(np.asarray(gradients[2])[past], 0)


def test_a_joiner_trains_a_batch_of_the_paper_in_a_fraction_of_its_logits():
    batch, time, label, vocab, width = 8, 400, 60, 1000, 256
    shapes = [(width, vocab), (batch, time, width), (batch, label + 1, width)]
    shapes = [*((shape, np.float32) for shape in shapes), *label_shapes(batch, label)]
    memory = compiled(joint, shapes).memory_analysis()
    allocated = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    logits = 4 * batch * time * (label + 1) * vocab
    assert allocated < logits / 4


def test_rows_on_several_devices_exchange_nothing():
    without_weights = functools.partial(rnnt_joint_loss, lambda x, y: jnp.tanh(x[:, :, None] + y[:, None]))
    projections = [((BATCH, TIME, VOCAB), np.float32), ((BATCH, LABELS + 1, VOCAB), np.float32)]
    shapes = [*projections, *label_shapes(BATCH, LABELS)]
    assert_exchanges_nothing(compiled(without_weights, shapes, rows_on_two_devices()))


@pytest.mark.parametrize(
    'shapes',
    [
        [(4, 5), (4, 3, 6), (4,), (4, 2), (4,)],
        [(4, 5, 6), (4, 3), (4,), (4, 2), (4,)],
        [(4, 5, 6), (3, 3, 6), (4,), (4, 2), (4,)],
        [(4, 5, 6), (4, 3, 6), (4,), (4, 3), (4,)],
        [(4, 5, 6), (4, 3, 6), (4,), (4, 2), (3,)],
    ],
)
def test_projections_that_do_not_fit_are_named(shapes):
    loss = functools.partial(rnnt_joint_loss, lambda x, y: x[:, :, None] + y[:, None])
    assert_names_shapes(loss, shapes, r'rnnt_joint_loss takes encoded \[B,T,D\]')
