"""Greedy RNN-T decoding: in each frame the best label, again and again, until that is the blank."""

import jax
import jax.numpy as jnp

from bljust_jax.models.transducer import Transducer
from bljust_jax.types import Params, PyTree


def rnnt_greedy(
    transducer: Transducer,
    params: Params,
    hidden: jax.Array,
    lengths: jax.Array,
    *,
    max_symbols: int = 3,
    max_labels: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Decodes `hidden [batch, time, width]` within `lengths [batch]`.

    Every row goes through its own frames: a turn of the loop evaluates the joiner once for each row, which then either
    has one more label or is in the next frame. It ends when the row with the most frames and labels is through.

    Args:
      transducer: the head, whose label 0 is the blank.
      params: its parameters.
      hidden: frames of the encoder.
      lengths: valid frames.
      max_symbols: labels in one frame at most; after them comes the next frame.
      max_labels: labels of a row at most; by default as many as its frames can hold.

    Returns:
      Labels int32 `[batch, max_labels]`, filled up with the blank, and their number `[batch]`.

    Raises:
      ValueError: if the shapes do not fit together, or no label is allowed.
    """
    max_labels = check_arguments('rnnt_greedy', hidden, lengths, max_symbols, max_labels)
    batch, time, _ = hidden.shape
    rows = jnp.arange(batch)

    def apply(method: str, *arguments: PyTree) -> PyTree:
        return transducer.apply({'params': params}, *arguments, method=method)

    encoded = apply('project', hidden)

    def unfinished(carry: tuple) -> jax.Array:
        return (carry[0] < lengths).any()

    def turn(carry: tuple) -> tuple:
        frame, symbols, labels, counts, state, predicted = carry
        logits = apply('join', encoded[rows, jnp.minimum(frame, time - 1)], predicted)
        best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        emits = (best != 0) & (symbols < max_symbols) & (counts < max_labels) & (frame < lengths)
        labels = labels.at[rows, jnp.where(emits, counts, max_labels)].set(best, mode='drop')
        after = apply('advance', state, best)
        state, predicted = jax.tree.map(
            lambda new, old: jnp.where(emits.reshape(-1, *(1,) * (new.ndim - 1)), new, old), after, (state, predicted)
        )
        frame, symbols = jnp.where(emits, frame, frame + 1), jnp.where(emits, symbols + 1, 0)
        return frame, symbols, labels, jnp.where(emits, counts + 1, counts), state, predicted

    zeros = jnp.zeros(batch, jnp.int32)
    labels = jnp.zeros((batch, max_labels), jnp.int32)
    carry = jax.lax.while_loop(unfinished, turn, (zeros, zeros, labels, zeros, *apply('start', batch)))
    return carry[2], carry[3]


def check_arguments(name: str, hidden: jax.Array, lengths: jax.Array, max_symbols: int, max_labels: int | None) -> int:
    """What the decoder `name` takes for `max_labels`.

    Raises:
      ValueError: if the shapes do not fit together, or no label is allowed.
    """
    if hidden.ndim != 3 or lengths.shape != hidden.shape[:1]:
        raise ValueError(f'{name} takes hidden [B,T,D] and lengths [B], not {hidden.shape} and {lengths.shape}.')
    max_labels = max_symbols * hidden.shape[1] if max_labels is None else max_labels
    if max_symbols < 1 or max_labels < 0:
        raise ValueError(
            f'{name} takes max_symbols of 1 or more and max_labels of 0 or more, not {max_symbols} and {max_labels}.'
        )
    return max_labels
