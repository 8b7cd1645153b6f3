"""Contrastive predictive coding (arXiv 1807.03748): tell the true future frames from others, given the past.

Past and future of a window are encoded apart. An encoder that looks both ways would otherwise have seen what it
is to predict, and the task would be trivial.
"""

import jax
import jax.numpy as jnp

from bljust_jax.types import Ratio


def cut_windows(
    features: jax.Array, lengths: jax.Array, past: int, future: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cuts `features [batch, time, mel]` into windows that follow one another without overlap.

    Returns:
      past `[row, past, mel]`, future `[row, future, mel]`, and bool `[row]`: whether the window is all speech.
      `row` runs over utterances and their windows.

    Raises:
      ValueError: if the batch is shorter than one window.
    """
    _, time, mels = features.shape
    window = past + future
    if time < window:
        raise ValueError(
            f'Utterances of {time} feature frames are too short for CPC windows of {past} + {future} frames.'
        )
    windows = features[:, : time // window * window].reshape(-1, window, mels)
    ends = window * (1 + jnp.arange(time // window))
    return windows[:, :past], windows[:, past:], (ends[None, :] <= lengths[:, None]).reshape(-1)


def info_nce(
    predicted: jax.Array,
    target: jax.Array,
    valid: jax.Array,
    key: jax.Array,
    *,
    negatives: int,
    temperature: float,
    utterances: jax.Array | None = None,
) -> tuple[Ratio, dict[str, Ratio]]:
    """InfoNCE in nats per prediction: `-log exp(s_true/τ) / (exp(s_true/τ) + Σ exp(s_negative/τ))`.

    Args:
      predicted, target: `[row, step, dim]`, of unit length.
      valid: rows that count, bool `[row]`. Negatives are drawn from these, uniformly over other frames.
      key: draws the negatives.
      negatives: how many, or as many as there are.
      temperature: τ.
      utterances: which utterance a row is of, `[row]`: negatives are then of the same one. By default they are of the
        whole batch.

    Returns:
      The loss, and the metrics `accuracy` (the true frame scores highest) and `chance`, `1 / (1 + negatives)`.
    """
    rows, steps, _ = predicted.shape
    frames = target.reshape(rows * steps, -1)
    frame_valid = jnp.repeat(valid, steps)
    scores = jnp.einsum('pd,fd->pf', predicted.reshape(rows * steps, -1), frames) / temperature
    eligible = frame_valid[None, :] & ~jnp.eye(rows * steps, dtype=bool)
    if utterances is not None:
        owner = jnp.repeat(utterances, steps)
        eligible &= owner[:, None] == owner[None, :]
    # The k frames of largest random value are a uniform draw without replacement.
    lottery = jnp.where(eligible, jax.random.uniform(key, scores.shape), 0.0)
    ticket, drawn = jax.lax.top_k(lottery, min(negatives, rows * steps - 1))
    negative = jnp.where(ticket > 0, jnp.take_along_axis(scores, drawn, axis=1), -jnp.inf)
    positive = jnp.diagonal(scores)
    loss = jax.nn.logsumexp(jnp.concatenate([positive[:, None], negative], axis=1), axis=1) - positive
    weight = frame_valid.astype(jnp.float32)
    chance = 1.0 / (1.0 + (ticket > 0).sum(axis=1, dtype=jnp.float32))
    hits = (positive > negative.max(axis=1, initial=-jnp.inf)).astype(jnp.float32)
    total = weight.sum()
    return Ratio((loss * weight).sum(), total), {
        'accuracy': Ratio((hits * weight).sum(), total),
        'chance': Ratio((chance * weight).sum(), total),
    }
