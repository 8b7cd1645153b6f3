"""Beam search with an attention decoder against the enumeration of all labellings."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.config import AttentionDecoderConfig
from bljust_jax.decode import attention_beam
from bljust_jax.lm import kneser_ney, ngram_table
from bljust_jax.models.attention_decoder import AttentionDecoder
from tests.params import random_params

NAMES = ('a', 'b')
MODEL = kneser_ney([tuple('abba'), tuple('ab'), tuple('baab'), tuple('bbb')], NAMES, 3)
TABLE = ngram_table(MODEL, NAMES)
WIDTH = 4
LENGTHS = np.array([4, 3, 2, 1, 0], np.int32)


@functools.cache
def make_decoder(vocab):
    """A decoder and random parameters, with which it is less sure than with their initial values, but not at ease."""
    decoder = AttentionDecoder(AttentionDecoderConfig(layers=2, width=8, heads=2, expansion=2), vocab)
    arguments = jnp.zeros((1, 1, WIDTH)), jnp.ones(1, jnp.int32), jnp.zeros((1, 1), jnp.int32)
    params = random_params(jax.eval_shape(decoder.init, jax.random.key(0), *arguments))
    params = jax.tree.map(lambda leaf: 2 * leaf, params['params'])
    search = jax.jit(functools.partial(attention_beam, decoder), static_argnames=('beam', 'best', 'labels_per_frame'))
    return jax.jit(decoder.apply), params, search


APPLY, PARAMS, SEARCH = make_decoder(3)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(scale=2.0, size=shape).astype(np.float32)


def inputs(seed, rows=5, time=4, vocab=3):
    return normal(seed, rows, time, WIDTH), normal(seed + 1, rows, time, vocab)


def log_likelihoods(hidden, lengths, labellings, apply=APPLY, params=PARAMS):
    """Of every labelling and its end by the decoder, all labels at once, `[batch, labelling]`."""
    sizes = [len(labels) for labels in labellings]
    padded = np.zeros((len(labellings), max(sizes)), np.int32)
    for row, labels in zip(padded, labellings, strict=True):
        row[: len(labels)] = labels
    targets = np.pad(padded, ((0, 0), (0, 1)))
    valid = np.arange(max(sizes) + 1) <= np.array(sizes)[:, None]
    scores = []
    for row, length in zip(hidden, lengths, strict=True):
        several = [np.broadcast_to(x[None], (len(sizes), *x.shape)) for x in (row, length)]
        logits = np.asarray(apply({'params': params}, *several, padded), np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        scores.append((np.take_along_axis(log_probs, targets[..., None], axis=2)[..., 0] * valid).sum(axis=1))
    return np.array(scores)


def ctc_log_likelihood(logits, labels):
    """By PyTorch, of one row without padding."""
    if not len(logits):
        return 0.0 if not labels else -np.inf
    log_probs = torch.log_softmax(torch.tensor(logits, dtype=torch.float64), dim=-1)[:, None]
    sizes = torch.tensor([len(logits)]), torch.tensor([len(labels)])
    return -torch.nn.functional.ctc_loss(log_probs, torch.tensor([labels]), *sizes, reduction='sum').item()


def enumerate_scores(hidden, logits, lengths, *, weight=0.0, lm_weight=0.0, bonus=(0, 0, 0), labels_per_frame=1.0):
    """For each row `{labelling: score}` of all that are short enough and possible."""
    longest = int(np.ceil(labels_per_frame * hidden.shape[1]))
    labellings = [labels for size in range(longest + 1) for labels in itertools.product((1, 2), repeat=size)]
    attention = log_likelihoods(hidden, lengths, labellings)
    rows = []
    for row, length in enumerate(lengths):
        scores = {}
        for index, labels in enumerate(labellings):
            if len(labels) <= np.ceil(labels_per_frame * length):
                ctc = ctc_log_likelihood(logits[row, :length], labels) if weight else 0.0
                language = lm_weight * MODEL.sentence_log_prob([NAMES[i - 1] for i in labels]) if lm_weight else 0.0
                scores[labels] = weight * ctc + (1 - weight) * attention[row, index] + language
                scores[labels] += sum(bonus[label] for label in labels)
        rows.append({labels: score for labels, score in scores.items() if score > -np.inf})
    return rows


def found(hypotheses, row):
    """Labellings and scores of a row, best first."""
    labels, lengths, scores = (np.asarray(array[row]) for array in hypotheses)
    alive = scores > -np.inf
    assert not lengths[~alive].any() and not labels[~alive].any() and not alive[1:][~alive[:-1]].any()
    return [(tuple(labels[k, : lengths[k]].tolist()), float(scores[k])) for k in range(len(scores)) if alive[k]]


def assert_best(actual, expected):
    """`actual` are all of the `expected` labellings in the order of their scores."""
    ranked = sorted(expected.items(), key=lambda item: -item[1])
    assert [labels for labels, _ in actual] == [labels for labels, _ in ranked]
    np.testing.assert_allclose([score for _, score in actual], [score for _, score in ranked], atol=5e-5, rtol=1e-5)


# Those with a language model are one program, and so are those without CTC.
CASES = {
    'attention': {'labels_per_frame': 1.2},
    'long': {'labels_per_frame': 1.2, 'bonus': (0.0, 2.0, 1.0)},
    'hybrid': {'weight': 0.3, 'lm_weight': 0.0},
    'ctc': {'weight': 1.0, 'lm_weight': 0.0},
    'language': {'weight': 0.5, 'lm_weight': 0.7, 'bonus': (0.0, 0.4, -0.3)},
    'short': {'weight': 0.3, 'labels_per_frame': 0.5},
}


def wide(hidden, logits, **options):
    """The search with room for all labellings."""
    return SEARCH(
        PARAMS,
        hidden,
        LENGTHS,
        ctc_logits=logits if 'weight' in options else None,
        ctc_weight=options.get('weight', 0.5),
        lm=TABLE if 'lm_weight' in options else None,
        lm_weight=options.get('lm_weight', 0.5),
        bonus=jnp.array(options.get('bonus', (0.0, 0.0, 0.0))),
        labels_per_frame=options.get('labels_per_frame', 1.0),
        beam=48,
        best=64,
    )


@pytest.mark.parametrize('case', CASES)
def test_a_wide_beam_finds_every_labelling_with_its_exact_score(case):
    options = CASES[case]
    hidden, logits = inputs(10)
    expected = enumerate_scores(hidden, logits, LENGTHS, **options)
    hypotheses = wide(hidden, logits, **options)
    assert hypotheses.labels.dtype == jnp.int32
    for row in range(len(LENGTHS)):
        assert_best(found(hypotheses, row), expected[row])


def test_the_search_ends_early_without_losing_the_best():
    for seed in range(20, 40, 2):
        hidden, logits = inputs(seed)
        best = SEARCH(PARAMS, hidden, LENGTHS, ctc_logits=logits, ctc_weight=0.4, beam=24, best=2)
        assert best.labels.shape == (5, 2, 4)
        every = wide(hidden, logits, weight=0.4, lm_weight=0.0)
        for one, other in zip(best, every, strict=True):
            np.testing.assert_allclose(one, other[:, :2], atol=1e-5)


RANDOM = inputs(30, rows=500, time=6, vocab=5)
RANDOM_LENGTHS = np.random.default_rng(30).integers(0, 7, 500).astype(np.int32)


@pytest.mark.parametrize('weight', [None, 0.3])
def test_no_worse_than_greedy_in_500_random_cases(weight):
    _, params, search = make_decoder(5)
    hidden, logits = RANDOM
    options = {'ctc_logits': logits, 'ctc_weight': weight} if weight else {}
    greedy, wide = (search(params, hidden, RANDOM_LENGTHS, beam=beam, best=1, **options) for beam in (1, 4))
    assert jnp.isfinite(greedy.scores).all()
    np.testing.assert_array_less(greedy.scores - 1e-4, wide.scores)
    assert (wide.scores > greedy.scores + 0.1).sum() > 50


def test_a_beam_of_one_is_greedy_decoding():
    apply, params, search = make_decoder(5)
    hidden, _ = RANDOM
    labels = np.zeros((500, 6), np.int32)
    counts = np.full(500, -1)
    for position in range(7):
        best = np.asarray(apply({'params': params}, hidden, RANDOM_LENGTHS, labels)[:, position].argmax(axis=-1))
        ends = (best == 0) | (position == RANDOM_LENGTHS)
        counts = np.where((counts < 0) & ends, position, counts)
        if position < 6:
            labels[:, position] = np.where(counts < 0, best, 0)
    hypotheses = search(params, hidden, RANDOM_LENGTHS, beam=1, best=1)
    np.testing.assert_array_equal(hypotheses.label_lengths[:, 0], counts)
    np.testing.assert_array_equal(hypotheses.labels[:, 0], labels)
    assert len(set(counts.tolist())) > 4


@settings(max_examples=10)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=5), st.integers(0, 2**31 - 2))
def test_what_lies_in_the_padding_changes_nothing(lengths, seed):
    hidden, logits = inputs(seed)
    lengths = np.array(lengths, np.int32)
    valid = np.arange(6)[None, :, None] < lengths[:, None, None]
    padded = [
        np.where(valid, np.pad(x, ((0, 0), (0, 2), (0, 0))), np.float32(np.nan)).astype(np.float32)
        for x in (hidden, logits)
    ]
    options = {'ctc_weight': 0.3, 'beam': 6, 'lm': TABLE}
    alone = SEARCH(PARAMS, hidden, lengths, ctc_logits=logits, **options)
    among = SEARCH(PARAMS, padded[0], lengths, ctc_logits=padded[1], **options)
    np.testing.assert_array_equal(alone.labels, among.labels[:, :, :4])
    np.testing.assert_array_equal(alone.label_lengths, among.label_lengths)
    np.testing.assert_allclose(alone.scores, among.scores, atol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'hidden': jnp.zeros((2, 3))}, r'hidden \[B,T,D\] and lengths \[B\], not \(2, 3\) and \(2,\)'),
        ({'ctc_logits': jnp.zeros((2, 4, 5))}, r'3 labels need ctc_logits \(2, 4, 3\), not \(2, 4, 5\)'),
        ({'beam': 0}, 'beam, best and labels_per_frame above 0, not 0, 0 and 1.0'),
        ({'best': 0}, 'above 0, not 8, 0 and 1.0'),
        ({'bonus': jnp.zeros(4)}, r'3 labels need a language model and a bonus .* not \(1, 3\) and \(4,\)'),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    decoder = AttentionDecoder(AttentionDecoderConfig(), 3)
    fitting = {'hidden': jnp.zeros((2, 4, WIDTH)), 'lengths': jnp.array([4, 4])}
    with pytest.raises(ValueError, match=message):
        attention_beam(decoder, {}, **fitting | arguments)
