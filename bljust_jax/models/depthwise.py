"""Depthwise convolution over time: `y[b, t, c] = Σ_k x[b, t + k − K // 2, c] w[k, c]`, with zeros outside of `x`.

The form is chosen for each backend when the computation is lowered. On CPU, XLA's grouped convolution is thirty times
slower than a sum of shifted products, and the FFT three times (`python -m benchmarks.depthwise`).
"""

import jax
import jax.numpy as jnp

from bljust_jax.fourier import rfft


def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One filter of odd length a channel: `x [batch, time, width]`, `kernel [length, width]`, both of one dtype.

    Returns:
      `[batch, time, width]`.

    Raises:
      ValueError: for an even length, or widths that differ.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1:] != x.shape[2:]:
        raise ValueError(f'depthwise takes x [B,T,D] and a kernel [K,D] of odd K, not {x.shape} and {kernel.shape}.')
    return jax.lax.platform_dependent(x, kernel, cpu=shifted_products, default=grouped_convolution)


def grouped_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a convolution with a group for each channel, for which accelerators have kernels of their own."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, None, :],
        window_strides=(1,),
        padding='SAME',
        dimension_numbers=('NWC', 'WIO', 'NWC'),
        feature_group_count=x.shape[-1],
    )


@jax.custom_vjp
def shifted_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a sum of shifted products, which XLA fuses into one loop over the output. NaN if the first weight is."""
    # XLA would compute the cheap-looking sum again in each of six loops that use it; it does not fuse across a branch.
    return jax.lax.cond(kernel[0, 0] == kernel[0, 0], _sum_of_products, _not_a_number, x, kernel)


def _sum_of_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    half, time = kernel.shape[0] // 2, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)))
    return sum(padded[:, i : i + time] * weight for i, weight in enumerate(kernel[:, None, None]))


def _not_a_number(x: jax.Array, kernel: jax.Array) -> jax.Array:
    del kernel
    return jnp.full_like(x, jnp.nan)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return shifted_products(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`∂x` is a convolution with the reversed kernel; derived automatically, it would pad and add once for each tap.

    `∂w[k]` is the correlation of `x` and `grad` at lag `k − K // 2`, summed over rows: a product in Fourier space.
    """
    x, kernel = saved
    half = kernel.shape[0] // 2
    size = -(-(x.shape[1] + half) // 16) * 16  # zeros keep the lags apart; powers of two are quickly transformed
    signal, response = (jax.lax.complex(*rfft(side.astype(jnp.float32), size, axis=1)) for side in (x, grad))
    lags = jnp.fft.irfft((signal * response.conj()).sum(axis=0), size, axis=0)
    kernel_grad = jnp.concatenate([lags[size - half :], lags[: half + 1]]).astype(kernel.dtype)
    return shifted_products(grad, kernel[::-1]), kernel_grad


shifted_products.defvjp(_forward, _backward)
