"""The dense table against the model that it is made of."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.errors import UserError
from bljust_jax.lm import NgramModel, kneser_ney, ngram_table, table
from bljust_jax.lm.arpa import Entry

NAMES = ('a', 'b', 'c')


def assert_same(model, names, lengths=5):
    """Every sentence of up to so many labels has the same probability step by step, also of ending there."""
    automaton = ngram_table(model, names)
    scores, final, after, start = map(np.asarray, automaton)
    assert scores.dtype == final.dtype == np.float32 and after.dtype == np.int32
    for length in range(lengths + 1):
        for labels in itertools.product(range(1, len(names) + 1), repeat=length):
            state, context, total = int(start), ('<s>',), 0.0
            for label in labels:
                expected = model.log_prob(context, names[label - 1])
                assert scores[state, label] == pytest.approx(expected, abs=1e-5)
                total, state, context = total + expected, after[state, label], (*context, names[label - 1])
            assert final[state] == pytest.approx(model.log_prob(context, '</s>'), abs=1e-5)
    assert (scores[:, 0] == 0).all() and (after[:, 0] == np.arange(len(after))).all()


@settings(max_examples=30)
@given(st.lists(st.text('abc', max_size=7), min_size=1, max_size=6), st.integers(1, 5))
def test_the_table_is_the_model(sentences, order):
    assert_same(kneser_ney(sentences, NAMES, order), NAMES)


def test_weights_of_contexts_that_nothing_follows_count():
    """As in pruned models: a listed context without a longer n-gram has a back-off weight all the same."""
    entries = {(name,): Entry(-1.0 - index, -0.3 * index) for index, name in enumerate((*NAMES, '</s>'))}
    entries |= {('<s>',): Entry(-99.0, -0.7), ('a', 'b'): Entry(-0.1, -0.9), ('a', 'a'): Entry(-0.2, -0.8)}
    entries |= {('a', 'a', 'b'): Entry(-0.05)}
    assert_same(NgramModel(3, entries), NAMES)


def test_labels_that_are_not_listed_are_the_unknown_word():
    entries = {(name,): Entry(-1.0 - index) for index, name in enumerate(('a', '</s>', '<unk>'))}
    entries |= {('<unk>', 'a'): Entry(-0.5), ('a', 'a'): Entry(-0.25)}
    automaton = ngram_table(NgramModel(2, entries), NAMES)
    assert automaton.scores[automaton.start].tolist() == pytest.approx([0.0, -1.0, -3.0, -3.0])


def test_a_piece_may_be_called_unknown():
    names = ('<unk>', '▁a')
    assert_same(kneser_ney([('▁a',), ('▁a', '▁a')], names, 2), names)


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        ('abcd', "knows 'd', which is no label of this run: make one for its labels by python -m bljust_jax.lm"),
        ('ab', "does not know the label 'c': make one for its labels"),
    ],
)
def test_a_model_of_other_labels(words, sentence):
    with pytest.raises(UserError, match=sentence):
        ngram_table(kneser_ney([words], words, 2), NAMES)


def test_a_table_that_would_be_too_large(monkeypatch):
    monkeypatch.setattr(table, 'MAX_ENTRIES', 10)
    with pytest.raises(
        UserError, match='of 6 contexts and 3 labels is too large for a table: make one of an order below 3'
    ):
        ngram_table(kneser_ney(['ab'], NAMES, 3), NAMES)


def test_names_that_say_nothing():
    with pytest.raises(ValueError, match='Labels need different names'):
        ngram_table(kneser_ney(['ab'], 'ab', 1), ('a', 'a'))
