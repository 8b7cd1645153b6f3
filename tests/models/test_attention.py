from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from bljust_jax.models import attention

pytestmark = pytest.mark.standard_dtypes  # JAX's attention mixes its float32 softmax with bfloat16


def value_and_gradients(form, *sides):
    """Attention on rows of 7, 3 and no valid frames, and its gradients, as seen by the valid frames."""
    lengths = jnp.array([7, 3, 0])
    valid = (jnp.arange(7)[None] < lengths[:, None])[:, :, None, None]

    def loss(*sides):
        attended = jnp.where(valid, form(*sides, lengths), 0.0)
        return jnp.sum(jnp.sin(attended)), attended

    (_, attended), grads = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*sides)
    return attended, grads


def test_all_devices_compute_the_same():
    sides = [jax.random.normal(jax.random.key(index), (3, 7, 2, 8)) for index in range(3)]
    ours, library = (value_and_gradients(form, *sides) for form in (attention._plain, attention._library))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, library)


def test_causal_attention_sees_no_later_key():
    """And fewer queries than keys, as those of a decoder."""
    query, key, value = (jax.random.normal(jax.random.key(index), (3, 7, 2, 8)) for index in range(3))
    lengths = np.array([7, 3, 1])
    forms = (attention._plain, attention._library)
    ours, library = (form(query[:, :5], key, value, jnp.asarray(lengths), causal=True) for form in forms)
    scores = np.einsum('bqhs,bkhs->bhqk', query[:, :5], key) / np.sqrt(8)
    seen = np.tri(5, 7, dtype=bool) & (np.arange(7) < lengths[:, None, None])
    weights = np.where(seen[:, None], np.exp(scores), 0)
    expected = np.einsum('bhqk,bkhs->bqhs', weights / weights.sum(axis=-1, keepdims=True), value)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(library, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def with_flash_attention(monkeypatch):
    """Traces as on a GPU with flash attention, which is neither here nor asked for its version."""
    monkeypatch.setattr(attention, 'has_flash_attention', lambda: True)
    monkeypatch.setattr(
        fused_attention_stablehlo, 'cuda_versions', SimpleNamespace(cudnn_get_version=lambda: 90800), raising=False
    )


def lowered_for_cuda(dtype, size):
    """Forward and backward pass of attention with heads of `size`, as text."""

    def loss(query, key, value, lengths):
        return attention.attention(query, key, value, lengths).astype(jnp.float32).sum()

    side = jax.ShapeDtypeStruct((2, 7, 3, size), dtype)  # an odd number of frames
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    traced = gradient.trace(side, side, side, jax.ShapeDtypeStruct((2,), jnp.int32))
    return traced.lower(lowering_platforms=('cuda',)).as_text()


@pytest.mark.usefixtures('with_flash_attention')
def test_gpus_get_flash_attention_in_both_passes():
    text = lowered_for_cuda(jnp.bfloat16, 64)
    assert '__cudnn$fmhaSoftmax(' in text and '__cudnn$fmhaSoftmaxBackward(' in text
    assert 'PADDING' in text and 'stablehlo.exponential' not in text
    assert '8x8' not in text  # the weights of all pairs of frames, one of which is added


@pytest.mark.usefixtures('with_flash_attention')
@pytest.mark.parametrize(('dtype', 'size'), [(jnp.float32, 64), (jnp.bfloat16, 12), (jnp.bfloat16, 136)])
def test_what_cudnn_does_not_take_is_left_to_xla(dtype, size):
    assert 'cudnn' not in lowered_for_cuda(dtype, size)


@pytest.mark.parametrize(
    ('version', 'capability', 'expected'),
    [
        ('cuda 12090', '8.0', True),
        ('cuda 12090', '10.0', True),
        ('cuda 12090', '7.5', False),
        ('rocm 7', 'gfx90a', False),
    ],
)
def test_flash_attention_needs_cuda_and_ampere(version, capability, expected, monkeypatch):
    device = SimpleNamespace(client=SimpleNamespace(platform_version=version), compute_capability=capability)
    monkeypatch.setattr(jax, 'devices', lambda: [device])
    assert attention.has_flash_attention() is expected


def test_here_is_none():
    assert not attention.has_flash_attention()
