"""The linear probe: what of the transcripts one projection can read off a layer that stays as it is."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bljust_jax.data.text import Tokenizer
from bljust_jax.losses.supervised.ctc import ctc_feasible, ctc_greedy, ctc_loss
from bljust_jax.metrics import error_rates
from bljust_jax.probe.outputs import Outputs

LEARNING_RATE = 0.02

Probe = dict[str, jax.Array]


class Rows(NamedTuple):
    """A batch: standardised frames `[row, time, width]`, labels `[row, label]`, and the lengths `[row]` of both."""

    frames: Any
    lengths: Any
    labels: Any
    label_lengths: Any


class Score(NamedTuple):
    """What a probe of one layer has come to.

    Attributes:
      layer: its number.
      width: its width.
      train_loss: CTC on what the probe was trained on, in nats a label.
      loss: the same on what it is scored on. Rows with more labels than frames are left out of both.
      cer: character error rate of the best path there, a fraction.
      wer: word error rate there, a fraction.
    """

    layer: int
    width: int
    train_loss: float
    loss: float
    cer: float
    wer: float


def probe_layer(train: Outputs, test: Outputs, layer: int, tokenizer: Tokenizer, steps: int = 300) -> Score:
    """Trains a linear CTC probe on a layer's outputs on `train`, and scores it on `test`.

    The features are standardised with the mean and variance of `train`, so that the scale of a layer is not part of
    what is measured. The weights begin at 0 and are Adam's after `steps` steps of one batch each, with a step size that
    falls to 0; so are those of any other encoder, with the same batches in the same order, and nothing is left to
    chance.

    Args:
      train: what the probe learns from.
      test: of the same encoder.
      layer: number of the layer.
      tokenizer: of its run.
      steps: of training.
    """
    mean, deviation = _moments(train, layer)
    width = mean.shape[-1]
    probe = {'kernel': jnp.zeros((width, tokenizer.vocab_size)), 'bias': jnp.zeros((tokenizer.vocab_size,))}

    def rows(outputs: Outputs, index: int) -> Rows:
        frames = (outputs.layers[layer][index] - mean) / deviation
        return Rows(frames, outputs.lengths[index], outputs.labels[index], outputs.label_lengths[index])

    state = _optimizer(steps).init(probe)
    order = np.random.default_rng(0)
    epoch: list[int] = []
    for _ in range(steps):
        epoch = epoch or order.permutation(len(train.lengths)).tolist()
        probe, state = _step(steps, probe, state, rows(train, epoch.pop()))
    (train_loss, _), (loss, texts) = (_evaluate(probe, outputs, rows, tokenizer) for outputs in (train, test))
    rates = error_rates(list(itertools.chain(*test.texts)), texts)
    return Score(layer, width, train_loss, loss, rates.cer, rates.wer)


def _optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))


@functools.partial(jax.jit, static_argnums=0)  # shared by all layers of one width
def _step(steps: int, probe: Probe, state: optax.OptState, rows: Rows) -> tuple[Probe, optax.OptState]:
    def mean(probe: Probe) -> jax.Array:
        total, weight = _losses(probe, rows)
        return total / jnp.maximum(weight, 1.0)

    updates, state = _optimizer(steps).update(jax.grad(mean)(probe), state)
    return optax.apply_updates(probe, updates), state


def _losses(probe: Probe, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """CTC summed over rows, and the labels of those that are feasible."""
    losses = ctc_loss(_logits(probe, rows), rows.lengths, rows.labels, rows.label_lengths)
    feasible = ctc_feasible(rows.lengths, rows.labels, rows.label_lengths)
    return losses.sum(), jnp.where(feasible, rows.label_lengths, 0).sum().astype(jnp.float32)


def _logits(probe: Probe, rows: Rows) -> jax.Array:
    return rows.frames @ probe['kernel'] + probe['bias'][None, None]


@jax.jit
def _score(probe: Probe, rows: Rows) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    return _losses(probe, rows), ctc_greedy(_logits(probe, rows), rows.lengths)


def _evaluate(
    probe: Probe, outputs: Outputs, rows: Callable[[Outputs, int], Rows], tokenizer: Tokenizer
) -> tuple[float, list[str]]:
    """Loss per label, and the best path of each row as text."""
    totals, texts = np.zeros(2), []
    for index in range(len(outputs.lengths)):
        losses, (labels, numbers) = jax.device_get(_score(probe, rows(outputs, index)))
        totals += losses
        texts += [tokenizer.decode(row[:number].tolist()) for row, number in zip(labels, numbers, strict=True)]
    return float(totals[0] / max(totals[1], 1.0)), texts


def _moments(outputs: Outputs, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a layer's features over valid frames, float32 `[1, 1, width]` each."""
    frames = outputs.frames(layer).astype(np.float64)
    deviation = frames.std(axis=0, keepdims=True)
    mean, scale = frames.mean(axis=0, keepdims=True), np.where(deviation > 0, deviation, 1.0)
    return mean.astype(np.float32)[None], scale.astype(np.float32)[None]
