"""Time-synchronous beam search against the enumeration of all paths, and against the RNN-T loss."""

import functools
import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.decode import rnnt_beam, rnnt_greedy
from bljust_jax.lm import kneser_ney, ngram_table
from bljust_jax.losses import rnnt_loss
from tests.decode.transducers import WIDTH, certain_head, likelihoods, log_prob_tables, make_head, normal

HEADS = {
    'lstm': make_head('lstm'),
    'stateless': make_head('stateless'),
    'noise': make_head('stateless', vocab=8, scale=2.0, blank=1.5),
    'certain': certain_head(),
}
NAMES = ('a', 'b')
MODEL = kneser_ney([tuple('abba'), tuple('ab'), tuple('baab'), tuple('bbb')], NAMES, 3)
TABLE = ngram_table(MODEL, NAMES)
STATIC = ('head', 'beam', 'max_symbols', 'max_labels', 'at_least_greedy')


@functools.partial(jax.jit, static_argnames=STATIC)
def decode(hidden, lengths, *, head='stateless', **options):
    return rnnt_beam(*HEADS[head], hidden, lengths, **options)


@functools.partial(jax.jit, static_argnames='head')
def log_likelihood(hidden, lengths, labels, counts, *, head='stateless'):
    """Over all paths, with any number of labels in a frame."""
    transducer, params = HEADS[head]
    return -rnnt_loss(transducer.apply({'params': params}, hidden, labels), lengths, labels, counts)


def best_of(hypotheses):
    return hypotheses.labels[:, 0], hypotheses.label_lengths[:, 0]


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
    np.testing.assert_allclose([score for _, score in actual], [score for _, score in ranked], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('head', 'time', 'max_symbols'), [('lstm', 2, 2), ('stateless', 1, 3), ('stateless', 3, 2), ('stateless', 4, 1)]
)
def test_every_labelling_of_short_rows_has_its_exact_likelihood(head, time, max_symbols):
    hidden = normal(time, 6, time, WIDTH)
    options = {'beam': 130, 'max_symbols': max_symbols, 'at_least_greedy': False}
    hypotheses = decode(hidden, jnp.full(6, time), head=head, **options)
    assert hypotheses.labels.shape == (6, 130, time * max_symbols) and hypotheses.labels.dtype == jnp.int32
    for row, table in enumerate(log_prob_tables(HEADS[head], hidden, time * max_symbols)):
        assert_best(found(hypotheses, row), likelihoods(table, time, max_symbols))


def test_language_model_and_bonus_are_added_and_labellings_no_longer_than_wanted():
    hidden, bonus = normal(5, 6, 3, WIDTH), jnp.array([0.0, 0.4, -0.3])
    options = {'beam': 40, 'max_symbols': 2, 'max_labels': 4, 'lm': TABLE, 'lm_weight': 0.7, 'bonus': bonus}
    hypotheses = decode(hidden, jnp.full(6, 3), **options)
    for row, table in enumerate(log_prob_tables(HEADS['stateless'], hidden, 6)):
        expected = {
            labels: score
            + 0.7 * MODEL.sentence_log_prob([NAMES[label - 1] for label in labels])
            + sum(float(bonus[label]) for label in labels)
            for labels, score in likelihoods(table, 3, 2).items()
            if len(labels) <= 4
        }
        actual = dict(found(hypotheses, row))
        # The best may be greedy decoding's, which is scored over all paths.
        assert set(actual) == set(expected)
        first, *others = sorted(expected, key=lambda labels: -actual[labels])
        assert actual[first] >= expected[first] - 1e-4
        np.testing.assert_allclose([actual[n] for n in others], [expected[n] for n in others], atol=5e-5)


def test_a_narrow_beam_follows_the_recursion():
    """Beams of 1 and 3, against the recursion on dictionaries of labellings."""
    hidden = normal(3, 8, 4, WIDTH)
    tables = log_prob_tables(HEADS['stateless'], hidden, 8)
    for beam in (1, 3):
        hypotheses = decode(hidden, jnp.full(8, 4), beam=beam, max_symbols=2, at_least_greedy=False)
        for row, table in enumerate(tables):
            assert_best(found(hypotheses, row), dictionary_search(table, 4, 2, beam))


def dictionary_search(table, time, max_symbols, beam):
    """The recursion of the module's docstring, in float64."""

    def best(hypotheses):
        return dict(sorted(hypotheses.items(), key=lambda item: -item[1])[:beam])

    entering = {(): 0.0}
    for frame in range(time):
        inside, left = entering, defaultdict(lambda: -np.inf)
        for symbols in range(max_symbols + 1):
            if symbols:
                ways = {(*n, k): p + table[n][frame, k] for n, p in inside.items() for k in range(1, table[n].shape[1])}
                inside = best(ways)
            for labels, log_prob in inside.items():
                left[labels] = np.logaddexp(left[labels], log_prob + table[labels][frame, 0])
            left = defaultdict(lambda: -np.inf, best(left))
        entering = dict(left)
    return entering


