"""What beam searches return, and what they have in common."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.lm.table import NgramTable, no_language
from bljust_jax.masking import length_mask


class Hypotheses(NamedTuple):
    """What a beam search found, best first.

    Attributes:
      labels: int32 `[batch, beam, max_labels]`, filled up with the blank.
      label_lengths: int32 `[batch, beam]`.
      scores: float32 `[batch, beam]`, in nats; -inf where there are fewer labellings than the beam is wide.
    """

    labels: jax.Array
    label_lengths: jax.Array
    scores: jax.Array

    @property
    def best(self) -> tuple[jax.Array, jax.Array]:
        """The first one of each row: labels `[batch, max_labels]` and their numbers `[batch]`."""
        return self.labels[:, 0], self.label_lengths[:, 0]


def language_of(
    lm: NgramTable | None, bonus: float | jax.Array, vocab: int, *, needing: str
) -> tuple[NgramTable, jax.Array]:
    """The language model of a search, or one that says nothing, and the bonus of each label, float32 `[vocab]`.

    Args:
      lm: the model, if there is one.
      bonus: a number, or one for each label `[vocab]`.
      vocab: number of labels.
      needing: who needs them, to begin an error with, such as `'3 labels need'`.

    Raises:
      ValueError: if they are for another number of labels.
    """
    lm = no_language(vocab) if lm is None else lm
    bonus = jnp.asarray(bonus, jnp.float32)
    if lm.scores.shape[1] != vocab or bonus.shape not in ((), (vocab,)):
        raise ValueError(
            f'{needing} a language model and a bonus of as many labels, not {lm.scores.shape} and {bonus.shape}.'
        )
    return lm, jnp.broadcast_to(bonus, (vocab,))


def language_score(
    labels: jax.Array, counts: jax.Array, lm: NgramTable, lm_weight: float | jax.Array, bonus: jax.Array
) -> jax.Array:
    """What language model and bonus add to the score of whole labellings `[batch, label]`."""

    def read(carry: tuple[jax.Array, jax.Array], column: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        (state, gain), (label, valid) = carry, column
        gain += jnp.where(valid, lm_weight * lm.scores[state, label] + bonus[label], 0.0)
        return (jnp.where(valid, lm.next[state, label], state), gain), None

    start = jnp.full(counts.shape, lm.start), jnp.zeros(counts.shape)
    (state, gain), _ = jax.lax.scan(read, start, (labels.T, length_mask(counts, labels.shape[1]).T))
    return gain + lm_weight * lm.final[state]


def shared_labels(labels: jax.Array, shared: jax.Array, source: jax.Array, *, blank_id: int = 0) -> jax.Array:
    """With how many labels two hypotheses begin alike `[beam, beam]`, after each may have read one more.

    Args:
      labels: `[beam, max_labels + 1]`, filled up with the blank; the last column is always blank.
      shared: the same of the hypotheses before `[beam', beam']`.
      source: which of those each hypothesis was `[beam]`.
      blank_id: the blank's id.
    """
    shared = shared[source][:, source]
    following = jnp.take_along_axis(labels, shared, axis=1)
    return shared + ((following == following.T) & (following != blank_id)).astype(jnp.int32)


def with_greedy(
    hypotheses: Hypotheses,
    exact: Callable[[jax.Array, jax.Array], jax.Array],
    greedy: jax.Array,
    counts: jax.Array,
    *,
    blank_id: int = 0,
) -> Hypotheses:
    """Puts the labelling `greedy [batch, label]` first in the rows where its exact score is above the first one's."""
    labels, lengths, scores = hypotheses
    beam, max_labels = labels.shape[1:]
    fits = counts <= max_labels
    counts = jnp.where(fits, counts, 0)
    missing = max(0, max_labels - greedy.shape[1])
    greedy = jnp.pad(greedy, ((0, 0), (0, missing)), constant_values=blank_id)[:, :max_labels]
    score = exact(greedy, counts)
    first = fits & (score > exact(labels[:, 0], lengths[:, 0]))

    # It takes the place that it has in the beam, or the last one, and those before move back by one.
    same = (lengths == counts[:, None]) & (labels == greedy[:, None]).all(axis=2) & (scores > -jnp.inf)
    place = jnp.where(same.any(axis=1), same.argmax(axis=1), beam - 1)
    places = jnp.arange(beam)[None]
    order = jnp.where(first[:, None] & (places <= place[:, None]), jnp.maximum(places - 1, 0), places)
    taken = first[:, None] & (places == 0)
    return Hypotheses(
        jnp.where(taken[..., None], greedy[:, None], jnp.take_along_axis(labels, order[..., None], axis=1)),
        jnp.where(taken, counts[:, None], jnp.take_along_axis(lengths, order, axis=1)),
        jnp.where(taken, score[:, None], jnp.take_along_axis(scores, order, axis=1)),
    )
