import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.models.subsampling import (
    DepthwiseSubsampling,
    grouped_convolution,
    shifted_products,
    strided_depthwise,
)
from tests.params import random_params

FORMS = [shifted_products, grouped_convolution, strided_depthwise]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('shape', [(2, 9, 4, 3), (1, 1, 1, 4), (3, 8, 7, 2)])
def test_value_and_gradients_equal_float64(form, shape):
    x, kernel = normal(0, *shape), normal(1, 3, 3, shape[-1])
    exact = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, kernel)]
    expected = torch.nn.functional.conv2d(
        exact[0].permute(0, 3, 1, 2), exact[1].permute(2, 0, 1)[:, None], stride=2, padding=1, groups=shape[-1]
    ).permute(0, 2, 3, 1)
    grad = normal(2, *expected.shape)
    expected.backward(torch.tensor(grad, dtype=torch.float64))
    value, pullback = jax.vjp(form, jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(value, expected.detach(), atol=1e-5)
    for ours, reference in zip(pullback(jnp.asarray(grad)), exact, strict=True):
        np.testing.assert_allclose(ours, reference.grad, atol=2e-5)


def test_accelerators_get_a_convolution_and_cpu_does_not():
    arguments = jnp.zeros((2, 9, 6, 4)), jnp.zeros((3, 3, 4))
    lowered = {
        platform: jax.jit(strided_depthwise).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
        for platform in ('cpu', 'tpu', 'cuda')
    }
    assert {name for name, text in lowered.items() if 'stablehlo.convolution' in text} == {'tpu', 'cuda'}


def test_keeps_the_dtype():
    x, kernel = jnp.ones((2, 5, 4, 3), jnp.bfloat16), jnp.ones((3, 3, 3), jnp.bfloat16)
    value, pullback = jax.vjp(shifted_products, x, kernel)
    assert {value.dtype, *(grad.dtype for grad in pullback(value))} == {jnp.dtype(jnp.bfloat16)}


LAYER = DepthwiseSubsampling(channels=3, width=5)
VARIABLES = random_params(
    jax.eval_shape(LAYER.init, jax.random.key(0), jnp.zeros((1, 24, 10)), jnp.full((1,), 24)),
)
RUN = jax.jit(LAYER.apply)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 23))
def test_a_frame_sees_seven_frames_to_either_side(seed, frame):
    """Frame i of the output is centred on frame 8 i of the input."""
    x, lengths = normal(seed, 1, 24, 10), np.array([24])
    latents, latent_lengths = RUN(VARIABLES, x, lengths)
    assert latents.shape == (1, 3, 5) and latent_lengths.tolist() == [3]
    x[0, frame] += 10.0
    changed, _ = RUN(VARIABLES, x, lengths)
    distance = np.abs(8 * np.arange(3) - frame)
    assert (np.abs(np.asarray(changed - latents)[0])[distance > 7] == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 24), st.floats(-100, 100))
def test_latents_do_not_depend_on_padding(length, padding):
    """Nor on how much of it there is; a row of length 0 is finite."""
    x = normal(length, 2, 24, 10)
    lengths = np.array([length, 24])
    latents, latent_lengths = RUN(VARIABLES, x, lengths)
    assert latent_lengths.tolist() == [-(-length // 8), 3] and np.isfinite(latents).all()
    x[0, length:] = padding
    other, _ = RUN(VARIABLES, np.pad(x, ((0, 0), (0, 5), (0, 0))), lengths)
    np.testing.assert_allclose(other[0, : -(-length // 8)], latents[0, : -(-length // 8)], atol=1e-4)
    np.testing.assert_allclose(other[1, :3], latents[1], atol=1e-4)
