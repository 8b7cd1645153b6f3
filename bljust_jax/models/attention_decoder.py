"""Attention decoder: a Transformer that reads the labels so far and the hidden frames, and predicts the next label.

Blocks are those of `torch.nn.TransformerDecoder` with `norm_first=True` (Vaswani et al., arXiv 1706.03762, normalised
before each branch, arXiv 2002.04745); positions are sines and cosines added to the embeddings. No label beyond the
vocabulary is needed: id 0, the blank of CTC, is the start symbol on the way in and the end symbol on the way out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bljust_jax.config import AttentionDecoderConfig
from bljust_jax.masking import length_mask, zero_padding
from bljust_jax.models.attention import attention
from bljust_jax.models.layers import BRANCH_INIT, Dropout, FeedForward

BOUNDARY = 0  # the start symbol of the labels read and the end symbol of those predicted


class KeyValue(NamedTuple):
    """Keys and values of one block."""

    key: jax.Array
    value: jax.Array


class DecoderBlock(nn.Module):
    """Masked self-attention, attention to the hidden frames, feed-forward: each residual, after a LayerNorm."""

    config: AttentionDecoderConfig

    def setup(self) -> None:
        config = self.config
        heads, size = config.heads, config.width // config.heads
        self.self_norm, self.memory_norm = nn.LayerNorm(), nn.LayerNorm()
        self.self_in = nn.DenseGeneral((heads, 3 * size))
        self.memory_query = nn.DenseGeneral((heads, size))
        self.memory_in = nn.DenseGeneral((heads, 2 * size))
        self.self_out = nn.DenseGeneral(config.width, axis=(-2, -1), kernel_init=BRANCH_INIT)
        self.memory_out = nn.DenseGeneral(config.width, axis=(-2, -1), kernel_init=BRANCH_INIT)
        self.feed_forward = FeedForward(config.expansion, config.dropout)
        self.drop = Dropout(config.dropout)

    def remember(self, hidden: jax.Array) -> KeyValue:
        """What the block attends to of the hidden frames: `[batch, time, *]` to `[batch, time, head, size]`."""
        return KeyValue(*jnp.split(self.memory_in(hidden), 2, axis=-1))

    def __call__(self, x: jax.Array, memory: KeyValue, lengths: jax.Array, train: bool) -> jax.Array:
        """`x [batch, label, width]`, each of which sees those up to itself, and the memory's first `lengths` frames."""
        query, key, value = jnp.split(self.self_in(self.self_norm(x)), 3, axis=-1)
        attended = attention(query, key, value, jnp.full(x.shape[:1], x.shape[1]), causal=True)
        x = x + self.drop(self.self_out(attended), train)
        attended = attention(self.memory_query(self.memory_norm(x)), *memory, lengths)
        x = x + self.drop(self.memory_out(attended), train)
        return x + self.drop(self.feed_forward(x, train), train)

    def step(
        self, x: jax.Array, memory: KeyValue, audible: jax.Array, past: KeyValue, position: jax.Array, seen: jax.Array
    ) -> tuple[jax.Array, KeyValue]:
        """The same for one label of several hypotheses `x [batch, beam, width]`, and what is past for the next one.

        `past` holds keys and values (as `_columns` has them) of the labels of all hypotheses, to which those at
        `position` are added. Which of them each hypothesis follows is in `seen [batch, beam, label · beam]`, and which
        frames of the memory are valid in `audible [batch, 1, time]`.
        """
        query, key, value = jnp.split(self.self_in(self.self_norm(x)), 3, axis=-1)
        new, begin = _columns(KeyValue(key, value)), position * x.shape[1]
        past = KeyValue(
            jax.lax.dynamic_update_slice_in_dim(past.key, new.key, begin, axis=2),
            jax.lax.dynamic_update_slice_in_dim(past.value, new.value, begin, axis=3),
        )
        x = x + self.self_out(_attend(query, past, seen))
        x = x + self.memory_out(_attend(self.memory_query(self.memory_norm(x)), memory, audible))
        return x + self.feed_forward(x, False), past


def _columns(seen: KeyValue) -> KeyValue:
    """From `[batch, key, head, size]` to keys `[batch, head, key, size]` and values `[batch, head, size, key]`.

    With what is summed over last in both products of attention, they are five times as fast on CPU for few queries.
    """
    return KeyValue(seen.key.swapaxes(1, 2), jnp.moveaxis(seen.value, 1, 3))


def _attend(query: jax.Array, seen: KeyValue, mask: jax.Array) -> jax.Array:
    """Attention of `query [batch, beam, head, size]` to keys and values as `_columns` has them, by a mask over keys."""
    scores = jnp.einsum('bkhs,bhns->bhkn', query * query.shape[-1] ** -0.5, seen.key)
    weights = jax.nn.softmax(jnp.where(mask[:, None], scores, -1e9))
    return jnp.einsum('bhkn,bhsn->bkhs', weights, seen.value)


