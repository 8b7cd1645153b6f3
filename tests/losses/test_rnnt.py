import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses import rnnt_loss
from bljust_jax.losses.supervised.rnnt import rnnt_feasible
from tests.losses import alignments
from tests.losses.alignments import (
    BATCH,
    assert_exchanges_nothing,
    assert_names_shapes,
    compiled,
    label_shapes,
    lengths,
    loss_and_gradient_of,
    rows_on_two_devices,
)

TIME, LABELS, VOCAB = 9, 5, 4
loss_and_gradient = loss_and_gradient_of(rnnt_loss)
random_rows = functools.partial(alignments.random_rows, shape=(BATCH, TIME, LABELS + 1, VOCAB), labels=LABELS)


def torch_row_loss(logits, labels, blank_id=0):
    """-log-likelihood of one row without padding, cell by cell, for PyTorch to differentiate in float64."""
    log_probs = torch.log_softmax(logits, dim=-1)
    alpha = {}
    for t, u in itertools.product(range(logits.shape[0]), range(len(labels) + 1)):
        ways = [alpha[t - 1, u] + log_probs[t - 1, u, blank_id]] if t else []
        ways += [alpha[t, u - 1] + log_probs[t, u - 1, labels[u - 1]]] if u else []
        alpha[t, u] = torch.logsumexp(torch.stack(ways), dim=0) if ways else torch.zeros((), dtype=logits.dtype)
    return -(alpha[t, u] + log_probs[t, u, blank_id])


