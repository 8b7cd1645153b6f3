"""Scaled dot-product attention over the valid frames of each row."""

import functools

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, *, causal: bool = False
) -> jax.Array:
    """`softmax(Q Kᵀ / √size) V` over the valid keys; the form is chosen for each backend when it is lowered.

    Args:
      query: `[batch, query time, head, size]`.
      key, value: `[batch, time, head, size]`.
      lengths: valid frames of each row of keys `[batch]`.
      causal: whether a query sees only the keys up to its own time.

    Returns:
      `[batch, query time, head, size]`; rows without a valid frame are unspecified, but finite.
    """
    plain, library = (functools.partial(form, causal=causal) for form in (_plain, _library))
    return jax.lax.platform_dependent(query, key, value, lengths, cpu=plain, default=library)


def _library(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, causal: bool = False) -> jax.Array:
    """JAX's own, with a float32 softmax; on GPUs cuDNN's flash attention, which never has all weights in memory."""
    time, size = query.shape[1], query.shape[3]
    lengths = jnp.maximum(lengths, 1)  # a softmax over nothing may be NaN
    library = functools.partial(jax.nn.dot_product_attention, key_value_seq_lengths=lengths, is_causal=causal)
    if not (query.dtype == jnp.bfloat16 and size % 8 == 0 and size <= 128 and has_flash_attention()):
        return library(query, key, value)
    # JAX refuses an odd number of frames in training.
    query, key, value = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value))
    return library(query, key, value, implementation='cudnn')[:, :time]


def has_flash_attention() -> bool:
    """Whether the devices are NVIDIA GPUs for which cuDNN has flash attention: Ampere and later."""
    device = jax.devices()[0]
    return 'cuda' in device.client.platform_version and float(device.compute_capability) >= 8.0


def _plain(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, causal: bool = False) -> jax.Array:
    valid = length_mask(lengths, key.shape[1])[:, None, None, :]
    if causal:
        valid = valid & jnp.tri(query.shape[1], key.shape[1], dtype=bool)[None, None]
    bias = jnp.where(valid, 0.0, -1e9)
    scaled = query.astype(jnp.float32) * query.shape[-1] ** -0.5
    heads = (x.astype(jnp.float32).swapaxes(1, 2) for x in (scaled, key, value))
    return softmax_attention(*heads, bias).swapaxes(1, 2).astype(value.dtype)


@jax.custom_vjp
def softmax_attention(query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array) -> jax.Array:
    """`softmax(Q Kᵀ + bias) V` with few passes over the weights `[batch, head, query, key]`, the slow part on CPU.

    Weights are divided by their sum only after the product with V, and the gradient of the softmax needs the output
    instead of another sum over keys (FlashAttention, arXiv 2205.14135, equation 4). `bias` gets no gradient.
    """
    return _forward(query, key, value, bias)[0]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    scores = jnp.einsum('bhqd,bhkd->bhqk', query, key) + bias
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    output = jnp.einsum('bhqk,bhkd->bhqd', weights, value) / total
    return output, (query, key, value, weights, total, output)


def _backward(saved: tuple[jax.Array, ...], grad: jax.Array) -> tuple[jax.Array | None, ...]:
    query, key, value, weights, total, output = saved
    grad = grad / total
    inner = (grad * output).sum(axis=-1, keepdims=True)
    scores_grad = weights * (jnp.einsum('bhqd,bhkd->bhqk', grad, value) - inner)
    return (
        jnp.einsum('bhqk,bhkd->bhqd', scores_grad, key),
        jnp.einsum('bhqk,bhqd->bhkd', scores_grad, query),
        jnp.einsum('bhqk,bhqd->bhkd', weights, grad),
        None,
    )


softmax_attention.defvjp(_forward, _backward)
