"""Fourier transforms of batches that lie on many devices.

Except for TPUs, XLA does not partition an FFT: it gathers the batch, and every device transforms all of it. Told that
rows are transformed one by one (`custom_partitioning`, which TPUs' ahead-of-time compiler lacks), it leaves them where
they are.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_FACTORS = {
    1: 'rows before width -> rows after width, rows after width',
    2: 'rows time before -> rows time after, rows time after',
}
Parts = tuple[jax.Array, jax.Array]


def rfft(x: jax.Array, size: int, axis: int) -> Parts:
    """Real and imaginary part of `jnp.fft.rfft(x, size, axis)`, of `x [rows, ., .]`, float32, along axis 1 or 2.

    Each device transforms its own rows. There is no derivative: what is differentiated needs a rule of its own.

    Raises:
      ValueError: for another axis or number of axes.
    """
    if x.ndim != 3 or axis not in _FACTORS:
        raise ValueError(f'rfft takes [rows, ., .] and axis 1 or 2, not {x.shape} and {axis}.')
    whole = functools.partial(_fft, size=size, axis=axis)
    return jax.lax.platform_dependent(x, tpu=whole, default=_row_by_row(size, axis))


def _fft(x: jax.Array, size: int, axis: int) -> Parts:
    spectrum = jnp.fft.rfft(x, size, axis)
    return spectrum.real, spectrum.imag


@functools.cache
def _row_by_row(size: int, axis: int) -> Callable[[jax.Array], Parts]:
    def transform(x: jax.Array) -> Parts:
        return _fft(x, size, axis)

    def partition(mesh: Mesh, arguments: tuple[Any], results: tuple[Any, Any]) -> tuple[Any, ...]:
        del results
        (x,) = arguments
        spec = [*x.sharding.spec, None, None, None][:3]
        spec[axis] = None
        kept = NamedSharding(mesh, PartitionSpec(*spec))
        return mesh, transform, (kept, kept), (kept,)

    partitioned = custom_partitioning(transform)
    partitioned.def_partition(partition, sharding_rule=_FACTORS[axis], need_replication_factors=('before', 'after'))
    batched = custom_vmap(partitioned)

    @batched.def_vmap
    def more_rows(count: int, in_batched: list[bool], x: jax.Array) -> tuple[Parts, tuple[bool, bool]]:
        del in_batched
        real, imaginary = batched(x.reshape(-1, *x.shape[2:]))
        shape = (count, -1, *real.shape[1:])
        return (real.reshape(shape), imaginary.reshape(shape)), (True, True)

    return batched