def torch_loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights, *, blank_id=0):
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    losses = [
        torch_row_loss(row[:time, : size + 1], label[:size].tolist(), blank_id)
        if time
        else torch.zeros((), dtype=x.dtype)
        for row, time, label, size in zip(x, logit_lengths, labels, label_lengths, strict=True)
    ]
    losses = torch.stack(losses) + 0 * x.sum()
    (losses * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    return losses.detach().numpy(), x.grad.numpy()


def numpy_row_loss(logits, labels, blank_id=0):
    """The same in float64 by products of matrices over labels, one for each frame: fast enough for long rows."""
    x = logits.astype(np.float64)
    log_probs = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    blank, label = log_probs[..., blank_id], log_probs[:, np.arange(len(labels)), labels]
    alpha = np.full(len(labels) + 1, -np.inf)
    alpha[0] = 0
    for t in range(len(x)):
        read = np.concatenate([[0], np.cumsum(label[t])])
        # Arriving at u from any v <= u within the frame, then the blank.
        alpha = np.logaddexp.accumulate(alpha - read) + read + blank[t]
    return -alpha[-1]


def enumerated_loss(logits, labels, blank_id=0):
    """-log of the probability of all orders in which `labels` and a blank for each frame can come, in float64."""
    x = logits.astype(np.float64)
    probs = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    time, size = len(x), len(labels)
    total = 0.0
    for places in itertools.combinations(range(time - 1 + size), size):
        t = u = 0
        probability = 1.0
        for step in range(time + size):
            is_label = step in places
            probability *= probs[t, u, labels[u] if is_label else blank_id]
            t, u = (t, u + 1) if is_label else (t + 1, u)
        total += probability
    return -np.log(total)


def beyond(logit_lengths, label_lengths):
    """Whether a place `[batch, time, label + 1]` lies in a row's padding."""
    late = np.arange(TIME) >= logit_lengths[:, None]
    return late[:, :, None] | (np.arange(LABELS + 1) > label_lengths[:, None])[:, None]


@pytest.mark.parametrize('blank_id', [0, 2])
@pytest.mark.parametrize('size', range(4))
@pytest.mark.parametrize('time', range(1, 5))
def test_equals_the_sum_over_all_paths(time, size, blank_id):
    logits, labels, weights = random_rows(10 * time + size, blank_id=blank_id)
    losses, _ = loss_and_gradient(
        logits, np.full(BATCH, time, np.int32), labels, np.full(BATCH, size, np.int32), weights, blank_id=blank_id
    )
    expected = [
        enumerated_loss(row[:time, : size + 1], label[:size], blank_id)
        for row, label in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(losses, expected, rtol=2e-6)


# Published in the tests of torchaudio, test/torchaudio_unittest/rnnt/utils.py; the first comes from warp-transducer.
TORCHAUDIO_ONE = {
    'logits': """
        .1 .6 .1 .1 .1  .1 .1 .6 .1 .1  .1 .1 .2 .8 .1
        .1 .6 .1 .1 .1  .1 .1 .2 .1 .1  .7 .1 .2 .1 .1""",
    'shape': (1, 2, 3, 5),
    'labels': [[1, 2]],
    'blank_id': 4,
    'losses': [5.09566688538],
    'gradient': """
        .17703132 -.39992708 .17703132 .17703132 -.13116692  .12247062 .12247062 -.181684 .12247062 -.1857276
        .06269141 .06269141 .06928471 .12624498 -.32091248  .05456069 -.2182428 .05456069 .05456069 .05456069
        .12073967 .12073967 -.48295838 .12073967 .12073967  .30741188 .16871123 .18645471 .16871123 -.83128875""",
}
TORCHAUDIO_TWO = {
    'logits': """
        .065357 .787530 .081592 .529716 .750675 .754135 .609764 .868140 .622532 .668522 .858039 .164539
        .989780 .944298 .603168 .946783 .666203 .286882 .094184 .366674 .736168 .166680 .714154 .399400
        .535982 .291821 .612642 .324241 .800764 .524106 .779195 .183314 .113745 .240222 .339470 .134160
        .505562 .051597 .640290 .430733 .829473 .177467 .320700 .042883 .302803 .675178 .569537 .558474
        .083132 .060165 .107958 .748615 .943918 .486356 .418199 .652408 .024243 .134582 .366342 .295830
        .923670 .689929 .741898 .250005 .603430 .987289 .592606 .884672 .543450 .660770 .377128 .358021""",
    'shape': (2, 4, 3, 3),
    'labels': [[1, 2], [1, 1]],
    'blank_id': 0,
    'losses': [4.2806528590890736, 3.9384369822503591],
    'gradient': """
        -.186844 -.062555 .249399 -.203377 .202399 .000977 -.141016 .079123 .061893 -.011552 -.081280 .092832
        -.154257 .229433 -.075176 -.246593 .146405 .100188 -.012918 -.061593 .074512 -.055986 .219831 -.163845
        -.497627 .209240 .288387 .013605 -.030220 .016615 .113925 .062781 -.176706 -.667078 .367659 .299419
        -.356344 -.055347 .411691 -.096922 .029459 .067463 -.063518 .027654 .035863 -.154499 -.073942 .228441
        -.166790 -.000088 .166878 -.172370 .105565 .066804 .023875 -.118256 .094381 -.104707 -.108934 .213642
        -.369844 .180118 .189726 .025714 -.079462 .053748 .122328 -.238789 .116460 -.598687 .302203 .296484""",
}


@pytest.mark.parametrize('case', [TORCHAUDIO_ONE, TORCHAUDIO_TWO])
def test_equals_the_values_published_with_torchaudio(case):
    shape, labels = case['shape'], np.array(case['labels'], np.int32)
    logits, expected = (np.array(case[name].split(), np.float32).reshape(shape) for name in ('logits', 'gradient'))
    full = np.ones(shape[0], np.int32)
    rows = logits, full * shape[1], labels, full * labels.shape[1], np.ones(shape[0], np.float32)
    losses, gradient = loss_and_gradient(*rows, blank_id=case['blank_id'])
    np.testing.assert_allclose(losses, case['losses'], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_equals_the_closed_form_of_uniform_probabilities():
    """Every path has the same probability; torchaudio publishes it as the case of 10 frames, 2 labels, 4 classes."""
    rows = np.zeros((1, 10, 3, 4), np.float32), np.array([10]), np.array([[1, 2]]), np.array([2])
    paths = len(list(itertools.combinations(range(11), 2)))
    np.testing.assert_allclose(rnnt_loss(*rows), 12 * np.log(4) - np.log(paths), rtol=1e-6)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    logit_lengths=lengths(st.integers(0, TIME)),
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
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=2e-5)


def test_gradient_equals_finite_differences_in_float64():
    logits, labels, _ = random_rows(0)
    time, size, step = 4, 3, 1e-5
    rows = np.full(BATCH, time, np.int32), labels, np.full(BATCH, size, np.int32), np.ones(BATCH, np.float32)
    _, gradient = loss_and_gradient(logits, *rows)
    row = logits[0, :time, : size + 1].astype(np.float64)
    expected = np.zeros_like(row)
    for index in np.ndindex(*row.shape):
        shift = np.zeros_like(row)
        shift[index] = step
        expected[index] = (
            numpy_row_loss(row + shift, labels[0, :size]) - numpy_row_loss(row - shift, labels[0, :size])
        ) / (2 * step)
    np.testing.assert_allclose(gradient[0, :time, : size + 1], expected, atol=1e-6)


def numpy_row_gradient(logits, labels):
    """Of a row's loss, in float64: each place's and step's probability from the losses before and after it."""
    x = logits.astype(np.float64)
    probs = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    log_probs = np.log(probs)
    time, size = len(x), len(labels)
    blank, label = log_probs[..., 0], log_probs[:, np.arange(size), labels]
    alpha = np.full((time + 1, size + 1), -np.inf)
    beta = alpha.copy()
    alpha[0, 0] = beta[time, size] = 0
    for t in range(time):
        read = np.concatenate([[0], np.cumsum(label[t])])
        alpha[t] = np.logaddexp.accumulate(alpha[t] - read) + read
        alpha[t + 1] = alpha[t] + blank[t]
    for t in reversed(range(time)):
        left = np.concatenate([np.cumsum(label[t][::-1])[::-1], [0]])
        beta[t] = np.logaddexp.accumulate((beta[t + 1] + blank[t] - left)[::-1])[::-1] + left
    on_blank = np.exp(alpha[:time] + blank + beta[1:] - beta[0, 0])
    on_label = np.exp(alpha[:time, :-1] + label + beta[:time, 1:] - beta[0, 0])
    gradient = np.exp(alpha[:time] + beta[:time] - beta[0, 0])[..., None] * probs
    gradient[..., 0] -= on_blank
    gradient[:, np.arange(size), labels] -= on_label
    return gradient


def test_gradient_stays_accurate_over_many_frames():
    rng = np.random.default_rng(0)
    batch, time, vocab, label = 2, 1500, 20, 120
    logits = rng.normal(size=(batch, time, label + 1, vocab)).astype(np.float32)
    labels = rng.integers(1, vocab, (batch, label), dtype=np.int32)
    logit_lengths, label_lengths = np.array([1500, 1200], np.int32), np.array([120, 90], np.int32)
    losses, gradient = loss_and_gradient(logits, logit_lengths, labels, label_lengths, np.ones(batch, np.float32))
    for i, (frames, size) in enumerate(zip(logit_lengths, label_lengths, strict=True)):
        row = logits[i, :frames, : size + 1], labels[i, :size]
        np.testing.assert_allclose(losses[i], numpy_row_loss(*row), rtol=2e-6)
        expected = numpy_row_gradient(*row)
        np.testing.assert_allclose(np.asarray(gradient)[i, :frames, : size + 1], expected, rtol=0, atol=1e-5)


def test_the_two_references_agree():
    logits, labels, weights = random_rows(1)
    rows = np.full(BATCH, TIME, np.int32), labels, np.full(BATCH, LABELS, np.int32), weights
    losses, gradient = torch_loss_and_gradient(logits, *rows)
    for i in range(BATCH):
        np.testing.assert_allclose(numpy_row_loss(logits[i], labels[i]), losses[i], rtol=1e-12)
        np.testing.assert_allclose(weights[i] * numpy_row_gradient(logits[i], labels[i]), gradient[i], atol=1e-10)


def test_feasible_is_what_has_frames_or_nothing_to_read():
    feasible = rnnt_feasible(jnp.array([0, 0, 1, 1, 5]), jnp.array([0, 1, 0, 7, 2]))
    assert feasible.tolist() == [True, False, True, True, True]


def test_infeasible_and_empty_rows_are_exactly_zero_and_the_others_unaffected():
    logits, labels, weights = random_rows(2)
    rows = np.array([0, 0, 1, 9], np.int32), labels, np.array([3, 0, 5, 2], np.int32), weights
    losses, gradient = loss_and_gradient(logits, *rows)
    expected_losses, expected_gradient = torch_loss_and_gradient(logits, *rows)
    np.testing.assert_array_equal(losses[:2], 0)
    np.testing.assert_array_equal(gradient[:2], 0)
    assert (losses[2:] > 0).all()
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_an_empty_transcript_means_all_blanks():
    logits, labels, _ = random_rows(3)
    logit_lengths, none = np.array([9, 5, 1, 0], np.int32), np.zeros(BATCH, np.int32)
    log_blank = np.asarray(jax.nn.log_softmax(jnp.asarray(logits)))[:, :, 0, 2]
    expected = [-row[:length].sum() for row, length in zip(log_blank, logit_lengths, strict=True)]
    without_column = rnnt_loss(logits[:, :, :1], logit_lengths, np.zeros((BATCH, 0), np.int32), none, blank_id=2)
    with_garbage = rnnt_loss(logits, logit_lengths, labels, none, blank_id=2)
    np.testing.assert_allclose(without_column, expected, rtol=1e-5)
    np.testing.assert_allclose(with_garbage, expected, rtol=1e-5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    logit_lengths=lengths(st.integers(0, TIME)),
    label_lengths=lengths(st.integers(0, LABELS)),
    garbage=st.sampled_from([1e4, -np.inf, np.inf, np.nan]),
    garbage_label=st.sampled_from([0, 1, -1, VOCAB + 3]),
)
def test_padding_has_no_influence_and_no_gradient(seed, logit_lengths, label_lengths, garbage, garbage_label):
    logits, labels, weights = random_rows(seed)
    logit_lengths, label_lengths = np.array(logit_lengths, np.int32), np.array(label_lengths, np.int32)
    padding = beyond(logit_lengths, label_lengths)
    filled = np.where(padding[..., None], np.float32(garbage), logits)
    filled_labels = np.where(np.arange(LABELS) >= label_lengths[:, None], np.int32(garbage_label), labels)
    losses, gradient = loss_and_gradient(logits, logit_lengths, labels, label_lengths, weights)
    same_losses, same_gradient = loss_and_gradient(filled, logit_lengths, filled_labels, label_lengths, weights)
    np.testing.assert_array_equal(same_losses, losses)
    np.testing.assert_allclose(same_gradient, gradient, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[padding], 0)
    np.testing.assert_array_equal(np.asarray(same_gradient)[padding], 0)
    read = ~padding & (logit_lengths > 0)[:, None, None]
    np.testing.assert_allclose(np.asarray(gradient)[read].sum(axis=-1), 0, atol=2e-6)


def test_more_padded_frames_and_labels_change_nothing():
    logits, labels, _ = random_rows(5)
    logit_lengths, label_lengths = np.array([9, 7, 4, 1], np.int32), np.array([5, 3, 2, 0], np.int32)
    larger = np.pad(logits, ((0, 0), (0, 3), (0, 2), (0, 0)), constant_values=7)
    more_labels = np.pad(labels, ((0, 0), (0, 2)), constant_values=1)
    expected = rnnt_loss(logits, logit_lengths, labels, label_lengths)
    np.testing.assert_allclose(rnnt_loss(larger, logit_lengths, more_labels, label_lengths), expected, rtol=1e-6)


def test_computes_in_float32_whatever_the_logits():
    logits, labels, weights = random_rows(6)
    rest = np.full(BATCH, TIME, np.int32), labels, np.full(BATCH, 3, np.int32), weights
    half = jnp.asarray(logits, jnp.bfloat16)
    losses, gradient = loss_and_gradient(half, *rest)
    expected, expected_gradient = loss_and_gradient(half.astype(jnp.float32), *rest)
    assert losses.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(gradient, expected_gradient.astype(jnp.bfloat16))


def test_a_class_that_is_ruled_out_is_as_good_as_absent():
    logits, labels, weights = random_rows(7)
    rest = np.full(BATCH, TIME, np.int32), labels, np.full(BATCH, 3, np.int32), weights
    absent = [(0, 0)] * 3 + [(0, 1)]
    losses, gradient = loss_and_gradient(np.pad(logits, absent, constant_values=-np.inf), *rest)
    expected_losses, expected_gradient = loss_and_gradient(logits, *rest)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    np.testing.assert_allclose(gradient[..., :-1], expected_gradient, atol=1e-6)
    np.testing.assert_array_equal(gradient[..., -1], 0)


def test_a_path_that_is_ruled_out_leaves_the_others():
    """Both labels of row 0 are impossible in the first frame, and everything but its label in a place of row 1."""
    logits, labels, weights = random_rows(8)
    logits[0, 0, :, 1:] = -np.inf
    logits[1, 2, 1] = np.where(np.arange(VOCAB) == labels[1, 1], 1, -np.inf)
    rest = np.full(BATCH, 6, np.int32), labels, np.full(BATCH, 2, np.int32), weights
    losses, gradient = loss_and_gradient(logits, *rest)
    finite = np.where(np.isinf(logits), -1e4, logits)
    expected_losses, expected_gradient = torch_loss_and_gradient(finite, *rest)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


@pytest.mark.parametrize('log_prob', [-np.inf, -1e9, np.finfo(np.float32).min])
def test_a_row_without_a_possible_path_stays_finite_and_to_itself(log_prob):
    """Nothing but the blank is possible at a position which row 0 has to leave."""
    rng = np.random.default_rng(12)
    time, labels = 300, rng.integers(1, VOCAB, (2, 20), dtype=np.int32)
    logits = rng.normal(size=(2, time, 21, VOCAB)).astype(np.float32)
    logits[0, :, 10, 1:] = log_prob
    full = np.full(2, time, np.int32), labels, np.full(2, 20, np.int32), np.ones(2, np.float32)
    losses, gradient = loss_and_gradient(logits, *full)
    assert np.isfinite(losses).all() and losses[0] > 1e8
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(losses[1], numpy_row_loss(logits[1], labels[1]), rtol=2e-6)
    np.testing.assert_allclose(gradient[1], numpy_row_gradient(logits[1], labels[1]), atol=1e-5)


def test_memory_beside_logits_and_gradient_does_not_grow_with_vocab():
    batch, time, label = 4, 50, 10
    for vocab in (10, 1000):
        shapes = [((batch, time, label + 1, vocab), np.float32), *label_shapes(batch, label)]
        allocated = compiled(rnnt_loss, shapes).memory_analysis().temp_size_in_bytes
        assert allocated < 4 * 16 * batch * (time + label) * (label + 1)


def test_rows_on_several_devices_exchange_nothing():
    shapes = [((BATCH, TIME, LABELS + 1, VOCAB), np.float32), *label_shapes(BATCH, LABELS)]
    assert_exchanges_nothing(compiled(rnnt_loss, shapes, rows_on_two_devices()))


@pytest.mark.parametrize(
    'shapes',
    [
        [(4, 5, 3), (4,), (4, 2), (4,)],
        [(4, 5, 3, 6), (3,), (4, 2), (4,)],
        [(4, 5, 3, 6), (4,), (4, 3), (4,)],
        [(4, 5, 3, 6), (4,), (3, 2), (4,)],
        [(4, 5, 3, 6), (4,), (4, 2), (4, 1)],
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes):
    assert_names_shapes(rnnt_loss, shapes, r'rnnt_loss takes logits \[B,T,U\+1,V\]')


@pytest.mark.parametrize('blank_id', [-1, VOCAB])
def test_a_blank_outside_the_vocabulary_is_refused(blank_id):
    logits, labels, _ = random_rows(11)
    lengths = np.full(BATCH, 2, np.int32)
    with pytest.raises(ValueError, match=f'blank_id is {blank_id}, .* the 4 of'):
        rnnt_loss(logits, lengths, labels, lengths, blank_id=blank_id)
