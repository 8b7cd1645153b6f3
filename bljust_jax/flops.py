"""Floating-point operations of the programs of a step, counted in their jaxprs: nothing is compiled for it.

XLA's own account (`cost_analysis`) takes a loop's body once, however often it runs, and so leaves out all but one layer
of a scanned encoder and all but one frame of an LSTM or of CTC. What is counted here:

- a product of matrices, or a convolution: two for each multiplication, without those by padding or by the zeros of a
  dilated input;
- an FFT of n points: 5 n log2 n, half of it if one side is real;
- arithmetic on floats: one for each element of the result; a reduction: one for each element that goes in.

The body of a `scan` counts as often as it runs, that of a `while`, whose end depends on the data, once; of a `cond` the
most expensive branch counts, or the one of this platform. What is computed again in the backward pass (`remat`) counts
again, and what the compiler finds superfluous counts too. Comparisons, integers, random numbers and moving data are
free.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn

from bljust_jax.step import Step
from bljust_jax.types import Batch, TrainState

_ELEMENTWISE = frozenset(
    'abs add add_any atan2 cbrt ceil clamp conj cos cosh div erf erf_inv erfc exp exp2 expm1 floor integer_pow lgamma '
    'digamma log log1p logistic max min mul neg pow rem round rsqrt sign sin sinh sqrt square sub tan tanh '
    'cumsum cumprod cummax cummin cumlogsumexp'.split()
)
_REDUCTIONS = frozenset('reduce_sum reduce_prod reduce_max reduce_min'.split())
_FLASH_ATTENTION = {'dot_product_attention_fwd_wrapper': 2, 'dot_product_attention_bwd_wrapper': 5}  # products in each


class StepFlops:
    """FLOPs of training steps, of all devices together; counts each program once for each shape.

    Concrete and abstract arrays do alike. What it traces is what the step would trace, so the next call of the step
    finds it in JAX's cache.
    """

    def __init__(self) -> None:
        self._counts: dict[Any, float] = {}

    def __call__(self, step: Step, state: TrainState, batches: Mapping[str, Batch]) -> float:
        """FLOPs of `step(state, batches)`."""
        gradients = sum(self.gradient(step, name, state, batches[name]) for name in step.gradients)
        return gradients + self.update(step, state, batches)

    def gradient(self, step: Step, level: str, state: TrainState, batch: Batch) -> float:
        """FLOPs of the gradient of one level, on a batch of this shape."""
        key = level, batch.audio.shape
        if key not in self._counts:
            self._counts[key] = count_flops(step.trace_gradient(level, state, batch).jaxpr.jaxpr)
        return self._counts[key]

    def update(self, step: Step, state: TrainState, batches: Mapping[str, Batch]) -> float:
        """FLOPs of what follows the gradients; they do not depend on the batches' shapes."""
        key = tuple(step.gradients)
        if key not in self._counts:
            gradients = [step.trace_gradient(name, state, batches[name]).out_info for name in step.gradients]
            self._counts[key] = count_flops(step.update.trace(state, gradients).jaxpr.jaxpr)
        return self._counts[key]


def count_flops(jaxpr: Jaxpr) -> float:
    """FLOPs of running `jaxpr` once; see the head of the file for what counts."""
    return float(sum(map(_flops, jaxpr.eqns)))


def _flops(eqn: JaxprEqn) -> float:
    name = eqn.primitive.name
    if name == 'dot_general':
        (contracted, _), _ = eqn.params['dimension_numbers']
        return 2 * _size(eqn.outvars[0]) * math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
    if name == 'conv_general_dilated':
        return _convolution(eqn)
    if name == 'fft':
        return _fft(eqn)
    if name in _FLASH_ATTENTION:
        query, key = map(_shape, eqn.invars[:2])  # [batch, time, head, size]
        return 2 * _FLASH_ATTENTION[name] * math.prod(query) * key[1]
    if name == 'cond':
        return max(map(count_flops, _branches(eqn)))
    if name == 'scan':
        return eqn.params['length'] * count_flops(eqn.params['jaxpr'].jaxpr)
    if name in _ELEMENTWISE:
        return _size(eqn.outvars[0]) if _is_float(eqn.outvars[0]) else 0
    if name in _REDUCTIONS:
        return _size(eqn.invars[0]) if _is_float(eqn.invars[0]) else 0
    return sum(map(count_flops, _inner(eqn.params.values())))


def _convolution(eqn: JaxprEqn) -> float:
    """Two for each pair of an input and a weight that meet, axis by axis: batch, channels, and places in space."""
    params, (inputs, kernel), output = eqn.params, eqn.invars[:2], eqn.outvars[0]
    numbers = params['dimension_numbers']
    out_shape, kernel_shape = _shape(output), _shape(kernel)
    channels = math.prod(out_shape[axis] for axis in numbers.out_spec[:2]) * kernel_shape[numbers.rhs_spec[1]]
    axes = zip(
        (_shape(inputs)[axis] for axis in numbers.lhs_spec[2:]),
        (kernel_shape[axis] for axis in numbers.rhs_spec[2:]),
        (out_shape[axis] for axis in numbers.out_spec[2:]),
        params['window_strides'],
        (low for low, _ in params['padding']),
        params['lhs_dilation'],
        params['rhs_dilation'],
        strict=True,
    )
    return 2 * channels * math.prod(_meetings(*axis) for axis in axes)


def _meetings(size: int, kernel: int, out: int, stride: int, low: int, spread: int, kernel_spread: int) -> int:
    """Pairs of an output and a weight, along one axis, whose input is neither padding nor a hole between inputs."""
    places = np.arange(out)[:, None] * stride + np.arange(kernel) * kernel_spread - low
    return int(((places >= 0) & (places <= (size - 1) * spread) & (places % spread == 0)).sum())


def _fft(eqn: JaxprEqn) -> float:
    kind, points = eqn.params['fft_type'], math.prod(eqn.params['fft_lengths'])
    longer = eqn.outvars[0] if kind == jax.lax.FftType.IRFFT else eqn.invars[0]  # the other has the half spectrum
    real = kind in (jax.lax.FftType.RFFT, jax.lax.FftType.IRFFT)
    return (2.5 if real else 5.0) * _size(longer) * math.log2(points)


def _branches(eqn: JaxprEqn) -> list[Jaxpr]:
    """The branches that may run: if they are chosen by the platform, only that of the default backend."""
    branches = [branch.jaxpr for branch in eqn.params['branches']]
    platforms = eqn.params.get('branches_platforms')
    if platforms is None:
        return branches
    backend = jax.default_backend()
    names = {'gpu': ('gpu', 'cuda', 'rocm')}.get(backend, (backend,))
    return [next(branch for branch, of in zip(branches, platforms, strict=True) if of is None or set(of) & set(names))]


def _inner(values: Any) -> Iterator[Jaxpr]:
    """The jaxprs among the parameters of an equation: those of `jit`, `remat`, `custom_vjp_call` and others."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif isinstance(value := getattr(value, 'jaxpr', value), Jaxpr):
            yield value


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _size(variable: Any) -> int:
    return math.prod(_shape(variable))


def _is_float(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.inexact)
