"""CTC prefix beam search against the enumeration of all paths, and against the CTC loss."""

import functools
import itertools
import math
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.decode import ctc_beam, ctc_greedy
from bljust_jax.lm import kneser_ney, ngram_table
from bljust_jax.losses import ctc_loss

decode = jax.jit(ctc_beam, static_argnames=('beam', 'max_labels', 'at_least_greedy', 'blank_id'))
NAMES = ('a', 'b')
MODEL = kneser_ney([tuple('abba'), tuple('ab'), tuple('baab'), tuple('bbb')], NAMES, 3)
TABLE = ngram_table(MODEL, NAMES)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(scale=2.0, size=shape).astype(np.float32)


def labellings(logits, blank_id=0):
    """Log-likelihood of every labelling of `logits [time, vocab]`, summed over all paths in float64."""
    log_probs = np.asarray(logits, np.float64)
    log_probs = log_probs - np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    time, vocab = log_probs.shape
    likelihoods = defaultdict(float)
    for path in itertools.product(range(vocab), repeat=time):
        labels = tuple(label for label, _ in itertools.groupby(path) if label != blank_id)
        likelihoods[labels] += math.exp(sum(log_probs[frame, label] for frame, label in enumerate(path)))
    return {labels: math.log(likelihood) for labels, likelihood in likelihoods.items()}


def found(hypotheses, row):
    """Labellings and scores of a row, best first."""
    labels, lengths, scores = (np.asarray(array[row]) for array in hypotheses)
    alive = scores > -np.inf
    assert not lengths[~alive].any() and not alive[1:][~alive[:-1]].any()
    return [(tuple(labels[k, : lengths[k]].tolist()), float(scores[k])) for k in range(len(scores)) if alive[k]]


def assert_best(actual, expected):
    """`actual` are all of the `expected` labellings in the order of their scores."""
    ranked = sorted(expected.items(), key=lambda item: -item[1])
    assert [labels for labels, _ in actual] == [labels for labels, _ in ranked]
    np.testing.assert_allclose([score for _, score in actual], [score for _, score in ranked], atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize(('time', 'blank_id'), [(1, 0), (2, 0), (3, 2), (4, 1), (5, 0)])
def test_every_labelling_of_short_rows_has_its_exact_likelihood(time, blank_id):
    logits = normal(10 * time + blank_id, 20, time, 3)
    hypotheses = decode(logits, jnp.full(20, time), beam=80, blank_id=blank_id)
    assert hypotheses.labels.shape == (20, 80, time) and hypotheses.labels.dtype == jnp.int32
    for row in range(20):
        assert_best(found(hypotheses, row), labellings(logits[row], blank_id))


@pytest.mark.parametrize('weight', [0.0, 0.7, 3.0])
def test_the_language_model_and_the_bonus_are_added(weight):
    logits, bonus = normal(1, 20, 5, 3), jnp.array([0.0, 0.4, -0.3])
    hypotheses = decode(logits, jnp.full(20, 5), beam=80, lm=TABLE, lm_weight=weight, bonus=bonus)
    for row in range(20):
        expected = {
            labels: score
            + weight * MODEL.sentence_log_prob([NAMES[label - 1] for label in labels])
            + sum(float(bonus[label]) for label in labels)
            for labels, score in labellings(logits[row]).items()
        }
        assert_best(found(hypotheses, row), expected)


def test_labellings_are_no_longer_than_wanted():
    logits = normal(2, 20, 5, 3)
    hypotheses = decode(logits, jnp.full(20, 5), beam=80, max_labels=2)
    assert hypotheses.labels.shape == (20, 80, 2)
    for row in range(20):
        assert_best(found(hypotheses, row), {n: score for n, score in labellings(logits[row]).items() if len(n) <= 2})


def test_a_narrow_beam_follows_the_published_recursion():
    """Beams of 1 to 4, against the recursion on dictionaries of prefixes."""
    logits = normal(3, 10, 12, 5)
    for beam in (1, 2, 3, 4):
        hypotheses = decode(logits, jnp.full(10, 12), beam=beam, at_least_greedy=False)
        for row in range(10):
            assert_best(found(hypotheses, row), dictionary_search(logits[row], beam))


def dictionary_search(logits, beam):
    """Algorithm 1 of arXiv 1408.2873 without a language model, in float64."""
    probs = np.exp(np.asarray(logits, np.float64))
    probs /= probs.sum(axis=1, keepdims=True)
    prefixes = {(): (1.0, 0.0)}
    for frame in probs:
        after = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, label) in prefixes.items():
            after[prefix][0] += frame[0] * (blank + label)
            if prefix:
                after[prefix][1] += frame[prefix[-1]] * label
            for c in range(1, len(frame)):
                after[(*prefix, c)][1] += frame[c] * (blank if prefix and prefix[-1] == c else blank + label)
        prefixes = dict(sorted(after.items(), key=lambda item: -sum(item[1]))[:beam])
    return {prefix: math.log(sum(pair)) for prefix, pair in prefixes.items()}


def log_likelihood(logits, lengths, labels, label_lengths):
    return -ctc_loss(jnp.asarray(logits), lengths, labels, label_lengths)