def test_as_likely_as_greedy_decoding_in_500_random_cases():
    """Scored by the loss, over all paths, of noise: the search alone loses greedy decoding's labelling in some."""
    hidden, lengths = normal(4, 500, 12, WIDTH), np.random.default_rng(4).integers(1, 13, 500).astype(np.int32)
    greedy = jax.jit(functools.partial(rnnt_greedy, *HEADS['noise'], max_symbols=2))(hidden, lengths)
    greedy = log_likelihood(hidden, lengths, *greedy, head='noise')
    options = {'head': 'noise', 'beam': 2, 'max_symbols': 2}
    searched, hypotheses = (decode(hidden, lengths, at_least_greedy=value, **options) for value in (False, True))
    alone, best = (log_likelihood(hidden, lengths, *best_of(h), head='noise') for h in (searched, hypotheses))
    np.testing.assert_array_less(greedy - 1e-4, best)
    assert (best > greedy + 0.1).sum() > 100 and 0 < (alone < greedy - 1e-3).sum() < 50
    assert (hypotheses.scores[:, 0] <= best + 1e-3).all()
    rows = [found(hypotheses, row) for row in range(500)]
    assert all(len(dict(row)) == len(row) for row in rows), 'a labelling is there twice'


def test_long_rows_keep_their_digits():
    """Of one labelling 300 frames long and nearly certain: its score is the loss's."""
    kinds, lengths = np.random.default_rng(5).integers(0, 3, (2, 300)), np.array([300, 250], np.int32)
    hidden = np.eye(3, WIDTH, dtype=np.float32)[kinds]
    options = {'beam': 8, 'at_least_greedy': False, 'max_labels': 300}
    hypotheses = decode(hidden, lengths, head='certain', **options)
    for row, ((labels, _), *_) in enumerate(found(hypotheses, row) for row in range(2)):
        wanted = [kind + 1 for kind in kinds[row, : lengths[row]] if kind < 2]
        assert labels == tuple(label for label, _ in itertools.groupby(wanted)) and len(labels) > 50
    best = log_likelihood(hidden, lengths, *best_of(hypotheses), head='certain')
    np.testing.assert_allclose(hypotheses.scores[:, 0], best, atol=1e-3)


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
    st.integers(0, 2**31 - 1),
    st.sampled_from([np.nan, 1e30, -np.inf]),
)
def test_what_lies_in_the_padding_changes_nothing(lengths, seed, garbage):
    hidden, lengths = normal(seed, 3, 5, WIDTH), np.array(lengths, np.int32)
    padded = np.full((3, 7, WIDTH), garbage, np.float32)
    for row, length in enumerate(lengths):
        padded[row, :length] = hidden[row, :length]
    options = {'beam': 4, 'max_symbols': 2, 'max_labels': 8, 'lm': TABLE}
    alone, among = decode(hidden, lengths, **options), decode(padded, lengths, **options)
    np.testing.assert_array_equal(alone.labels, among.labels)
    np.testing.assert_array_equal(alone.label_lengths, among.label_lengths)
    np.testing.assert_allclose(alone.scores, among.scores, atol=1e-4)
    for row in np.flatnonzero(lengths == 0):
        ((labels, score),) = found(alone, row)
        assert labels == () and score == pytest.approx(0.5 * MODEL.sentence_log_prob([]), abs=1e-5)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'hidden': jnp.zeros((2, 3))}, r'rnnt_beam takes hidden \[B,T,D\] and lengths \[B\], not \(2, 3\) and \(2,\)'),
        ({'max_symbols': 0}, 'max_symbols of 1 or more and max_labels of 0 or more, not 0 and 0'),
        ({'beam': 0}, 'a beam of 1 or more, not 0'),
        ({'bonus': jnp.zeros(4)}, r'A vocabulary of 3 needs .* not \(1, 3\) and \(4,\)'),
        ({'lm': TABLE._replace(scores=jnp.zeros((1, 4)))}, r'not \(1, 4\) and \(\)'),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    fitting = {'hidden': jnp.zeros((2, 5, WIDTH)), 'lengths': jnp.array([5, 5])}
    with pytest.raises(ValueError, match=message):
        rnnt_beam(*HEADS['lstm'], **fitting | arguments)


def test_the_frames_are_scanned_not_unrolled():
    search = functools.partial(rnnt_beam, *HEADS['lstm'], beam=4, max_labels=5)
    sizes = [str(jax.make_jaxpr(search)(jnp.zeros((2, time, WIDTH)), jnp.array([1, 1]))) for time in (10, 100)]
    assert len(sizes[1]) < 1.1 * len(sizes[0])
