import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses import ctc_loss
from bljust_jax.losses.supervised.ctc import ctc_feasible
from tests.losses import alignments
from tests.losses.alignments import (
    BATCH,
    assert_exchanges_nothing,
    assert_names_shapes,
    lengths,
    loss_and_gradient_of,
    rows_on_two_devices,
)

TIME, LABELS, VOCAB = 12, 6, 4
loss_and_gradient = loss_and_gradient_of(ctc_loss)
random_rows = functools.partial(alignments.random_rows, shape=(BATCH, TIME, VOCAB), labels=LABELS)


def torch_loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights, *, blank_id=0):
    """The same from PyTorch in float64, infeasible rows dropped."""
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        torch.log_softmax(x, dim=-1).transpose(0, 1),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(logit_lengths, dtype=torch.long),
        torch.tensor(label_lengths, dtype=torch.long),
        blank=blank_id,
        reduction='none',
        zero_infinity=True,
    )
    (losses * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    return losses.detach().numpy(), x.grad.numpy()


def collapse(path, blank_id=0):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank_id)


def enumerated_loss(logits, labels, blank_id=0):
    """-log of the probability of all paths `[time]` that collapse to `labels`, in float64."""
    x = logits.astype(np.float64)
    log_probs = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    paths = itertools.product(range(x.shape[1]), repeat=x.shape[0])
    scores = [
        sum(row[label] for row, label in zip(log_probs, path, strict=True))
        for path in paths
        if collapse(path, blank_id) == tuple(labels)
    ]
    return -np.log(np.exp(scores).sum()) if scores else None


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    logit_lengths=lengths(st.integers(1, TIME)),
    label_lengths=lengths(st.integers(0, LABELS)),
    blank_id=st.sampled_from([0, 2, VOCAB - 1]),
    scale=st.sampled_from([0.1, 2.0, 20.0]),
)
def test_equals_torch_in_float64(seed, logit_lengths, label_lengths, blank_id, scale):
    logits, labels, weights = random_rows(seed, scale, blank_id)
    rows = logits, np.array(logit_lengths, np.int32), labels, np.array(label_lengths, np.int32), weights
    losses, gradient = loss_and_gradient(*rows, blank_id=blank_id)
    expected_losses, expected_gradient = torch_loss_and_gradient(*rows, blank_id=blank_id)
    assert losses.dtype == jnp.float32 and losses.shape == (BATCH,)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('blank_id', [0, 2])
