"""Means and error rates against hand-worked cases and jiwer."""

import dataclasses

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.metrics import Aligned, ErrorRates, Means, error_rates, word_alignment
from bljust_jax.types import Ratio

sentences = st.text(alphabet='ab ', max_size=12)
pairs = st.lists(st.tuples(sentences, sentences), max_size=6)


def rates_of(corpus: list[tuple[str, str]]) -> ErrorRates:
    return error_rates([reference for reference, _ in corpus], [hypothesis for _, hypothesis in corpus])


def test_hand_worked_corpus() -> None:
    rates = error_rates(['the cat sat on the mat', 'hello'], ['the bat sat the mat now', 'hello'])
    assert (rates.utterances, rates.words) == (2, 7)
    assert (rates.substitutions, rates.deletions, rates.insertions) == (1, 1, 1)
    assert rates.wer == pytest.approx(3 / 7)
    # cat -> bat, 'on ' gone, ' now' added
    assert (rates.characters, rates.character_errors) == (27, 1 + 3 + 4)
    assert rates.cer == pytest.approx(8 / 27)


def test_corpus_rate_is_not_the_mean_of_utterance_rates() -> None:
    assert error_rates(['a', 'a b c d e f g h i'], ['b', 'a b c d e f g h i']).wer == pytest.approx(0.1)


def test_empty_reference_counts_insertions() -> None:
    assert error_rates(['', 'a b'], ['c d', 'a b']).wer == 1.0
    alone = error_rates([''], ['c d'])
    assert (alone.wer, alone.words, alone.insertions) == (jiwer.wer([''], ['c d']), 0, 2)


def test_empty_hypothesis_deletes_all() -> None:
    rates = error_rates(['a b c'], [''])
    assert (rates.wer, rates.cer, rates.deletions) == (1.0, 1.0, 3)


def test_nothing_at_all_has_no_errors() -> None:
    assert error_rates([], []) == ErrorRates() and ErrorRates().wer == ErrorRates().cer == 0.0
    assert error_rates([''], ['']) == ErrorRates(utterances=1)


def test_white_space_is_no_error() -> None:
    assert rates_of([(' a  b\n', 'a\tb')]) == rates_of([('a b', 'a b')])


@given(pairs)
def test_agrees_with_jiwer(corpus: list[tuple[str, str]]) -> None:
    corpus = [(' '.join(reference.split()), ' '.join(hypothesis.split())) for reference, hypothesis in corpus]
    references, hypotheses = [pair[0] for pair in corpus], [pair[1] for pair in corpus]
    rates = rates_of(corpus)
    assert rates.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert rates.cer == pytest.approx(jiwer.cer(references, hypotheses))


@given(st.lists(sentences, max_size=6))
def test_identical_has_no_errors(texts: list[str]) -> None:
    rates = error_rates(texts, texts)
    assert rates.wer == rates.cer == 0.0


@given(pairs, st.randoms(use_true_random=False))
def test_order_does_not_matter(corpus: list[tuple[str, str]], chance) -> None:
    shuffled = chance.sample(corpus, len(corpus))
    assert rates_of(shuffled) == rates_of(corpus)


@given(pairs, pairs)
def test_parts_add_up_to_the_whole(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    assert rates_of(first) + rates_of(second) == rates_of(first + second)


def test_as_dict_holds_rates_and_counts() -> None:
    rates = error_rates(['a b'], ['a c'])
    assert rates.as_dict() == {'wer': 0.5, 'cer': rates.cer, **dataclasses.asdict(rates)}


@pytest.mark.parametrize(
    ('value', 'name'),
    [
        (b'a cat', 'bytes'),
        (np.array('a cat'), r'numpy\.ndarray'),
        (np.str_('a cat'), r'numpy\.str_'),
        (np.array([1, 2]), r'numpy\.ndarray'),
        (None, 'NoneType'),
        ([1, 2], 'list'),
        (3, 'int'),
    ],
)
def test_only_str_is_scored(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=rf'hypotheses\[1\] .* not {name}:'):
        error_rates(['a', 'a cat'], ['a', value])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=rf'references\[0\] .* not {name}:'):
        error_rates([value], ['a'])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=f'not {name}:'):
        word_alignment('a', value)  # type: ignore[arg-type]


@pytest.mark.parametrize('texts', ['a cat', np.array(['a cat']), (text for text in ['a cat']), {'a cat': 1}])
def test_only_lists_are_scored(texts: object) -> None:
    with pytest.raises(TypeError, match='references must be a list of str, not'):
        error_rates(texts, ['a cat'])  # type: ignore[arg-type]


def test_jax_array_is_named() -> None:
    with pytest.raises(TypeError, match='ArrayImpl'):
        error_rates([jnp.zeros(3)], ['a'])  # type: ignore[list-item]


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match='2 references but 1 hypotheses'):
        error_rates(['a', 'b'], ['a'])


def test_word_alignment() -> None:
    assert word_alignment('the very big cat sat on it', 'the cat sit on it now') == [
        Aligned('equal', ('the',), ('the',)),
        Aligned('delete', ('very', 'big'), ()),
        Aligned('equal', ('cat',), ('cat',)),
        Aligned('substitute', ('sat',), ('sit',)),
        Aligned('equal', ('on', 'it'), ('on', 'it')),
        Aligned('insert', (), ('now',)),
    ]
    assert word_alignment('', '') == []


@given(sentences, sentences)
def test_alignment_holds_both_sides(reference: str, hypothesis: str) -> None:
    alignment = word_alignment(reference, hypothesis)
    assert [word for one in alignment for word in one.reference] == reference.split()
    assert [word for one in alignment for word in one.hypothesis] == hypothesis.split()
    assert all(len(one.reference) == len(one.hypothesis) for one in alignment if one.op in {'equal', 'substitute'})


def test_means_divide_once() -> None:
    means = Means()
    means.add({'loss/sup': Ratio(jnp.float32(6), jnp.float32(2)), 'norm': np.float32(3)})
    means.add({'loss/sup': Ratio(np.float64(1), np.float64(5))})
    assert means.values() == {'loss/sup': 1.0, 'norm': 3.0}
    means.add({'norm': 5})
    assert means.values() == {'loss/sup': 1.0, 'norm': 4.0}


def test_mean_of_nothing_is_left_out_and_nan_is_not() -> None:
    means = Means()
    means.add({'empty': Ratio(0.0, 0.0), 'broken': Ratio(float('nan'), 1.0)})
    values = means.values()
    assert list(values) == ['broken'] and np.isnan(values['broken'])


def test_means_must_be_scalars() -> None:
    means = Means()
    means.add({'loss': jax.numpy.zeros(3)})
    with pytest.raises(ValueError, match=r'(?i)loss|inhomogeneous'):
        means.values()
