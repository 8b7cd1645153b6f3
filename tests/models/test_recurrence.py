import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.models.recurrence import lstm, reverse

TIME, BATCH, CELLS = 7, 3, 4
reversed_rows = jax.jit(reverse)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('directions', [1, 2])
def test_value_and_gradients_equal_float64(directions):
    """PyTorch's layer, whose product with the input is made the identity."""
    inputs, kernel = normal(0, TIME, directions, BATCH, 4 * CELLS), normal(1, directions, CELLS, 4 * CELLS)
    grad = normal(2, TIME, directions, BATCH, CELLS)

    @jax.jit
    def ours(inputs, kernel):
        value, pullback = jax.vjp(lstm, inputs, kernel)
        return value, pullback(grad)

    value, (inputs_grad, kernel_grad) = ours(inputs, kernel)
    for direction in range(directions):
        reference = torch.nn.LSTM(4 * CELLS, CELLS, bias=False, dtype=torch.float64)
        with torch.no_grad():
            reference.weight_ih_l0.copy_(torch.eye(4 * CELLS))
            reference.weight_hh_l0.copy_(torch.tensor(kernel[direction]).T)
        x = torch.tensor(inputs[:, direction], dtype=torch.float64, requires_grad=True)
        expected, _ = reference(x)
        expected.backward(torch.tensor(grad[:, direction], dtype=torch.float64))
        np.testing.assert_allclose(value[:, direction], expected.detach(), atol=1e-6)
        np.testing.assert_allclose(inputs_grad[:, direction], x.grad, atol=5e-6)
        np.testing.assert_allclose(kernel_grad[direction].T, reference.weight_hh_l0.grad, atol=1e-5)


def test_gates_and_cells_are_float32_in_bfloat16():
    """A cell that gathers 1/512 at a time gets stuck in bfloat16, where 0.5 + 1/512 is 0.5."""
    gates = jnp.array([np.log(1 / 511), 30.0, 30.0, 30.0], jnp.bfloat16)  # 1/512 goes in, nothing is forgotten
    inputs = jnp.broadcast_to(gates, (512, 1, 1, 4))

    @jax.jit
    def value_and_gradients(inputs, kernel):
        hidden, pullback = jax.vjp(lstm, inputs, kernel)
        return hidden, pullback(hidden)

    hidden, grads = value_and_gradients(inputs, jnp.zeros((1, 1, 4), jnp.bfloat16))
    assert {array.dtype for array in (hidden, *grads)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(float(hidden[-1, 0, 0, 0]), np.tanh(1.0), rtol=0.02)


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3))
@settings(max_examples=20)
def test_valid_frames_are_reversed(lengths):
    x = normal(0, 9, 3, 2)
    result = np.asarray(reversed_rows(x, np.array(lengths)))
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(result[:length, row], x[:length, row][::-1])
        assert sorted(result[length:, row, 0]) == sorted(x[length:, row, 0])
    np.testing.assert_array_equal(reversed_rows(result, np.array(lengths)), x)


def test_the_gradient_of_reversal_is_that_of_the_exchange():
    x, grad, lengths = jnp.asarray(normal(0, 6, 3, 2)), jnp.asarray(normal(1, 6, 3, 2)), jnp.array([6, 4, 0])
    order = np.array([[(length - 1 - time) % 6 for length in (6, 4, 0)] for time in range(6)])
    expected = jax.vjp(lambda x: x[order, np.arange(3)[None]], x)[1](grad)[0]
    np.testing.assert_array_equal(jax.vjp(lambda x: reverse(x, lengths), x)[1](grad)[0], expected)


@pytest.mark.parametrize(
    ('inputs', 'kernel'), [((5, 2, 3, 16), (2, 4, 12)), ((5, 1, 3, 16), (2, 4, 16)), ((5, 2, 3, 8), (2, 4, 16))]
)
def test_shapes_that_do_not_fit_are_refused(inputs, kernel):
    with pytest.raises(ValueError, match=r'\[T,D,B,4H\]'):
        lstm(jnp.zeros(inputs), jnp.zeros(kernel))