@pytest.mark.parametrize('word', [(), (1,), (1, 1), (1, 3), (3, 1, 3), (1, 1, 3), (1, 1, 1), (3, 3, 1, 1)])
def test_equals_the_sum_over_all_paths(word, blank_id):
    time = 5
    logits, _, weights = random_rows(len(word))
    labels = np.full((BATCH, LABELS), 1, np.int32)
    labels[:, : len(word)] = word
    losses, _ = loss_and_gradient(
        logits, np.full(BATCH, time, np.int32), labels, np.full(BATCH, len(word), np.int32), weights, blank_id=blank_id
    )
    expected = [enumerated_loss(row[:time], word, blank_id) for row in logits]
    if expected[0] is None:
        np.testing.assert_array_equal(losses, 0)
    else:
        np.testing.assert_allclose(losses, expected, rtol=1e-5)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    logit_lengths=lengths(st.integers(1, 5)),
    label_lengths=lengths(st.integers(0, 3)),
    blank_id=st.integers(0, 2),
)
def test_gradient_is_the_mean_over_all_paths(seed, logit_lengths, label_lengths, blank_id):
    """The gradient is the softmax less the paths' mean one-hot vector, each path weighted by its probability."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(BATCH, 5, 3), scale=2).astype(np.float32)
    labels = rng.choice([i for i in range(3) if i != blank_id], (BATCH, 3)).astype(np.int32)
    rows = logits, np.array(logit_lengths, np.int32), labels, np.array(label_lengths, np.int32)
    _, gradient = loss_and_gradient(*rows, np.ones(BATCH, np.float32), blank_id=blank_id)
    expected = np.zeros(logits.shape)
    for i, (row, time, label, size) in enumerate(zip(*rows, strict=True)):
        paths = np.array(list(itertools.product(range(3), repeat=time)))
        paths = paths[[collapse(path, blank_id) == tuple(label[:size]) for path in paths.tolist()]]
        if len(paths):
            probs = np.exp(row[:time].astype(np.float64))
            probs /= probs.sum(axis=-1, keepdims=True)
            weights = probs[np.arange(time), paths].prod(axis=-1)
            expected[i, :time] = probs - np.einsum('p,ptv->tv', weights / weights.sum(), np.eye(3)[paths])
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_gradient_stays_accurate_over_many_frames():
    """What float32 in PyTorch, or with the likelihood of all frames in every state, misses by 1e-2."""
    rng = np.random.default_rng(0)
    batch, time, vocab, label = 2, 1500, 500, 200
    logits = rng.normal(size=(batch, time, vocab)).astype(np.float32)
    labels = rng.integers(1, vocab, (batch, label), dtype=np.int32)
    rows = logits, np.array([1500, 1200], np.int32), labels, np.array([200, 150], np.int32), np.ones(batch, np.float32)
    losses, gradient = loss_and_gradient(*rows)
    expected_losses, expected_gradient = torch_loss_and_gradient(*rows)
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-4)


@given(st.lists(st.sampled_from([1, 2]), max_size=4), st.integers(0, 5))
def test_feasible_means_that_a_path_exists(word, time):
    labels = np.full((1, 4), 2, np.int32)
    labels[0, : len(word)] = word
    exists = any(collapse(path) == tuple(word) for path in itertools.product(range(3), repeat=time))
    assert ctc_feasible(jnp.array([time]), jnp.array(labels), jnp.array([len(word)])).tolist() == [exists]


def test_infeasible_rows_are_exactly_zero_and_the_others_unaffected():
    logits, labels, weights = random_rows(0)
    labels[0] = [1, 2, 3, 1, 2, 3]  # six labels
    labels[1] = [1, 1, 2, 2, 3, 3]  # six labels and three repeats
    logit_lengths = np.array([5, 8, 9, 0], np.int32)
    labels[2] = labels[1]
    label_lengths = np.array([6, 6, 6, 1], np.int32)
    losses, gradient = loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights)
    np.testing.assert_array_equal(ctc_feasible(logit_lengths, labels, label_lengths), [False, False, True, False])
    np.testing.assert_array_equal(np.asarray(losses)[[0, 1, 3]], 0)
    np.testing.assert_array_equal(np.asarray(gradient)[[0, 1, 3]], 0)
    expected_losses, expected_gradient = torch_loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights)
    assert losses[2] > 0
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_if_every_row_is_infeasible():
    logits, labels, weights = random_rows(1)
    losses, gradient = loss_and_gradient(
        logits, np.zeros(BATCH, np.int32), labels, np.full(BATCH, LABELS, np.int32), weights
    )
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_an_empty_row_costs_nothing():
    """A row that only fills up the batch: no frames, no labels."""
    logits, labels, weights = random_rows(2)
    losses, gradient = loss_and_gradient(
        logits, np.array([0, 12, 12, 12], np.int32), labels, np.array([0, 3, 3, 3], np.int32), weights
    )
    assert losses[0] == 0 and (np.asarray(losses)[1:] > 0).all()
    np.testing.assert_array_equal(np.asarray(gradient)[0], 0)


def test_an_empty_transcript_means_all_blanks():
    logits, labels, _ = random_rows(3)
    logit_lengths = np.array([12, 5, 1, 0], np.int32)
    log_blank = np.asarray(jax.nn.log_softmax(jnp.asarray(logits)))[..., 2]
    expected = [-row[:length].sum() for row, length in zip(log_blank, logit_lengths, strict=True)]
    without_column = ctc_loss(
        logits, logit_lengths, np.zeros((BATCH, 0), np.int32), np.zeros(BATCH, np.int32), blank_id=2
    )
    with_garbage = ctc_loss(logits, logit_lengths, labels, np.zeros(BATCH, np.int32), blank_id=2)
    np.testing.assert_allclose(without_column, expected, rtol=1e-5)
    np.testing.assert_allclose(with_garbage, expected, rtol=1e-5)
    assert ctc_feasible(logit_lengths, np.zeros((BATCH, 0), np.int32), np.zeros(BATCH, np.int32)).all()


@pytest.mark.parametrize('garbage_label', [0, 1, -1, VOCAB + 3])
def test_padding_changes_nothing(garbage_label):
    logits, labels, weights = random_rows(4)
    logit_lengths, label_lengths = np.array([12, 10, 7, 1], np.int32), np.array([6, 3, 2, 1], np.int32)
    frame_padding = np.arange(TIME) >= logit_lengths[:, None]
    label_padding = np.arange(LABELS) >= label_lengths[:, None]
    garbage = np.where(frame_padding[..., None], np.float32(1e4) * np.sign(logits), logits)
    garbage_labels = np.where(label_padding, np.int32(garbage_label), labels)
    losses, gradient = loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights)
    same_losses, same_gradient = loss_and_gradient(garbage, logit_lengths, garbage_labels, label_lengths, weights)
    np.testing.assert_array_equal(same_losses, losses)
    np.testing.assert_allclose(same_gradient, gradient, atol=2e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[frame_padding], 0)
    assert (np.abs(np.asarray(gradient)[~frame_padding]).sum(axis=-1) > 0).all()


def test_more_padded_frames_and_labels_change_nothing():
    logits, labels, _ = random_rows(5)
    logit_lengths, label_lengths = np.array([12, 10, 7, 2], np.int32), np.array([6, 3, 2, 1], np.int32)
    longer = np.pad(logits, ((0, 0), (0, 3), (0, 0)), constant_values=7)
    more_labels = np.pad(labels, ((0, 0), (0, 2)), constant_values=1)
    expected = ctc_loss(logits, logit_lengths, labels, label_lengths)
    np.testing.assert_allclose(ctc_loss(longer, logit_lengths, more_labels, label_lengths), expected, rtol=1e-6)


def test_computes_in_float32_whatever_the_logits():
    logits, labels, _ = random_rows(6)
    logit_lengths, label_lengths = np.full(BATCH, TIME, np.int32), np.full(BATCH, 3, np.int32)
    half = jnp.asarray(logits, jnp.bfloat16)
    losses = ctc_loss(half, logit_lengths, labels, label_lengths)
    assert losses.dtype == jnp.float32
    expected = ctc_loss(half.astype(jnp.float32), logit_lengths, labels, label_lengths)
    np.testing.assert_array_equal(losses, expected)


def test_a_class_that_is_ruled_out_is_as_good_as_absent():
    logits, labels, weights = random_rows(7)
    rest = np.full(BATCH, TIME, np.int32), labels, np.full(BATCH, 3, np.int32), weights
    losses, gradient = loss_and_gradient(np.pad(logits, ((0, 0), (0, 0), (0, 1)), constant_values=-np.inf), *rest)
    expected_losses, expected_gradient = loss_and_gradient(logits, *rest)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    np.testing.assert_allclose(gradient[..., :-1], expected_gradient, atol=1e-6)
    np.testing.assert_array_equal(gradient[..., -1], 0)


def compiled_for(batch, time, vocab, label, sharding=None):
    """The loss and gradient compiled for rows of these sizes."""
    sizes = {'logits': (batch, time, vocab), 'logit_lengths': (batch,), 'labels': (batch, label)}
    rows = {
        name: jax.ShapeDtypeStruct(size, np.float32 if name == 'logits' else np.int32, sharding=sharding)
        for name, size in {**sizes, 'label_lengths': (batch,)}.items()
    }
    weights = jax.ShapeDtypeStruct((batch,), np.float32, sharding=sharding)
    return loss_and_gradient.lower(**rows, weights=weights).compile()


@pytest.mark.parametrize(('vocab', 'label'), [(8, 20), (8, 160), (1000, 20), (1000, 160)])
def test_memory_grows_with_vocab_plus_labels_not_times(vocab, label):
    batch, time = 4, 100
    allocated = compiled_for(batch, time, vocab, label).memory_analysis().temp_size_in_bytes
    float32s = batch * time * (12 * (label + 2) + 2 * vocab)
    assert allocated < 4 * float32s


def test_rows_on_several_devices_exchange_nothing():
    assert_exchanges_nothing(compiled_for(BATCH, TIME, VOCAB, LABELS, rows_on_two_devices()))


@pytest.mark.parametrize(
    'shapes',
    [
        [(4, 5), (4,), (4, 2), (4,)],
        [(4, 5, 3), (3,), (4, 2), (4,)],
        [(4, 5, 3), (4,), (3, 2), (4,)],
        [(4, 5, 3), (4,), (4,), (4,)],
        [(4, 5, 3), (4,), (4, 2), (4, 1)],
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes):
    assert_names_shapes(ctc_loss, shapes, r'ctc_loss takes logits \[B,T,V\]')
