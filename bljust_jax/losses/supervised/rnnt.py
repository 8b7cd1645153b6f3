"""Recurrent neural network transducer (Graves, arXiv 1211.3711)."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from bljust_jax.masking import length_mask, zero_padding

_Pair = tuple[jax.Array, jax.Array]
_NEVER = -1e30  # the log of 0, finite so that differences of two of them are no NaN
_LARGEST = 1e30  # of what is rescaled: products of two overflow, but are never multiplied by 0
_NORMALISER = 'rnnt_normaliser'


def rnnt_feasible(logit_lengths: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """Whether an alignment exists, bool `[batch]`: one frame can emit any number of labels, no frame none at all."""
    return (logit_lengths > 0) | (label_lengths == 0)


def rnnt_loss(
    logits: jax.Array, logit_lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array, *, blank_id: int = 0
) -> jax.Array:
    """Negative log-likelihood of each row's labels, in nats.

    Computed in float32 whatever the logits are. Beside the logits and their gradient, memory grows with
    batch · time · label; for logits too large to be held at all see `rnnt_joint_loss`.

    Args:
      logits: unnormalised `[batch, time, label + 1, vocab]`: at `[b, t, u]` the joiner's output after u labels.
      logit_lengths: valid frames `[batch]`.
      labels: `[batch, label]`, without blanks.
      label_lengths: valid labels `[batch]`.
      blank_id: the blank's id.

    Returns:
      float32 `[batch]`. Infeasible rows (see `rnnt_feasible`) have loss 0 and gradient exactly 0.

    Raises:
      ValueError: if the shapes do not fit together, or the vocabulary has no such blank.
    """
    batch = logits.shape[0]
    if (
        logits.ndim != 4
        or labels.shape != (batch, logits.shape[2] - 1)
        or {logit_lengths.shape, label_lengths.shape} != {(batch,)}
    ):
        raise ValueError(
            'rnnt_loss takes logits [B,T,U+1,V], logit_lengths [B], labels [B,U] and label_lengths [B], not '
            f'{logits.shape}, {logit_lengths.shape}, {labels.shape} and {label_lengths.shape}.'
        )
    blank, label = _log_probs(logits, jnp.pad(labels, ((0, 0), (0, 1))), blank_id)
    return rnnt_path_loss(blank, label, logit_lengths, label_lengths)


def rnnt_joint_loss(
    join: Callable[[jax.Array, jax.Array], jax.Array],
    encoded: jax.Array,
    predicted: jax.Array,
    logit_lengths: jax.Array,
    labels: jax.Array,
    label_lengths: jax.Array,
    *,
    blank_id: int = 0,
    chunk: int = 8,
) -> jax.Array:
    """`rnnt_loss` of `join(encoded, predicted)`, a few frames at a time: all logits at once are never held.

    Both passes evaluate the joiner chunk by chunk. Between them only the log-probabilities of blanks and labels and the
    normalisers, `[batch, time, label + 1]`, are kept, so that memory grows with batch · label · (time + chunk · vocab)
    (the merging of joiner, softmax and loss of Li et al., arXiv 1909.12415, section 3.2, in chunks).

    Args:
      join: the joiner, `(encoded [batch, chunk, width], predicted [batch, label + 1, width']) -> logits
        [batch, chunk, label + 1, vocab]`, for which frames are independent of each other. What it closes over, such as
        its parameters, gets gradients too.
      encoded: frames of the encoder `[batch, time, width]`.
      predicted: outputs of the prediction network `[batch, label + 1, width']`, the first before any label.
      logit_lengths: valid frames `[batch]`.
      labels: `[batch, label]`, without blanks.
      label_lengths: valid labels `[batch]`.
      blank_id: the blank's id.
      chunk: frames at a time.

    Returns:
      float32 `[batch]`. Infeasible rows (see `rnnt_feasible`) have loss 0 and gradient exactly 0.

    Raises:
      ValueError: if the shapes do not fit together, or the vocabulary has no such blank.
    """
    batch, time = encoded.shape[:2]
    if (
        encoded.ndim != 3
        or predicted.ndim != 3
        or labels.shape != (batch, predicted.shape[1] - 1)
        or {logit_lengths.shape, label_lengths.shape, (predicted.shape[0],)} != {(batch,)}
    ):
        raise ValueError(
            'rnnt_joint_loss takes encoded [B,T,D], predicted [B,U+1,D], logit_lengths [B], labels [B,U] and '
            f'label_lengths [B], not {encoded.shape}, {predicted.shape}, {logit_lengths.shape}, {labels.shape} and '
            f'{label_lengths.shape}.'
        )
    encoded, predicted = zero_padding(encoded, logit_lengths), zero_padding(predicted, label_lengths + 1)
    labels = jnp.pad(labels, ((0, 0), (0, 1)))

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(_NORMALISER))
    def chunk_log_probs(frames: jax.Array) -> _Pair:
        return _log_probs(join(frames, predicted), labels, blank_id)

    padded = jnp.pad(encoded, ((0, 0), (0, -time % chunk), (0, 0)))
    chunks = padded.reshape(batch, -1, chunk, encoded.shape[-1]).swapaxes(0, 1)
    blank, label = (
        x.swapaxes(0, 1).reshape(batch, -1, labels.shape[1])[:, :time] for x in jax.lax.map(chunk_log_probs, chunks)
    )
    return rnnt_path_loss(blank, label, logit_lengths, label_lengths)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _log_probs(logits: jax.Array, labels: jax.Array, blank_id: int) -> _Pair:
    """Log-probabilities of the blank and of the next label, both `[batch, time, label]`, for `labels [batch, label]`.

    Its gradient is written in one pass over the logits, instead of one for the softmax and one for each of the two.
    """
    return _log_probs_forward(logits, labels, blank_id)[0]


def _log_probs_forward(logits: jax.Array, labels: jax.Array, blank_id: int) -> tuple[_Pair, tuple[jax.Array, ...]]:
    if not 0 <= blank_id < logits.shape[-1]:
        raise ValueError(f'blank_id is {blank_id}, but has to be one of the {logits.shape[-1]} of the vocabulary.')
    normaliser = checkpoint_name(jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1), _NORMALISER)
    label = jnp.take_along_axis(logits, labels[:, None, :, None], axis=-1)[..., 0]
    blank, label = (x.astype(jnp.float32) - normaliser for x in (logits[..., blank_id], label))
    return (blank, label), (logits, labels, normaliser)


def _log_probs_backward(blank_id: int, saved: tuple[jax.Array, ...], grads: _Pair) -> tuple[jax.Array, None]:
    logits, labels, normaliser = saved
    blank, label = (grad[..., None] for grad in grads)
    visits = blank + label
    ids = jnp.arange(logits.shape[-1])[None, None, None]
    picked = jnp.where(ids == blank_id, blank, 0) + jnp.where(ids == labels[:, None, :, None], label, 0)
    probs = jnp.exp(logits.astype(jnp.float32) - normaliser[..., None])
    # What no path visits is padding, or as good as that; its logits may be anything.
    return jnp.where(visits != 0, picked - visits * probs, 0).astype(logits.dtype), None


_log_probs.defvjp(_log_probs_forward, _log_probs_backward)


def rnnt_path_loss(blank: jax.Array, label: jax.Array, logit_lengths: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """`rnnt_loss` of log-probabilities `[batch, time, label + 1]`: of the blank and of the next label in each place."""
    feasible = rnnt_feasible(logit_lengths, label_lengths)
    # An infeasible row is scored as no frames with no labels, whose loss is 0.
    label_lengths = jnp.where(feasible, label_lengths, 0)
    return jnp.where(feasible, -_log_likelihood(blank, label, logit_lengths, label_lengths), 0.0)


@jax.custom_vjp
def _log_likelihood(
    blank: jax.Array, label: jax.Array, logit_lengths: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """Log of the probability of all paths `[batch]`, from the log-probabilities of steps, `[batch, time, label + 1]`.

    A path begins at frame 0 and position 0, goes to the next frame by a blank and to the next position by a label, and
    ends by a blank at the last valid frame and position. Its n-th step starts on anti-diagonal n, where frame and
    position add up to n, so that everything on one diagonal follows from the one before it.
    """
    return _log_likelihood_forward(blank, label, logit_lengths, label_lengths)[0]


def _log_likelihood_forward(
    blank: jax.Array, label: jax.Array, logit_lengths: jax.Array, label_lengths: jax.Array
) -> tuple[jax.Array, _Pair]:
    """The gradient is each step's probability given the labels: alpha · step · beta, divided by the likelihood.

    The recursions add and multiply, and take no logarithm. To stay within the range of float32, alpha is divided by an
    estimate of it, e^s, and beta, over the likelihood, multiplied by it; a step from s to s' then has the factor
    e^(s + log-probability - s') in both of them. The estimate need not be good, since it cancels: float32 has digits
    enough for rows of any length.
    """
    stay, move = _diagonals(blank, label, logit_lengths, label_lengths)
    stay, move, log_scale = _rescale(stay, move)
    first, last = (
        jnp.arange(blank.shape[2])[None] == x[:, None] for x in (jnp.zeros_like(label_lengths), label_lengths)
    )

    def forwards(alpha: jax.Array, step: _Pair) -> _Pair:
        stay, move = step
        return _bounded(alpha * stay + _next(alpha * move)), alpha

    def backwards(beta: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, _Pair]:
        stay, move, alpha = step
        moved = move * _before(beta)
        return _bounded(stay * beta + moved), (alpha * (stay * beta), alpha * moved)

    ends, alpha = jax.lax.scan(forwards, first.astype(jnp.float32), (stay, move))
    possible = last & (ends > 1 / _LARGEST)
    ends = jnp.where(possible, ends, 1.0)
    _, probs = jax.lax.scan(backwards, jnp.where(possible, 1 / ends, 0.0), (stay, move, alpha), reverse=True)
    valid = length_mask(logit_lengths, blank.shape[1])[..., None]  # after its last step a row only stays
    blank_prob, label_prob = (jnp.where(valid, jnp.minimum(_from_diagonals(x), 1.0), 0.0) for x in probs)
    log_likelihood = jnp.where(last, jnp.log(ends) + log_scale, 0.0).sum(axis=1)
    return log_likelihood, (blank_prob, label_prob)


def _log_likelihood_backward(probs: _Pair, grad: jax.Array) -> tuple[jax.Array | None, ...]:
    blank_prob, label_prob = (grad[:, None, None] * prob for prob in probs)
    return blank_prob, label_prob, None, None


_log_likelihood.defvjp(_log_likelihood_forward, _log_likelihood_backward)


def _diagonals(blank: jax.Array, label: jax.Array, logit_lengths: jax.Array, label_lengths: jax.Array) -> _Pair:
    """Log-probabilities of staying at a position and of moving on, `[diagonal, batch, label + 1]`.

    Steps from outside a row's frames and labels are impossible; from the diagonal where its paths end on, staying is
    certain.
    """
    _, time, size = blank.shape
    diagonal, position = jnp.arange(time + size - 1)[:, None, None], jnp.arange(size)[None, None]
    frame, frames, labels = diagonal - position, logit_lengths[None, :, None], label_lengths[None, :, None]
    in_time = (frame >= 0) & (frame < frames)
    stay = jnp.where(in_time & (position <= labels), jnp.maximum(_to_diagonals(blank), _NEVER), _NEVER)
    move = jnp.where(in_time & (position < labels), jnp.maximum(_to_diagonals(label), _NEVER), _NEVER)
    return jnp.where(diagonal < frames + labels, stay, 0.0), move


def _to_diagonals(x: jax.Array) -> jax.Array:
    """`[batch, time, position]` -> `[diagonal, batch, position]`: what was at `[b, n - u, u]` is at `[n, b, u]`.

    Where there is no frame `n - u`, it is anything.
    """
    _, time, size = x.shape
    frames = jnp.arange(time + size - 1)[:, None] - jnp.arange(size)[None]
    return jnp.take_along_axis(x, frames[None], axis=1, mode='clip').swapaxes(0, 1)


def _from_diagonals(x: jax.Array) -> jax.Array:
    """The inverse of `_to_diagonals`."""
    diagonals, _, size = x.shape
    places = jnp.arange(diagonals + 1 - size)[:, None] + jnp.arange(size)[None]
    return jnp.take_along_axis(x.swapaxes(0, 1), places[None], axis=1, mode='clip')


def _rescale(stay: jax.Array, move: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Probabilities of steps between states that are each divided by an estimate of their probability.

    Args:
      stay: log-probabilities of staying at each position `[diagonal, batch, position]`; a path begins at the first.
      move: the same of moving on to the next.

    Returns:
      Both as rescaled probabilities, and the log of what the states after the last diagonal are divided by, `[batch,
      position]`.
    """

    def forwards(log_scale: jax.Array, step: _Pair) -> _Pair:
        stay, move = step
        reached = _rough_logaddexp(log_scale + stay, _next(log_scale + move, _NEVER))
        return jnp.maximum(reached, _NEVER), log_scale

    start = jnp.full(stay.shape[1:], _NEVER).at[:, 0].set(0.0)
    end, before = jax.lax.scan(forwards, start, (stay, move))
    after = jnp.concatenate([before[1:], end[None]])
    # The difference first: its terms are thousands of nats, but close to each other, and it is exact. Only between
    # states as good as impossible is it not, and the exponent more than 0.
    stay, move = (
        jnp.exp(jnp.minimum(before - scale + step, 1.0)) for scale, step in ((after, stay), (_before(after), move))
    )
    return stay, move, end


def _rough_logaddexp(x: jax.Array, y: jax.Array) -> jax.Array:
    """`logaddexp` up to 0.0035: far cheaper, and off by less than 80 after 20,000 sums one after the other."""
    return jnp.maximum(x, y) + math.log(2) * jnp.maximum(0.0, 1 - jnp.abs(x - y) / 10.6) ** 8


def _bounded(x: jax.Array) -> jax.Array:
    """`x`, which is about 1 unless it belongs to a state as good as impossible, kept from becoming infinite."""
    return jnp.minimum(x, _LARGEST)


def _next(x: jax.Array, first: float = 0.0) -> jax.Array:
    """`[..., position]` moved on by one position."""
    return jnp.pad(x[..., :-1], [(0, 0)] * (x.ndim - 1) + [(1, 0)], constant_values=first)


def _before(x: jax.Array) -> jax.Array:
    """`[..., position]` moved back by one position."""
    return jnp.pad(x[..., 1:], [(0, 0)] * (x.ndim - 1) + [(0, 1)])
