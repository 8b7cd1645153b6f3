"""Masked spans: their lengths, their share and where they may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses.unsupervised.span_mask import sample_mask

SIZE = 40
sample = jax.jit(sample_mask, static_argnames=('size', 'probability', 'span'))


def runs(row):
    """Start and length of each run of True."""
    edges = np.flatnonzero(np.diff(np.pad(np.asarray(row, int), 1)))
    return [(start, stop - start) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**31 - 1),
    lengths=st.lists(st.integers(0, SIZE), min_size=6, max_size=6),
    probability=st.sampled_from([0.0, 0.04, 0.3]),
)
def test_masked_spans(seed, lengths, probability):
    span = 5
    mask = np.asarray(sample(jax.random.key(seed), jnp.array(lengths), SIZE, probability, span))
    assert mask.shape == (6, SIZE) and mask.dtype == bool
    for row, length in zip(mask, lengths, strict=True):
        found = runs(row)
        assert not row[length:].any()
        assert bool(found) == (length > 0)
        for start, frames in found:
            assert frames >= span or start + frames == length
        if probability == 0 and length > 0:
            assert found[0][1] == min(span, length) and len(found) == 1


@pytest.mark.parametrize(('probability', 'span'), [(0.04, 10), (0.1, 4), (1.0, 3)])
def test_masked_proportion(probability, span):
    """A frame stays only if none of the `span` frames up to it begins one."""
    mask = np.asarray(sample_mask(jax.random.key(0), jnp.full(400, 200), 200, probability, span))
    expected = 1 - (1 - probability) ** span
    assert abs(mask[:, span:].mean() - expected) < 0.02
    assert abs(mask[:, 0].mean() - probability) < 0.05


def test_the_forced_span_can_be_anywhere():
    mask = np.asarray(sample_mask(jax.random.key(0), jnp.full(2000, 8), 10, 0.0, 3))
    starts = np.bincount([runs(row)[0][0] for row in mask], minlength=8)
    assert (starts[6:] == 0).all() and (np.abs(starts[:6] - 2000 / 6) < 5 * np.sqrt(2000 / 6)).all()
