"""Convolution over time in groups of channels: `y[b, t, o] = Σ_k Σ_i x[b, t + k − K // 2, i] w[k, i, o]`.

`i` runs over the channels of `o`'s group, and there are zeros outside of `x`. The form is chosen for each backend when
the computation is lowered. On CPU, with the 128 taps of wav2vec 2.0, XLA's grouped convolution is at least twenty times
slower than a product of Fourier transforms (`python -m benchmarks.grouped`).
"""

import jax
import jax.numpy as jnp


def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Of `x [batch, time, width]` and `kernel [taps, width / groups, width]`, both of one dtype.

    Returns:
      `[batch, time, width]`.

    Raises:
      ValueError: if the widths do not fit.
    """
    if x.shape[2] != kernel.shape[2] or x.shape[2] % kernel.shape[1]:
        raise ValueError(f'grouped takes x [B,T,D] and a kernel [K,D/G,D], not {x.shape} and {kernel.shape}.')
    return jax.lax.platform_dependent(x, kernel, cpu=in_fourier_space, default=convolution)


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a convolution, for which accelerators have kernels of their own."""
    taps = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=((taps // 2, taps - 1 - taps // 2),),
        dimension_numbers=('NWC', 'WIO', 'NWC'),
        feature_group_count=x.shape[2] // kernel.shape[1],
    )


def in_fourier_space(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As a product for each frequency and group, computed in float32."""
    batch, time, width = x.shape
    half, size = kernel.shape[0] // 2, kernel.shape[1]
    period = -(-(time + half) // 16) * 16  # zeros keep both ends apart; powers of two are quickly transformed
    signal, response = (jnp.fft.rfft(side.astype(jnp.float32), period, axis) for side, axis in ((x, 1), (kernel, 0)))
    product = jnp.einsum(
        'bfgi,figo->bfgo',
        signal.reshape(batch, -1, width // size, size),
        response.conj().reshape(-1, size, width // size, size),
    )
    correlation = jnp.fft.irfft(product.reshape(batch, -1, width), period, axis=1)
    return jnp.roll(correlation, half, axis=1)[:, :time].astype(x.dtype)
