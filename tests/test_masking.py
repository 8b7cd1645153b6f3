import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.masking import frame_lengths, length_mask, strided_lengths, zero_padding


def test_length_mask():
    mask = length_mask(jnp.array([0, 2, 4]), 3)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, [[0, 0, 0], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.int16])
def test_zero_padding_clears_what_is_beyond_the_length(shape, dtype):
    result = jax.jit(zero_padding)(jnp.ones(shape, dtype), jnp.array([1, 3]))
    assert result.shape == shape and result.dtype == dtype
    assert (result[0, :1] == 1).all() and (result[0, 1:] == 0).all() and (result[1] == 1).all()


def test_zero_padding_clears_nan_in_values_and_gradients():
    x = jnp.array([[1.0, jnp.nan]])
    lengths = jnp.array([1])
    np.testing.assert_array_equal(zero_padding(x, lengths), [[1, 0]])
    np.testing.assert_array_equal(jax.grad(lambda x: zero_padding(x, lengths).sum())(x), [[1, 0]])


@given(st.integers(0, 2000), st.integers(1, 600), st.integers(1, 400))
def test_frame_lengths_counts_whole_windows(samples, window, hop):
    expected = len([start for start in range(0, samples, hop) if start + window <= samples])
    assert frame_lengths(np.int32(samples), window, hop) == expected


@given(st.integers(0, 1000), st.integers(1, 8))
def test_strided_lengths_is_that_of_a_same_padded_convolution(length, stride):
    assert strided_lengths(np.int32(length), stride) == len(range(0, length, stride))


def test_strided_lengths_agrees_with_jax():
    for length in range(1, 20):
        convolved = jax.lax.conv_general_dilated(jnp.ones((1, 1, length)), jnp.ones((1, 1, 3)), (2,), 'SAME')
        assert strided_lengths(jnp.array([length]), 2).tolist() == [convolved.shape[2]]
