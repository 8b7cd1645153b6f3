import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.decode import rnnt_greedy
from tests.decode.transducers import WIDTH, log_prob_tables, make_head, normal

HEADS = {prediction: make_head(prediction) for prediction in ('lstm', 'stateless')}


@functools.partial(jax.jit, static_argnames=('prediction', 'max_symbols', 'max_labels'))
def decode(hidden, lengths, *, prediction='lstm', **options):
    return rnnt_greedy(*HEADS[prediction], hidden, lengths, **options)


def one_by_one(table, time, max_symbols, max_labels):
    """The same decisions on a dictionary of log-probabilities."""
    read = ()
    for frame in range(time):
        for _ in range(max_symbols):
            best = int(np.argmax(table[read][frame]))
            if best == 0 or len(read) == max_labels:
                break
            read += (best,)
    return read


@pytest.mark.parametrize('prediction', HEADS)
@pytest.mark.parametrize(('max_symbols', 'max_labels'), [(1, None), (2, None), (2, 3)])
def test_decides_label_by_label(prediction, max_symbols, max_labels):
    hidden, lengths = normal(1, 30, 4, WIDTH), np.random.default_rng(2).integers(0, 5, 30)
    tables = log_prob_tables(HEADS[prediction], hidden, 4 * max_symbols)
    labels, counts = decode(hidden, lengths, prediction=prediction, max_symbols=max_symbols, max_labels=max_labels)
    longest = 4 * max_symbols if max_labels is None else max_labels
    assert labels.shape == (30, longest) and labels.dtype == counts.dtype == jnp.int32
    found = [tuple(row[:count]) for row, count in zip(labels.tolist(), counts.tolist(), strict=True)]
    assert found == [one_by_one(table, n, max_symbols, longest) for table, n in zip(tables, lengths, strict=True)]
    assert len(set(map(len, found))) > 2, 'rows of many lengths'
    assert not any(any(row[count:]) for row, count in zip(labels.tolist(), counts.tolist(), strict=True))


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 6), min_size=3, max_size=3),
    st.integers(0, 2**31 - 1),
    st.sampled_from([np.nan, 1e30, -np.inf]),
)
def test_what_lies_in_the_padding_changes_nothing(lengths, seed, garbage):
    hidden, lengths = normal(seed, 3, 6, WIDTH), np.array(lengths, np.int32)
    padded = np.full((3, 9, WIDTH), garbage, np.float32)
    for row, length in enumerate(lengths):
        padded[row, :length] = hidden[row, :length]
    alone, among = (decode(x, lengths, max_labels=10) for x in (hidden, padded))
    jax.tree.map(np.testing.assert_array_equal, alone, among)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'hidden': jnp.zeros((2, 3))}, r'hidden \[B,T,D\] and lengths \[B\], not \(2, 3\) and \(2,\)'),
        ({'lengths': jnp.zeros(3, jnp.int32)}, r'not \(2, 5, 4\) and \(3,\)'),
        ({'max_symbols': 0}, 'max_symbols of 1 or more and max_labels of 0 or more, not 0 and 0'),
        ({'max_labels': -1}, 'not 3 and -1'),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    fitting = {'hidden': jnp.zeros((2, 5, WIDTH)), 'lengths': jnp.array([5, 5])}
    with pytest.raises(ValueError, match=message):
        rnnt_greedy(*HEADS['lstm'], **fitting | arguments)
