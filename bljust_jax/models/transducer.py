"""The head of a transducer: a prediction network over the labels so far, and a joiner of it with the encoder's frames.

    logits[t, u] = output(tanh(frame(h_t) + label(g_u)))        g_u = prediction(blank, y_1, ..., y_u)

(Graves, arXiv 1211.3711 and 1303.5778). The prediction network is an LSTM, or looks at the last labels alone: then it
is called stateless (Ghodsi et al., 2020; Botros et al., arXiv 2109.07513). Label 0 is the blank, and the start.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.config import TransducerConfig
from bljust_jax.models.layers import Dropout
from bljust_jax.models.recurrence import lstm, lstm_step, remembering
from bljust_jax.types import PyTree

START = 0


class Lstm(nn.Module):
    """One layer, `[batch, time, width] -> [batch, time, width]`; its state is output and cell, `[batch, width]`."""

    width: int

    def setup(self) -> None:
        self.inputs = nn.Dense(4 * self.width, bias_init=remembering)
        self.recurrent = self.param(
            'recurrent', nn.initializers.orthogonal(), (self.width, 4 * self.width), jnp.float32
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = self.inputs(x).swapaxes(0, 1)[:, None]
        return lstm(inputs, self.recurrent[None])[:, 0].swapaxes(0, 1)

    def start(self, rows: int) -> PyTree:
        """The state before anything."""
        return jnp.zeros((rows, self.width)), jnp.zeros((rows, self.width))

    def advance(self, state: PyTree, x: jax.Array) -> tuple[PyTree, jax.Array]:
        """One step, of `x [batch, width]`."""
        output, cell, _ = lstm_step(self.inputs(x), state[0], state[1], self.recurrent)
        return (output, cell), output


class LstmPrediction(nn.Module):
    """Embedded labels through LSTM layers. Its state is those of the layers."""

    config: TransducerConfig
    vocab_size: int

    def setup(self) -> None:
        self.embedding = nn.Embed(self.vocab_size, self.config.width)
        self.layers = [Lstm(self.config.width) for _ in range(self.config.layers)]
        self.drop = Dropout(self.config.dropout)

    def __call__(self, labels: jax.Array, train: bool) -> jax.Array:
        x = self.drop(self.embedding(labels), train)
        for layer in self.layers:
            x = self.drop(layer(x), train)
        return x

    def start(self, rows: int) -> PyTree:
        """The state before the start."""
        return tuple(layer.start(rows) for layer in self.layers)

    def advance(self, state: PyTree, labels: jax.Array) -> tuple[PyTree, jax.Array]:
        """One step, of `labels [batch]`."""
        x, states = self.embedding(labels), []
        for layer, before in zip(self.layers, state, strict=True):
            after, x = layer.advance(before, x)
            states.append(after)
        return tuple(states), x


class StatelessPrediction(nn.Module):
    """The embeddings of the last `config.context` labels side by side, one projection. Its state is those labels."""

    config: TransducerConfig
    vocab_size: int

    def setup(self) -> None:
        self.embedding = nn.Embed(self.vocab_size, self.config.width)
        self.projection = nn.Dense(self.config.width)
        self.drop = Dropout(self.config.dropout)

    def __call__(self, labels: jax.Array, train: bool) -> jax.Array:
        context, size = self.config.context, labels.shape[1]
        padded = jnp.pad(labels, ((0, 0), (context - 1, 0)), constant_values=START)
        windows = jnp.stack([padded[:, first : first + size] for first in range(context)], axis=-1)
        return self._of_windows(windows, train)

    def start(self, rows: int) -> PyTree:
        """The state before the start."""
        return jnp.full((rows, self.config.context), START)

    def advance(self, state: PyTree, labels: jax.Array) -> tuple[PyTree, jax.Array]:
        """One step, of `labels [batch]`."""
        state = jnp.concatenate([state[:, 1:], labels[:, None]], axis=1)
        return state, self._of_windows(state, False)

    def _of_windows(self, windows: jax.Array, train: bool) -> jax.Array:
        x = self.embedding(windows)
        return self.drop(nn.silu(self.projection(x.reshape(*x.shape[:-2], -1))), train)


PREDICTIONS: dict[str, type[nn.Module]] = {'lstm': LstmPrediction, 'stateless': StatelessPrediction}


class Transducer(nn.Module):
    """Prediction network and joiner; `vocab_size` counts the blank.

    Training takes `project`, `predict` and `join`; decoding takes `project`, `start`, `advance` and `join`. What comes
    after a label reaches nothing before it, and no frame another, so that padding reaches nothing that is valid.
    """

    config: TransducerConfig
    vocab_size: int

    def setup(self) -> None:
        self.prediction = PREDICTIONS[self.config.prediction](self.config, self.vocab_size)
        self.frame = nn.Dense(self.config.joint_dim)
        self.label = nn.Dense(self.config.joint_dim, use_bias=False)
        self.output = nn.Dense(self.vocab_size)

    def __call__(self, hidden: jax.Array, labels: jax.Array, train: bool = False) -> jax.Array:
        """All logits `[batch, time, label + 1, vocab]` of `hidden [batch, time, width]` and `labels [batch, label]`."""
        return self.join(self.project(hidden)[:, :, None], self.predict(labels, train)[:, None])

    def project(self, hidden: jax.Array) -> jax.Array:
        """The joiner's projection of the encoder's frames, `[..., width] -> [..., joint]`."""
        return self.frame(hidden)

    def predict(self, labels: jax.Array, train: bool = False) -> jax.Array:
        """Of `labels [batch, label]` what the joiner takes `[batch, label + 1, joint]`, the first before any label."""
        started = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=START)
        return self.label(self.prediction(started, train))

    def start(self, rows: int) -> tuple[PyTree, jax.Array]:
        """`advance` before any label."""
        return self.advance(self.prediction.start(rows), jnp.full(rows, START))

    def advance(self, state: PyTree, labels: jax.Array) -> tuple[PyTree, jax.Array]:
        """After `labels [row]` were read: the state, and what the joiner takes `[row, joint]`."""
        state, x = self.prediction.advance(state, labels)
        return state, self.label(x)

    def join(self, encoded: jax.Array, predicted: jax.Array) -> jax.Array:
        """Logits `[..., vocab]` of the two, which broadcast."""
        return self.output(jnp.tanh(encoded + predicted))
