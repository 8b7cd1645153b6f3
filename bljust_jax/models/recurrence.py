"""Recurrences over time, which comes first: `[time, ...]`."""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_vjp
def lstm(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """LSTMs from a state of zeros, one for each direction, side by side in one loop (Hochreiter & Schmidhuber, 1997).

        i, f, g, o = inputs[t] + h[t − 1] kernel         input, forget, candidate and output
        c[t] = σ(f) c[t − 1] + σ(i) tanh(g)
        h[t] = σ(o) tanh(c[t])

    Gates and cells are float32, whatever the arrays. The gradient keeps the gates, and takes that of the kernel in one
    product over all times, where the derived one adds a matrix of the kernel's size at each.

    Args:
      inputs: what the gates get from elsewhere, biases included `[time, direction, batch, 4 * cells]`.
      kernel: `[direction, cells, 4 * cells]`, of the same dtype.

    Returns:
      `h [time, direction, batch, cells]`.

    Raises:
      ValueError: if the shapes do not fit.
    """
    return _forward(inputs, kernel)[0]


def _forward(inputs: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[Any, ...]]:
    directions, cells, gates = kernel.shape
    if gates != 4 * cells or inputs.shape[1::2] != (directions, gates):
        raise ValueError(f'lstm takes inputs [T,D,B,4H] and a kernel [D,H,4H], not {inputs.shape} and {kernel.shape}.')
    dtype = inputs.dtype

    def step(carry: tuple[jax.Array, jax.Array], given: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
        hidden, cell, gates = lstm_step(given, *carry, kernel)
        return (hidden, cell), (hidden, cell, tuple(gate.astype(dtype) for gate in gates))

    start = jnp.zeros((*inputs.shape[1:3], cells), jnp.float32)
    _, (hidden, cell, opened) = jax.lax.scan(step, (start.astype(dtype), start), inputs)
    return hidden, (hidden, cell, opened, kernel)


def _backward(saved: tuple[Any, ...], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    hidden, cell, opened, kernel = saved
    # Left to itself, XLA would transpose it at every step.
    transposed = jax.lax.optimization_barrier(kernel.swapaxes(1, 2))

    def step(carry: tuple[jax.Array, jax.Array], at: Any) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hidden_grad, cell_grad = carry
        grad, cell, before, opened = at
        i, f, g, o = (gate.astype(jnp.float32) for gate in opened)
        squashed = jnp.tanh(cell)
        hidden_grad = hidden_grad + grad.astype(jnp.float32)
        cell_grad = cell_grad + hidden_grad * o * (1 - squashed**2)
        gates_grad = (
            cell_grad * g * i * (1 - i),
            cell_grad * before * f * (1 - f),
            cell_grad * i * (1 - g**2),
            hidden_grad * squashed * o * (1 - o),
        )
        inputs_grad = jnp.concatenate(gates_grad, axis=-1).astype(grad.dtype)
        return (_product('dbg,dgh->dbh', inputs_grad, transposed), cell_grad * f), inputs_grad

    end = jnp.zeros_like(cell[0])
    _, inputs_grad = jax.lax.scan(step, (end, end), (grad, cell, _earlier(cell), opened), reverse=True)
    kernel_grad = _product('tdbh,tdbg->dhg', _earlier(hidden), inputs_grad)
    return inputs_grad, kernel_grad.astype(kernel.dtype)


lstm.defvjp(_forward, _backward)


def lstm_step(
    inputs: jax.Array, hidden: jax.Array, cell: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
    """One step of `lstm`, without its `direction` too.

    Args:
      inputs: `[direction, batch, 4 * cells]`.
      hidden: `h[t − 1] [direction, batch, cells]`, of the same dtype.
      cell: `c[t − 1]`, of the same shape, float32.
      kernel: `[direction, cells, 4 * cells]`.

    Returns:
      `h[t]`, `c[t]`, and the gates i, f, g and o, float32.
    """
    given = inputs.astype(jnp.float32) + _product('...bh,...hg->...bg', hidden, kernel)
    i, f, g, o = jnp.split(given, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    cell = f * cell + i * g
    return (o * jnp.tanh(cell)).astype(inputs.dtype), cell, (i, f, g, o)


def remembering(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Biases `[..., 4 * cells]` of 0, and of 1 for forget gates, which begin open (Jozefowicz et al., 2015)."""
    del key
    return jnp.zeros((*shape[:-1], 4, shape[-1] // 4), dtype).at[..., 1, :].set(1).reshape(shape)


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _earlier(x: jax.Array) -> jax.Array:
    """`x` one step later, with zeros first."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


@jax.custom_vjp
def reverse(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Each row's valid frames in reverse order, `x [time, batch, ...]`; its padding stays behind them, in some order.

    It undoes itself, and so is its own transpose.
    """
    order = (lengths[None, :] - 1 - jnp.arange(x.shape[0])[:, None]) % x.shape[0]
    return jax.vmap(lambda row, order: row.at[order].get(mode='promise_in_bounds'), 1, 1)(x, order)


reverse.defvjp(lambda x, lengths: (reverse(x, lengths), lengths), lambda lengths, grad: (reverse(grad, lengths), None))
