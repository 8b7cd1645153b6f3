import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.models.grouped import convolution, grouped, in_fourier_space


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def torch_grouped(x, kernel):
    """With an even kernel, one frame too many at the end, which wav2vec 2.0 leaves out."""
    taps, size, width = kernel.shape
    y = torch.nn.functional.conv1d(x.transpose(1, 2), kernel.permute(2, 1, 0), padding=taps // 2, groups=width // size)
    return y.transpose(1, 2)[:, : x.shape[1]]


@pytest.mark.parametrize(('time', 'taps'), [(9, 4), (9, 5), (1, 8), (3, 32)])
def test_values_and_gradients_equal_float64(time, taps):
    x, kernel, grad = normal(0, 2, time, 6), normal(1, taps, 3, 6), normal(2, 2, time, 6)
    exact = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, kernel)]
    expected = torch_grouped(*exact)
    expected.backward(torch.tensor(grad, dtype=torch.float64))

    @jax.jit
    def values_and_gradients(x, kernel):
        pairs = (jax.vjp(form, x, kernel) for form in (convolution, in_fourier_space, grouped))
        return [(value, pullback(grad)) for value, pullback in pairs]

    for value, grads in values_and_gradients(x, kernel):
        np.testing.assert_allclose(value, expected.detach(), atol=2e-5)
        for ours, reference in zip(grads, exact, strict=True):
            np.testing.assert_allclose(ours, reference.grad, atol=5e-5)


def test_accelerators_get_a_convolution_and_cpu_does_not():
    arguments = jnp.zeros((2, 9, 4)), jnp.zeros((3, 2, 4))
    lowered = {
        platform: jax.jit(grouped).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
        for platform in ('cpu', 'tpu', 'cuda')
    }
    assert {name for name, text in lowered.items() if 'stablehlo.convolution' in text} == {'tpu', 'cuda'}


def test_keeps_the_dtype():
    x, kernel = jnp.ones((2, 5, 4), jnp.bfloat16), jnp.ones((3, 2, 4), jnp.bfloat16)
    grads = jax.eval_shape(jax.grad(lambda x, kernel: in_fourier_space(x, kernel).sum(), argnums=(0, 1)), x, kernel)
    assert {array.dtype for array in (jax.eval_shape(in_fourier_space, x, kernel), *grads)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(('kernel', 'shown'), [((2, 3, 4), r'\(2, 3, 4\)'), ((3, 2, 6), r'\(3, 2, 6\)')])
def test_shapes_that_do_not_fit_are_refused(kernel, shown):
    with pytest.raises(ValueError, match=shown):
        grouped(jnp.zeros((2, 9, 4)), jnp.zeros(kernel))
