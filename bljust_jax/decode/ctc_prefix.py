"""CTC's score of labellings that begin alike, label by label (Watanabe et al., 2017, algorithm 2; arXiv 1609.06773).

Of every prefix g, the log-probabilities of all paths over the first t frames that read it are kept, apart for those
that end in its last label, n(g, t), and in a blank, b(g, t). The probability of all labellings that begin with g c is
that of reading g and then c, for the first time at some frame:

    ψ(g c) = Σ_t φ(t) y_t(c),      φ(t) = b(g, t−1) + [c ≠ last of g] n(g, t−1)
    n(g c, t) = (n(g c, t−1) + φ(t)) y_t(c)
    b(g c, t) = (b(g c, t−1) + n(g c, t−1)) y_t(blank)

Both recursions are linear, x(t) = a(t) x(t−1) + b(t), and are solved for all t at once by an associative scan.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.masking import length_mask


class Prefixes(NamedTuple):
    """Log-probabilities of the paths over the first 0, 1, ... frames that read a prefix `[batch, beam, 1 + time]`."""

    on_label: jax.Array
    on_blank: jax.Array


def frame_log_probs(logits: jax.Array, lengths: jax.Array, *, blank_id: int = 0) -> jax.Array:
    """float32 `[batch, time, vocab]`; the blank is certain after `lengths`, which leaves all prefixes as they are."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    padding = jnp.where(jnp.arange(logits.shape[2]) == blank_id, 0.0, -jnp.inf)[None, None]
    return jnp.where(length_mask(lengths, logits.shape[1])[..., None], log_probs, padding)


def empty_prefix(log_probs: jax.Array, beam: int, *, blank_id: int = 0) -> Prefixes:
    """Before the first label, in each place of the beam."""
    batch, time, _ = log_probs.shape
    on_blank = jnp.pad(jnp.cumsum(log_probs[..., blank_id], axis=1), ((0, 0), (1, 0)))
    shape = (batch, beam, time + 1)
    return Prefixes(jnp.full(shape, -jnp.inf), jnp.broadcast_to(on_blank[:, None], shape))


def whole(prefixes: Prefixes) -> jax.Array:
    """Log-likelihood of each prefix as a whole labelling `[batch, beam]`."""
    return jnp.logaddexp(prefixes.on_label[..., -1], prefixes.on_blank[..., -1])


def continued(log_probs: jax.Array, prefixes: Prefixes, last: jax.Array) -> jax.Array:
    """Log ψ of each prefix with each label after it `[batch, beam, vocab]`; that of the blank means nothing.

    `last [batch, beam]` is the last label of each prefix, the blank for the empty one.
    """
    before = Prefixes(*(x[..., :-1] for x in prefixes))
    either = jnp.logaddexp(*before)
    scores = jax.nn.logsumexp(either[..., None] + log_probs[:, None], axis=2)
    again = jax.nn.logsumexp(before.on_blank + _of_labels(log_probs, last), axis=2)
    is_last = jnp.arange(log_probs.shape[2])[None, None] == last[..., None]
    return jnp.where(is_last, again[..., None], scores)


def extend(
    log_probs: jax.Array, prefixes: Prefixes, last: jax.Array, labels: jax.Array, *, blank_id: int = 0
) -> Prefixes:
    """Each prefix with one of `labels [batch, beam]` after it; `last` as in `continued`."""
    again = (labels == last)[..., None]
    first = jnp.where(again, prefixes.on_blank, jnp.logaddexp(*prefixes))[..., :-1]
    label = _of_labels(log_probs, labels)
    blank = jnp.broadcast_to(log_probs[:, None, :, blank_id], label.shape)
    on_label = _linear_recursion(label, first + label)
    on_blank = _linear_recursion(blank, on_label[..., :-1] + blank)
    return Prefixes(on_label, on_blank)


def _of_labels(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
    """`log_probs` of one label for each prefix `[batch, beam, time]`."""
    return jnp.take_along_axis(log_probs, labels[:, None], axis=2).swapaxes(1, 2)


def _linear_recursion(factor: jax.Array, summand: jax.Array) -> jax.Array:
    """`x(t) = factor(t) x(t−1) + summand(t)` over the last axis, in logarithms; it begins with x(0), which is 0."""

    def compose(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] + then[0], jnp.logaddexp(then[0] + first[1], then[1])

    _, x = jax.lax.associative_scan(compose, (factor, summand), axis=-1)
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0)), constant_values=-jnp.inf)
