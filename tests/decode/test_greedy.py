import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.decode import ctc_greedy

BATCH, TIME, VOCAB = 3, 10, 4
decode = jax.jit(ctc_greedy, static_argnames='blank_id')
paths = functools.partial(st.lists, st.integers(0, VOCAB - 1), min_size=TIME, max_size=TIME)


def logits_of(best):
    """Noise `[batch, time, vocab]` whose largest entry in each frame is that of `best [batch, time]`."""
    noise = np.random.default_rng(0).uniform(size=(*np.shape(best), VOCAB))
    return jnp.asarray(noise + 2.0 * np.eye(VOCAB)[np.asarray(best)], jnp.float32)


def collapse(path, blank_id):
    return [label for label, _ in itertools.groupby(path) if label != blank_id]


@given(
    st.lists(paths(), min_size=BATCH, max_size=BATCH),
    st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH),
    st.sampled_from([0, 2, VOCAB - 1]),
)
def test_merges_repeats_and_then_drops_blanks(best, lengths, blank_id):
    labels, counts = decode(logits_of(best), jnp.array(lengths), blank_id=blank_id)
    assert labels.dtype == jnp.int32 and labels.shape == (BATCH, TIME)
    for row, length, decoded, count in zip(best, lengths, labels.tolist(), counts.tolist(), strict=True):
        expected = collapse(row[:length], blank_id)
        assert count == len(expected)
        assert decoded == expected + [blank_id] * (TIME - len(expected))


def test_a_blank_separates_equal_labels():
    best = [[1, 1, 0, 1, 1, 0, 0, 2, 2, 2]] * BATCH
    labels, counts = decode(logits_of(best), jnp.full(BATCH, TIME))
    assert labels[0, :3].tolist() == [1, 1, 2] and counts.tolist() == [3] * BATCH


def test_frames_at_and_after_the_length_are_ignored():
    best = np.array([[1, 2, 3, 3, 2, 1, 1, 1, 2, 3]] * BATCH)
    lengths = jnp.array([0, 1, 4])
    labels, counts = decode(logits_of(best), lengths)
    garbage = jnp.where(jnp.arange(TIME)[None, :, None] < lengths[:, None, None], logits_of(best), jnp.nan)
    same_labels, same_counts = decode(garbage, lengths)
    assert counts.tolist() == same_counts.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(labels, same_labels)
    assert labels.tolist()[2] == [1, 2, 3] + [0] * 7