def test_as_likely_as_greedy_decoding_in_500_random_cases():
    """Summed over all alignments by the loss, of noise: the search alone loses greedy decoding's labelling in some."""
    logits, lengths = normal(4, 500, 30, 8), jnp.asarray(np.random.default_rng(4).integers(1, 31, 500), jnp.int32)
    greedy = log_likelihood(logits, lengths, *jax.jit(ctc_greedy)(logits, lengths))
    searched, hypotheses = (decode(logits, lengths, beam=8, at_least_greedy=value) for value in (False, True))
    alone, best = (
        log_likelihood(logits, lengths, h.labels[:, 0], h.label_lengths[:, 0]) for h in (searched, hypotheses)
    )
    np.testing.assert_array_less(greedy - 1e-4, best)
    assert (best > greedy + 0.1).sum() > 200 and 0 < (alone < greedy - 1e-3).sum() < 25
    assert (hypotheses.scores[:, 0] <= best + 1e-4).all()
    rows = [found(hypotheses, row) for row in range(500)]
    assert all(len(dict(row)) == len(row) for row in rows), 'a labelling is there twice'
    assert all(row == sorted(row, key=lambda item: -item[1]) for row in rows)


def test_as_good_as_greedy_decoding_with_a_language_model():
    logits, lengths, bonus = normal(8, 200, 12, 3), jnp.full(200, 12), jnp.array([0.0, 0.2, -0.2])
    labels, counts = jax.jit(ctc_greedy)(logits, lengths)
    hypotheses = decode(logits, lengths, beam=1, lm=TABLE, lm_weight=0.5, bonus=bonus)

    def fused(labels, counts):
        words = [tuple(row[:count].tolist()) for row, count in zip(np.asarray(labels), counts, strict=True)]
        language = [
            0.5 * MODEL.sentence_log_prob([NAMES[label - 1] for label in row]) + sum(float(bonus[i]) for i in row)
            for row in words
        ]
        return np.asarray(log_likelihood(logits, lengths, labels, counts)) + np.array(language)

    best, greedy = fused(hypotheses.labels[:, 0], hypotheses.label_lengths[:, 0]), fused(labels, counts)
    np.testing.assert_array_less(greedy - 1e-4, best)
    assert ((hypotheses.labels[:, 0] == labels).all(axis=1)).sum() > 5
    assert (np.asarray(hypotheses.scores[:, 0]) <= best + 1e-4).all()


def test_long_rows_keep_their_digits():
    """Of one labelling 600 frames long and nearly certain, after a frame of 5,000 nats: its score is the loss's."""
    path = np.tile([0, 1, 2, 1], 150)
    logits, lengths = normal(5, 2, 600, 3) + 12.0 * np.eye(3, dtype=np.float32)[path], jnp.array([600, 500])
    logits[:, 0] = [5000.0, 0.0, 0.0]
    hypotheses = decode(logits, lengths, beam=8, max_labels=500, lm=TABLE, lm_weight=0.0)
    best = log_likelihood(logits, lengths, hypotheses.labels[:, 0], hypotheses.label_lengths[:, 0])
    assert (hypotheses.label_lengths[:, 0] > 350).all()
    np.testing.assert_allclose(hypotheses.scores[:, 0], best, atol=1e-3)


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
    st.integers(0, 2**31 - 1),
    st.sampled_from([np.nan, 1e30, -np.inf]),
)
def test_what_lies_in_the_padding_changes_nothing(lengths, seed, garbage):
    logits, lengths = normal(seed, 3, 8, 3), jnp.array(lengths)
    padded = np.full((3, 11, 3), garbage, np.float32)
    for row, length in enumerate(lengths):
        padded[row, :length] = logits[row, :length]
    options = {'beam': 6, 'lm': TABLE, 'lm_weight': 0.5, 'max_labels': 8}
    alone, among = decode(logits, lengths, **options), decode(padded, lengths, **options)
    np.testing.assert_array_equal(alone.labels, among.labels)
    np.testing.assert_array_equal(alone.label_lengths, among.label_lengths)
    np.testing.assert_allclose(alone.scores, among.scores, atol=1e-5)


def test_an_empty_row_has_the_empty_labelling():
    hypotheses = decode(normal(6, 2, 4, 3), jnp.array([0, 4]), beam=3, lm=TABLE, lm_weight=1.0)
    ((labels, score),) = found(hypotheses, 0)
    assert labels == () and score == pytest.approx(MODEL.sentence_log_prob([]), abs=1e-5)


def test_labels_that_are_impossible_are_never_found():
    logits = normal(7, 1, 4, 3)
    logits[..., 2] = -np.inf
    hypotheses = found(decode(logits, jnp.array([4]), beam=80), 0)
    expected = labellings(logits[0, :, :2])
    assert_best(hypotheses, expected)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'logits': jnp.zeros((2, 3))}, r'logits \[B,T,V\] and lengths \[B\], not \(2, 3\) and \(2,\)'),
        ({'lengths': jnp.zeros(3, jnp.int32)}, r'not \(2, 4, 3\) and \(3,\)'),
        ({'beam': 0}, 'a beam of 1 or more and max_labels of 0 or more, not 0 and 4'),
        ({'bonus': jnp.zeros(4)}, r'logits \(2, 4, 3\) need .* not \(1, 3\) and \(4,\)'),
        ({'lm': ngram_table(MODEL, NAMES)._replace(scores=jnp.zeros((1, 4)))}, r'not \(1, 4\) and \(\)'),
        ({'lm': TABLE, 'blank_id': 2}, 'A language model takes label 0 for the blank, not blank_id=2'),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    fitting = {'logits': jnp.zeros((2, 4, 3)), 'lengths': jnp.array([4, 4])}
    with pytest.raises(ValueError, match=message):
        ctc_beam(**fitting | arguments)


def test_the_frames_are_scanned_not_unrolled():
    sizes = [
        str(
            jax.make_jaxpr(functools.partial(ctc_beam, beam=4, max_labels=5))(
                jnp.zeros((2, time, 3)), jnp.array([1, 1])
            )
        )
        for time in (10, 100)
    ]
    assert len(sizes[1]) < 1.1 * len(sizes[0])