class Past(NamedTuple):
    """What decoding label by label keeps of one batch.

    Attributes:
      memory: keys and values of the hidden frames, for each block.
      lengths: valid frames `[batch]`.
      labels: keys and values of the labels of all hypotheses so far, for each block. They stay where they are when
        hypotheses change places; who follows whom is in `ancestors`.
      ancestors: in which place each hypothesis' labels were `[batch, beam, label]`.
    """

    memory: tuple[KeyValue, ...]
    lengths: jax.Array
    labels: tuple[KeyValue, ...]
    ancestors: jax.Array


class AttentionDecoder(nn.Module):
    """`(hidden [batch, time, *], lengths [batch], labels [batch, label], train) -> [batch, 1 + label, vocab]`.

    The logits at position u are those of label u after the u labels before it, or of the end (`BOUNDARY`). Labels in
    the padding, which come after all that is valid, and frames after `lengths` change nothing.
    """

    config: AttentionDecoderConfig
    vocab_size: int

    def setup(self) -> None:
        config = self.config
        self.embedding = nn.Embed(
            self.vocab_size, config.width, embedding_init=nn.initializers.normal(config.width**-0.5)
        )
        self.blocks = [DecoderBlock(config, name=f'block_{index}') for index in range(config.layers)]
        self.norm = nn.LayerNorm()
        self.output = nn.Dense(self.vocab_size)
        self.drop = Dropout(config.dropout)

    def __call__(self, hidden: jax.Array, lengths: jax.Array, labels: jax.Array, train: bool = False) -> jax.Array:
        x = self._embed(jnp.pad(labels, ((0, 0), (1, 0)), constant_values=BOUNDARY))
        x = self.drop(x + positions(x.shape[1], x.shape[2])[None], train)
        hidden = zero_padding(hidden, lengths)
        for block in self.blocks:
            x = block(x, block.remember(hidden), lengths, train)
        return self.output(self.norm(x))

    def start(self, hidden: jax.Array, lengths: jax.Array, beam: int, steps: int) -> Past:
        """Before the first of at most `steps` calls of `step` with `beam` hypotheses for each row."""
        batch, heads = hidden.shape[0], self.config.heads
        none = jnp.zeros((batch, steps * beam, heads, self.config.width // heads))
        hidden = zero_padding(hidden, lengths)
        return Past(
            tuple(_columns(block.remember(hidden)) for block in self.blocks),
            lengths,
            tuple(_columns(KeyValue(none, none)) for _ in self.blocks),
            jnp.zeros((batch, beam, steps), jnp.int32),
        )

    def step(
        self, past: Past, labels: jax.Array, position: jax.Array, source: jax.Array | None = None
    ) -> tuple[jax.Array, Past]:
        """Logits of what follows the label at `position`: those of `__call__` there, hypothesis by hypothesis.

        Args:
          past: as `start` or the step at `position − 1` returned it.
          labels: the last label of each hypothesis `[batch, beam]`; `BOUNDARY` at position 0.
          position: number of labels before it, int32 scalar.
          source: the hypotheses in `past` that these ones continue `[batch, beam]`; by default in the same places.

        Returns:
          `[batch, beam, vocab]` and the past for the next position.
        """
        batch, beam, steps = past.ancestors.shape
        places, times = jnp.arange(beam, dtype=jnp.int32), jnp.arange(steps)
        ancestors = past.ancestors
        if source is not None:
            ancestors = jnp.take_along_axis(ancestors, source[..., None], axis=1)
        ancestors = ancestors.at[:, :, position].set(places[None])
        seen = (ancestors[..., None] == places[None, None, None]) & (times <= position)[None, None, :, None]
        seen = seen.reshape(batch, beam, steps * beam)
        audible = length_mask(past.lengths, past.memory[0].key.shape[2])[:, None]
        x = self._embed(labels) + positions(steps, self.config.width)[position][None, None]
        written = []
        for block, memory, old in zip(self.blocks, past.memory, past.labels, strict=True):
            x, new = block.step(x, memory, audible, old, position, seen)
            written.append(new)
        return self.output(self.norm(x)), past._replace(labels=tuple(written), ancestors=ancestors)

    def _embed(self, labels: jax.Array) -> jax.Array:
        return self.embedding(labels) * self.config.width**0.5


def positions(number: int, width: int) -> jax.Array:
    """Sines, then cosines, of positions 0, 1, ... `[number, width]` (arXiv 1706.03762, section 3.5)."""
    half = width // 2
    angle = np.arange(number)[:, None] * 10_000.0 ** (-np.arange(half) / half)
    return jnp.asarray(np.concatenate([np.sin(angle), np.cos(angle)], axis=1), jnp.float32)
