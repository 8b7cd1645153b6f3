"""Counted operations against closed forms and, for programs without loops, against XLA's own account."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import Primitive

from bljust_jax.flops import StepFlops, count_flops
from bljust_jax.step import Gradient, Step
from bljust_jax.types import Batch, TrainState


def counted(function, *shapes):
    return count_flops(jax.jit(function).trace(*map(abstract, shapes)).jaxpr.jaxpr)


def by_xla(function, *shapes):
    return jax.jit(function).lower(*map(abstract, shapes)).cost_analysis()['flops']


def abstract(shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def dense(x, weights):
    return (x @ weights).sum()


def test_dense_layer_forward_and_backward():
    """2 x 3 products of `batch · in · out`, and one addition for each element of the sum."""
    batch, inputs, outputs = 8, 32, 16
    total = counted(jax.value_and_grad(dense, (0, 1)), (batch, inputs), (inputs, outputs))
    assert total == 6 * batch * inputs * outputs + batch * outputs


def test_batched_products():
    def scores(query, key):
        return jnp.einsum('bqhd,bkhd->bhqk', query, key)

    assert counted(scores, (2, 5, 3, 7), (2, 11, 3, 7)) == 2 * 2 * 3 * 5 * 11 * 7


def test_loops_count_as_often_as_they_run():
    def layers(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.maximum(x @ w, 0.0), None), x, weights)[0].sum()

    arguments = (8, 16), (5, 16, 16)
    assert counted(layers, *arguments) == 5 * (2 * 8 * 16 * 16 + 8 * 16) + 8 * 16
    assert by_xla(layers, *arguments) < counted(layers, *arguments) / 4, 'XLA counts loops now: so can we'


def test_what_is_computed_again_counts_again():
    def loss(x, first, second):
        return (jax.nn.relu(x @ first) @ second).sum()

    shapes = (64, 64), (64, 64), (64, 64)
    products = 2 * 64**3
    plain, again = (counted(jax.grad(f, (0, 1, 2)), *shapes) for f in (loss, jax.checkpoint(loss)))
    assert plain == pytest.approx(6 * products, rel=0.05)
    assert again == pytest.approx(plain + products, rel=0.05)


def test_of_branches_the_most_expensive_counts():
    def either(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert counted(either, (4, 4)) == 2 * 2 * 4**3


def test_of_platforms_our_own_counts():
    def either(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: x @ x @ x)

    def looped(x):
        return jax.lax.scan(jax.checkpoint(lambda x, _: (either(x), None)), x, length=3)[0]

    assert counted(either, (4, 4)) == 2 * 4**3
    assert counted(looped, (4, 4)) == 3 * 2 * 4**3


def test_fourier_transforms():
    assert counted(lambda x: jnp.fft.rfft(x, axis=1), (3, 64)) == 3 * 2.5 * 64 * 6
    assert counted(lambda x: jnp.fft.ifft(x, axis=1), (3, 64)) == 3 * 5 * 64 * 6
    assert counted(lambda x: jnp.fft.irfft(jax.lax.complex(x, x), 64, axis=1), (3, 33)) == 3 * 2.5 * 64 * 6


def test_derivatives_of_our_own():
    @jax.custom_vjp
    def double(x):
        return x @ x

    double.defvjp(lambda x: (x @ x, x), lambda x, grad: (grad @ x @ x @ x,))
    assert counted(double, (4, 4)) == 2 * 4**3
    assert counted(jax.grad(lambda x: double(x).sum()), (4, 4)) == 4 * 2 * 4**3 + 16


def test_flash_attention_has_no_jaxpr():
    """Two products forward, and five backward, of `batch · head · query · key · size`."""
    batch, time, keys, heads, size = 2, 6, 5, 3, 8
    for name, products in {'fwd': 2, 'bwd': 5}.items():
        primitive = Primitive(f'dot_product_attention_{name}_wrapper')
        primitive.def_abstract_eval(lambda query, key: query)
        total = counted(primitive.bind, (batch, time, heads, size), (batch, keys, heads, size))
        assert total == products * 2 * batch * heads * time * keys * size


@given(
    size=st.integers(5, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    spread=st.integers(1, 3),
    padding=st.sampled_from(['SAME', 'VALID']),
    groups=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=8)
def test_convolutions_and_their_derivatives_as_xla_counts_them(size, kernel, stride, spread, padding, groups):
    def convolve(x, weights):
        return jax.lax.conv_general_dilated(
            x,
            weights,
            (stride,),
            'SAME' if size < (kernel - 1) * spread + 1 else padding,
            rhs_dilation=(spread,),
            dimension_numbers=('NWC', 'WIO', 'NWC'),
            feature_group_count=groups,
        )

    shapes = (3, size, 4), (kernel, 4 // groups, 8)
    assert counted(convolve, *shapes) == by_xla(convolve, *shapes)
    out = jax.eval_shape(convolve, *map(abstract, shapes)).shape

    def of_inputs(weights, grad):
        return jax.linear_transpose(lambda x: convolve(x, weights), abstract(shapes[0]))(grad)

    def of_weights(x, grad):
        return jax.linear_transpose(lambda weights: convolve(x, weights), abstract(shapes[1]))(grad)

    assert counted(of_inputs, shapes[1], out) == by_xla(of_inputs, shapes[1], out)
    assert counted(of_weights, shapes[0], out) == by_xla(of_weights, shapes[0], out)


def test_attention_and_layer_norm_as_xla_counts_them():
    def block(x, weights, out):
        x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        query, key, value = jnp.split(x @ weights, 3, -1)
        scores = jax.nn.softmax(jnp.einsum('btd,bsd->bts', query, key))
        return jnp.sum(jnp.einsum('bts,bsd->btd', scores, value) @ out)

    shapes = (2, 40, 32), (32, 96), (32, 32)
    step = jax.value_and_grad(block, (0, 1, 2))
    assert counted(step, *shapes) == pytest.approx(by_xla(step, *shapes), rel=0.03)


def step_of(shapes_seen):
    """One level whose gradient is that of a dense layer on the batch's audio, and an update of as many additions."""

    def gradient(batch, params, seed, step, teacher):
        shapes_seen.append(batch.audio.shape)
        value, grads = jax.value_and_grad(lambda w: dense(batch.audio.astype(jnp.float32), w))(params)
        return Gradient(value, grads, {})

    def update(state, gradients):
        shapes_seen.append('update')
        return state._replace(params=state.params + gradients[0].grads), {}

    return Step({'sup': jax.jit(gradient)}, jax.jit(update))


def batch_of(rows, samples):
    audio, lengths = np.zeros((rows, samples), np.int16), np.zeros(rows, np.int32)
    return Batch(audio, lengths, np.zeros((rows, 0), np.int32), lengths, lengths[:, None])


def test_a_step_is_traced_once_for_each_shape():
    traced = []
    step, count = step_of(traced), StepFlops()
    zero = jnp.int32(0)
    state = TrainState(zero, jnp.zeros((16, 4)), (), (), {'sup': zero}, zero)
    for rows in (2, 3, 2, 3):
        batches = {'sup': batch_of(rows, 16)}
        assert count(step, state, batches) == 2 * 2 * rows * 16 * 4 + rows * 4 + 16 * 4
        step(state, batches)
    assert traced == [(2, 16), 'update', (3, 16)]
