"""Connectionist temporal classification (Graves et al., ICML 2006): its loss, and the best path."""

import functools

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask, zero_padding

_Pair = tuple[jax.Array, jax.Array]
_NEVER = -1e30  # the log of 0, finite so that differences of two of them are no NaN


def ctc_feasible(logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """Whether an alignment exists, bool `[batch]`: a frame for each label and one between equal neighbours."""
    repeats = (labels[:, 1:] == labels[:, :-1]) & length_mask(label_lengths - 1, labels.shape[1] - 1)
    return label_lengths + repeats.sum(axis=1) <= logit_lengths


def ctc_loss(
    logits: jax.Array, logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array, *, blank_id: int = 0
) -> jax.Array:
    """Negative log-likelihood of each row's labels, in nats.

    Computed in float32 whatever the logits are, in memory that grows with batch · time · (vocab + label).

    Args:
      logits: unnormalised `[batch, time, vocab]`.
      logit_lengths: valid frames `[batch]`.
      labels: `[batch, label]`, without blanks.
      label_lengths: valid labels `[batch]`.
      blank_id: the blank's id.

    Returns:
      float32 `[batch]`. Infeasible rows (see `ctc_feasible`) have loss 0 and gradient exactly 0.

    Raises:
      ValueError: if the shapes do not fit together.
    """
    batch = logits.shape[0]
    if (
        logits.ndim != 3
        or labels.ndim != 2
        or {logit_lengths.shape, label_lengths.shape, (labels.shape[0],)} != {(batch,)}
    ):
        raise ValueError(
            'ctc_loss takes logits [B,T,V], logit_lengths [B], labels [B,U] and label_lengths [B], not '
            f'{logits.shape}, {logit_lengths.shape}, {labels.shape} and {label_lengths.shape}.'
        )
    feasible = ctc_feasible(logit_lengths, labels, label_lengths)
    # An infeasible row is scored as an empty transcript, whose loss is finite, and then dropped.
    label_lengths = jnp.where(feasible, label_lengths, 0)
    labels = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=blank_id)
    blank, label = _log_probs(logits.astype(jnp.float32), logit_lengths, labels, label_lengths)
    return jnp.where(feasible, -_log_likelihood(blank, label, labels, label_lengths), 0.0)


def uniform_divergence(logits: jax.Array, logit_lengths: jax.Array) -> jax.Array:
    """`Σ_t KL(u ‖ p_t)` in nats, summed over each row's valid frames: of the uniform distribution u from posteriors p.

    As part of a loss it is label smoothing for CTC, whose targets are not known frame by frame (Kim et al., arXiv
    1711.02212): it keeps posteriors away from certainty.

    Args:
      logits: unnormalised `[batch, time, vocab]`.
      logit_lengths: valid frames `[batch]`.

    Returns:
      float32 `[batch]`.
    """
    log_probs = jax.nn.log_softmax(zero_padding(logits.astype(jnp.float32), logit_lengths))
    return zero_padding(-log_probs.mean(axis=-1) - jnp.log(logits.shape[-1]), logit_lengths).sum(axis=1)


def ctc_greedy(logits: jax.Array, lengths: jax.Array, *, blank_id: int = 0) -> tuple[jax.Array, jax.Array]:
    """Best path of `logits [batch, time, vocab]`: the best label of each frame, repeats merged, blanks removed.

    Returns:
      Labels int32 `[batch, time]` of the first `lengths [batch]` frames, moved to the front and filled up with
      `blank_id`, and their number `[batch]`.
    """
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    previous = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank_id)[:, :-1]
    kept = (best != blank_id) & (best != previous) & length_mask(lengths, best.shape[1])
    order = jnp.argsort(~kept, axis=1, stable=True)
    labels = jnp.take_along_axis(jnp.where(kept, best, blank_id), order, axis=1)
    return labels, kept.sum(axis=1)


def _log_probs(logits: jax.Array, logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array) -> _Pair:
    """Log-probabilities of the blank, `[time, batch, 1]`, and of the labels, `[time, batch, 1 + label]`.

    `labels` `[batch, 1 + label]` begin with the blank. In padded frames the blank is certain and labels are impossible,
    as they are everywhere at position 0 and past a row's last label.
    """
    # Picking whole columns is exact on every device, and cheaper both ways than a product with one-hot vectors.
    picked = jax.vmap(lambda row, ids: row[:, ids], out_axes=1)(logits, labels)
    log_probs = picked - jax.nn.logsumexp(logits, axis=-1).T[..., None]
    in_time = length_mask(logit_lengths, logits.shape[1]).T[..., None]
    in_label = length_mask(label_lengths + 1, labels.shape[1]).at[:, 0].set(False)[None]
    return jnp.where(in_time, log_probs[..., :1], 0.0), jnp.where(in_time & in_label, log_probs, _NEVER)


def _log_likelihood(blank: jax.Array, label: jax.Array, labels: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """Log-likelihood `[batch]` of the labels: the forward recursion over time on what `_log_probs` returns.

    `on_label` and `on_blank`, both `[batch, 1 + label]`, hold at position u the log-probability of all paths that have
    read u labels so far and stand on the last of them, or on a blank after it.
    """
    differs = labels != jnp.roll(labels, 1, axis=1)

    def step(alpha: _Pair, log_probs: _Pair) -> tuple[_Pair, jax.Array]:
        (on_blank, on_label), (blank, label) = alpha, log_probs
        # The likelihood of all frames so far, thousands of nats, in every state would leave float32 too few digits
        # for the differences between states, of which the gradient is made: it is kept apart.
        best = jax.lax.stop_gradient(jnp.maximum(on_blank, on_label).max(axis=1, keepdims=True))
        next_blank = _log_add(on_blank, on_label) + (blank - best)
        next_label = _log_add(on_label, _next(on_blank), jnp.where(differs, _next(on_label), _NEVER)) + (label - best)
        return (next_blank, next_label), best

    nowhere = jnp.full(labels.shape, _NEVER)
    (on_blank, on_label), bests = jax.lax.scan(step, (nowhere.at[:, 0].set(0.0), nowhere), (blank, label))
    ends = _log_add(on_blank, on_label) + bests.sum(axis=0)
    return jnp.take_along_axis(ends, label_lengths[:, None], axis=1)[:, 0]


def _next(x: jax.Array) -> jax.Array:
    """`[batch, 1 + label]` moved on by one label."""
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=_NEVER)


def _log_add(*terms: jax.Array) -> jax.Array:
    """Log of the sum of the terms' exponentials; its gradient is the share that each of them has in the sum."""
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, terms))
    return top + jnp.log(sum(jnp.exp(term - top) for term in terms))
