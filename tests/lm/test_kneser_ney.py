"""Interpolated modified Kneser-Ney, against closed forms and an evaluation of the paper's equations on its own."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.lm import kneser_ney
from bljust_jax.lm.kneser_ney import FALLBACK, modified_discounts

WORDS = 'abcd'
corpora = st.lists(st.text(WORDS, max_size=8), min_size=1, max_size=12)


class Reference:
    """The paper's equations, straight from the text: every probability is counted anew."""

    def __init__(self, sentences, vocabulary, order):
        self.sentences = [('<s>', *sentence, '</s>') for sentence in sentences]
        self.vocabulary, self.order, self.known = (*vocabulary, '</s>'), order, {}

    def occurrences(self, ngram):
        if ngram not in self.known:
            places = ((s, i) for s in self.sentences for i in range(len(s) - len(ngram) + 1))
            self.known[ngram] = sum(s[i : i + len(ngram)] == ngram for s, i in places)
        return self.known[ngram]

    def count(self, ngram):
        if len(ngram) == self.order or ngram[0] == '<s>':
            return self.occurrences(ngram)
        return sum(self.occurrences((word, *ngram)) > 0 for word in ('<s>', *self.vocabulary))

    def discounts(self, length):
        contexts = itertools.product(('<s>', *self.vocabulary), repeat=length - 1)
        n = Counter(self.count((*context, word)) for context in contexts for word in self.vocabulary)
        if not (n[1] and n[2] and n[3]):
            return FALLBACK
        y = n[1] / (n[1] + 2 * n[2])
        d = tuple(c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3))
        return d if all(0 < x <= c for c, x in enumerate(d, 1)) else FALLBACK

    def prob(self, context, word):
        counts = {v: self.count((*context, v)) for v in self.vocabulary}
        shorter = self.prob(context[1:], word) if context else 1 / len(self.vocabulary)
        if not sum(counts.values()):
            return shorter
        d = (0, *self.discounts(len(context) + 1))
        gamma = sum(d[min(count, 3)] for count in counts.values())
        return (counts[word] - d[min(counts[word], 3)] + gamma * shorter) / sum(counts.values())


def contexts(order):
    """All that a sentence may have before a word, in a model of this order."""
    for length in range(order):
        yield from itertools.product(WORDS, repeat=length)
        if length:
            yield from (('<s>', *words) for words in itertools.product(WORDS, repeat=length - 1))


@settings(max_examples=60)
@given(corpora, st.integers(1, 4))
def test_probabilities_sum_to_one_after_every_context(sentences, order):
    model = kneser_ney(sentences, WORDS, order)
    for context in contexts(order):
        probs = [math.exp(model.log_prob(context, word)) for word in (*WORDS, '</s>')]
        assert sum(probs) == pytest.approx(1.0, abs=1e-9)
        assert min(probs) > 0


@settings(max_examples=8)
@given(corpora, st.integers(1, 3))
def test_probabilities_are_those_of_the_equations(sentences, order):
    model, reference = kneser_ney(sentences, WORDS, order), Reference(sentences, WORDS, order)
    for context in contexts(order):
        if context.count('<s>') <= 1:
            for word in (*WORDS, '</s>'):
                expected = reference.prob(context, word)
                assert math.exp(model.log_prob(context, word)) == pytest.approx(expected, rel=1e-9), (context, word)


def test_estimated_discounts_are_used():
    """A text with enough counts of counts in every order, unlike the examples above."""
    sentences = 'baaaaba acaaaabd dccabcbaa ababaaa cacbbbbca acabadcaaaac aa bc abbaabaaa ada ab ccc'.split()
    reference = Reference(sentences, WORDS, 3)
    assert FALLBACK not in (reference.discounts(2), reference.discounts(3))
    model = kneser_ney(sentences, WORDS, 3)
    for context in contexts(3):
        for word in (*WORDS, '</s>'):
            assert math.exp(model.log_prob(context, word)) == pytest.approx(reference.prob(context, word), rel=1e-9)
    log_prob = sum(
        math.log(reference.prob(s[max(0, i - 2) : i], s[i])) for s in reference.sentences for i in range(1, len(s))
    )
    words = sum(len(s) - 1 for s in reference.sentences)
    assert model.perplexity(sentences) == pytest.approx(math.exp(-log_prob / words), rel=1e-9)


def test_single_words_by_hand():
    """'a a b' twice and 'b': c(a) = 4, c(b) = 3, c(end) = 3; no discount can be estimated, so 1.5 is taken off each."""
    model = kneser_ney(['aab', 'aab', 'b'], 'abc', 1)
    rest = 3 * 1.5 / 10
    for word, count in {'a': 4, 'b': 3, '</s>': 3}.items():
        assert math.exp(model.log_prob((), word)) == pytest.approx((count - 1.5) / 10 + rest / 4)
    assert math.exp(model.log_prob((), 'c')) == pytest.approx(rest / 4)
    assert model.perplexity(['c']) == pytest.approx(1 / math.sqrt(rest / 4 * (0.15 + rest / 4)))


def test_pairs_by_hand():
    """'a b' and 'c b': b follows two different words, so c(b) = 2; each other word follows one."""
    model = kneser_ney(['ab', 'cb'], 'abc', 2)
    gamma = (1.0 + 3 * 0.5) / 5  # a, c and the end: D1 = 0.5; b: D2 = 1
    single = {'a': 0.5 / 5 + gamma / 4, 'b': 1.0 / 5 + gamma / 4, 'c': 0.5 / 5 + gamma / 4, '</s>': 0.5 / 5 + gamma / 4}
    for word, prob in single.items():
        assert math.exp(model.log_prob((), word)) == pytest.approx(prob)
    assert math.exp(model.log_prob(('a',), 'b')) == pytest.approx(0.5 + 0.5 * single['b'])
    assert math.exp(model.log_prob(('a',), 'c')) == pytest.approx(0.5 * single['c'])
    assert math.exp(model.log_prob(('b',), '</s>')) == pytest.approx(1.0 / 2 + 1.0 / 2 * single['</s>'])
    assert math.exp(model.log_prob(('<s>',), 'a')) == pytest.approx(0.5 / 2 + 1.0 / 2 * single['a'])


def test_discounts_of_the_paper():
    """n1 to n4 of 40, 20, 10, 5: Y = 1/2."""
    assert modified_discounts(Counter({1: 40, 2: 20, 3: 10, 4: 5, 9: 1})) == pytest.approx((0.5, 1.25, 2.0))
    assert modified_discounts(Counter({1: 40, 2: 20, 4: 5})) is None
    assert modified_discounts(Counter({1: 1, 2: 1, 3: 40, 4: 1})) is None  # D2 below 0


@pytest.mark.parametrize(
    ('sentences', 'order', 'message'),
    [
        (['ab'], 0, 'order of 1 or more, not 0'),
        ([], 2, 'at least one sentence'),
        (['axb'], 2, "'x' is not in the vocabulary of 5 words"),
    ],
)
def test_what_cannot_be_estimated(sentences, order, message):
    with pytest.raises(ValueError, match=message):
        kneser_ney(sentences, WORDS, order)
