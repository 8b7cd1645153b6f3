"""Distillation losses against PyTorch in float64 and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses.unsupervised.distillation import feature_distance, label_agreement, posterior_divergence

LENGTHS = np.array([5, 3, 0])


def draw(seed, size=7, rows=3, time=5):
    return np.random.default_rng(seed).normal(scale=3.0, size=(rows, time, size)).astype(np.float32)


def valid(x):
    return np.concatenate([row[:length] for row, length in zip(x, LENGTHS, strict=True)]).astype(np.float64)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 2), st.sampled_from([0.5, 1.0, 4.0]))
def test_divergence_is_that_of_torch_and_so_is_its_gradient(seed, temperature):
    ours, theirs = draw(seed), draw(seed + 1)
    student = torch.tensor(valid(ours), requires_grad=True)
    teacher = torch.tensor(valid(theirs))
    expected = temperature**2 * torch.nn.functional.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction='sum',
        log_target=True,
    )
    expected.backward()
    value, grads = jax.value_and_grad(lambda x: posterior_divergence(x, theirs, LENGTHS, temperature).sum)(ours)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(valid(np.asarray(grads)), student.grad.numpy(), atol=1e-5)
    assert posterior_divergence(ours, theirs, LENGTHS, temperature).weight == 8


def test_divergence_of_two_labels_is_the_closed_form():
    """Posteriors (3/4, 1/4) of the teacher and (1/2, 1/2) of the student: ¾ ln(3/2) + ¼ ln(1/2)."""
    teacher, student = jnp.log(jnp.array([[[3.0, 1.0]]])), jnp.zeros((1, 1, 2))
    value = posterior_divergence(student, teacher, jnp.array([1]), 1.0).sum
    np.testing.assert_allclose(value, 0.75 * np.log(1.5) + 0.25 * np.log(0.5), rtol=1e-6)
    assert posterior_divergence(student, student, jnp.array([1]), 2.0).sum == 0


def test_at_high_temperature_the_gradient_is_that_of_squared_logits():
    """Hinton et al.: it tends to (z - v) / N for centred logits, whatever T."""
    ours, theirs = (x - x.mean(axis=-1, keepdims=True) for x in (draw(0, 7, 1), draw(1, 7, 1)))
    grads = jax.grad(lambda x: posterior_divergence(x, theirs, np.array([5]), 1e3).sum)(ours)
    np.testing.assert_allclose(grads, (ours - theirs) / 7, atol=2e-2)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 2), st.floats(0.01, 100.0))
def test_feature_distance_is_one_less_the_cosine_whatever_the_scale(seed, scale):
    ours, theirs = draw(seed), draw(seed + 1)
    ratio = feature_distance(ours, np.float32(scale) * theirs, LENGTHS)
    cosines = torch.cosine_similarity(torch.tensor(valid(ours)), torch.tensor(valid(theirs)), dim=-1)
    np.testing.assert_allclose(ratio.sum, (1 - cosines).sum().item(), rtol=1e-4, atol=1e-5)
    assert ratio.weight == 8


@pytest.mark.parametrize(('factor', 'expected'), [(2.0, 0.0), (-1.0, 2.0)])
def test_feature_distance_of_parallel_and_opposite_frames(factor, expected):
    x = draw(0)
    ratio = feature_distance(x, np.float32(factor) * x, LENGTHS)
    np.testing.assert_allclose(ratio.sum / ratio.weight, expected, atol=1e-6)


def test_agreement_counts_frames_with_a_label():
    """Labels of frames, ours and theirs; both blank in one, and one is padding."""
    ours, theirs = ([0, 1, 2, 0, 3], [0, 1, 1, 4, 3])
    one_hot = [jax.nn.one_hot(jnp.array([labels]), 5) for labels in (ours, theirs)]
    ratio = label_agreement(*one_hot, jnp.array([4]))
    assert (ratio.sum, ratio.weight) == (1, 3)


def test_what_lies_in_the_padding_changes_nothing():
    ours, theirs = draw(0), draw(1)
    padded = [
        np.where(np.arange(5)[None, :, None] < LENGTHS[:, None, None], x, np.float32(1e4)) for x in (ours, theirs)
    ]
    for loss in (feature_distance, lambda a, b, n: posterior_divergence(a, b, n, 1.0), label_agreement):
        for one, other in zip(loss(ours, theirs, LENGTHS), loss(*padded, LENGTHS), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    empty = feature_distance(ours, theirs, np.zeros(3, np.int32))
    assert empty.sum == empty.weight == 0
