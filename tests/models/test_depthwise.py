import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.models.depthwise import depthwise, grouped_convolution, shifted_products

FORMS = [shifted_products, grouped_convolution, depthwise]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def torch_depthwise(x, kernel):
    return torch.nn.functional.conv1d(
        x.transpose(1, 2), kernel.T[:, None], padding=kernel.shape[0] // 2, groups=kernel.shape[1]
    ).transpose(1, 2)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('shape', [(2, 9, 3), (1, 1, 4), (3, 40, 16)])
@pytest.mark.parametrize('length', [1, 3, 15])
def test_value_and_gradients_equal_float64(form, shape, length):
    x, kernel, grad = normal(0, *shape), normal(1, length, shape[-1]), normal(2, *shape)
    exact = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, kernel)]
    expected = torch_depthwise(*exact)
    expected.backward(torch.tensor(grad, dtype=torch.float64))
    value, pullback = jax.vjp(form, jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(value, expected.detach(), atol=1e-5)
    for ours, reference in zip(pullback(jnp.asarray(grad)), exact, strict=True):
        np.testing.assert_allclose(ours, reference.grad, atol=2e-5)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 5), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_forms_agree_for_every_shape(batch, time, width, half):
    x, kernel = jnp.asarray(normal(0, batch, time, width)), jnp.asarray(normal(1, 2 * half + 1, width))
    np.testing.assert_allclose(shifted_products(x, kernel), grouped_convolution(x, kernel), atol=1e-5)


def test_accelerators_get_a_convolution_and_cpu_does_not():
    arguments = jnp.zeros((2, 9, 4)), jnp.zeros((3, 4))
    lowered = {
        platform: jax.jit(depthwise).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
        for platform in ('cpu', 'tpu', 'cuda')
    }
    assert {name for name, text in lowered.items() if 'stablehlo.convolution' in text} == {'tpu', 'cuda'}


def test_keeps_the_dtype():
    x, kernel = jnp.ones((2, 5, 3), jnp.bfloat16), jnp.ones((3, 3), jnp.bfloat16)
    value, pullback = jax.vjp(shifted_products, x, kernel)
    assert {value.dtype, *(grad.dtype for grad in pullback(value))} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(('kernel', 'shown'), [((2, 4), r'\(2, 4\)'), ((3, 5), r'\(3, 5\)')])
def test_shapes_that_do_not_fit_are_refused(kernel, shown):
    with pytest.raises(ValueError, match=shown):
        depthwise(jnp.zeros((2, 9, 4)), jnp.zeros(kernel))
