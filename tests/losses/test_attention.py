"""The loss of attention decoders against PyTorch's label-smoothed cross-entropy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.losses import attention_loss
from bljust_jax.losses.supervised.attention import attention_accuracy, attention_feasible

LENGTHS, LABEL_LENGTHS = jnp.array([9, 4, 7, 0, 0]), jnp.array([4, 2, 0, 3, 0])
LABELS = np.random.default_rng(0).integers(1, 6, (5, 4)).astype(np.int32)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(scale=3.0, size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames=('label_smoothing', 'end_id'))
def losses_and_gradient(logits, labels, weights, **options):
    def weighted(logits):
        losses = attention_loss(logits, LENGTHS, labels, LABEL_LENGTHS, **options)
        return (losses * weights).sum(), losses

    (_, losses), gradient = jax.value_and_grad(weighted, has_aux=True)(logits)
    return losses, gradient


@pytest.mark.parametrize(('smoothing', 'end'), [(0.0, 0), (0.1, 0), (0.3, 5)])
def test_equal_to_pytorch(smoothing, end):
    logits, weights = normal(1, 5, 5, 6), np.array([1.0, -0.5, 2.0, 3.0, 4.0], np.float32)
    losses, gradient = losses_and_gradient(logits, LABELS, weights, label_smoothing=smoothing, end_id=end)
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    targets = torch.full((5, 5), -100)
    for row in range(3):  # the others have no frames
        size = int(LABEL_LENGTHS[row])
        targets[row, : size + 1] = torch.tensor([*LABELS[row, :size].tolist(), end])
    criterion = torch.nn.CrossEntropyLoss(reduction='none', label_smoothing=smoothing, ignore_index=-100)
    theirs = criterion(x.transpose(1, 2), targets).sum(axis=1)
    (theirs * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_rows_without_frames_weigh_nothing_whatever_they_hold():
    logits = normal(2, 5, 5, 6)
    logits[3:], logits[1, 3:] = np.nan, np.inf
    losses, gradient = losses_and_gradient(logits, LABELS, np.ones(5, np.float32), label_smoothing=0.1)
    assert (losses[3:] == 0).all() and (losses[:3] > 0).all()
    assert (gradient[3:] == 0).all() and (gradient[1, 3:] == 0).all() and jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(attention_feasible(LENGTHS, LABEL_LENGTHS), [True, True, True, False, True])


def test_labels_in_the_padding_change_nothing():
    logits, ones = normal(3, 5, 5, 6), np.ones(5, np.float32)
    others = np.where(np.arange(4) < np.asarray(LABEL_LENGTHS)[:, None], LABELS, 3)
    for a, b in zip(losses_and_gradient(logits, LABELS, ones), losses_and_gradient(logits, others, ones), strict=True):
        np.testing.assert_array_equal(a, b)


def test_accuracy_counts_labels_and_ends():
    logits = np.zeros((5, 5, 6), np.float32)
    for row, size in enumerate(LABEL_LENGTHS):
        for u, label in enumerate([*LABELS[row, :size], 0]):
            logits[row, u, label] = 1.0
    logits[0, 1] = -logits[0, 1]
    accuracy = attention_accuracy(logits, LENGTHS, LABELS, LABEL_LENGTHS)
    assert (accuracy.sum, accuracy.weight) == (5 + 3 + 1 - 1, 5 + 3 + 1)


@pytest.mark.parametrize(
    'shapes', [((2, 4, 6), 2, (2, 4), 2), ((2, 5), 2, (2, 4), 2), ((2, 5, 6), 3, (2, 4), 2), ((2, 5, 6), 2, (8,), 2)]
)
def test_shapes_that_do_not_fit_are_said(shapes):
    logits, lengths, labels, label_lengths = (jnp.zeros(shape, jnp.int32) for shape in shapes)
    with pytest.raises(ValueError, match=r'attention_loss takes logits \[B,1\+U,V\], .* not \(2, '):
        attention_loss(logits, lengths, labels, label_lengths)
