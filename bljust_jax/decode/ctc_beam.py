"""CTC prefix beam search, with an n-gram language model if there is one.

For every prefix l in the beam, two probabilities are kept: of all paths so far that read l and end in a blank, and of
those that end in l's last label (Graves, 2012, section 7.5; Hannun et al., arXiv 1408.2873, algorithm 1):

    p_b(l, t) = y_t(blank) (p_b + p_n)(l, t−1)
    p_n(l, t) = y_t(c) p_n(l, t−1) + y_t(c) (p_b + [c ≠ last of l'] p_n)(l', t−1)        with l = l' c

and the prefixes kept are those with the largest  log (p_b + p_n)(l, t) + α log p_LM(l) + Σ bonus(labels of l).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.decode.hypotheses import Hypotheses, language_of, language_score, shared_labels, with_greedy
from bljust_jax.lm.table import NgramTable
from bljust_jax.losses import ctc_loss
from bljust_jax.losses.supervised.ctc import ctc_greedy
from bljust_jax.masking import length_mask

_LEAST = -1e30  # finite, where every prefix is impossible


class _Beam(NamedTuple):
    """The prefixes of one row.

    Attributes:
      labels: `[beam, max_labels + 1]`, filled up with the blank; the last column is always blank.
      lengths: labels of each `[beam]`.
      shared: with how many labels two prefixes begin alike `[beam, beam]`.
      on_blank, on_label: log p_b and log p_n `[beam]`.
      state: of the language model `[beam]`.
      language: what language model and bonus add to the score `[beam]`.
    """

    labels: jax.Array
    lengths: jax.Array
    shared: jax.Array
    on_blank: jax.Array
    on_label: jax.Array
    state: jax.Array
    language: jax.Array


def ctc_beam(
    logits: jax.Array,
    lengths: jax.Array,
    *,
    beam: int = 8,
    lm: NgramTable | None = None,
    lm_weight: float | jax.Array = 0.5,
    bonus: float | jax.Array = 0.0,
    max_labels: int | None = None,
    at_least_greedy: bool = True,
    blank_id: int = 0,
) -> Hypotheses:
    """The most probable labellings of `logits [batch, time, vocab]` within `lengths [batch]`.

    Without a language model, a score is a lower bound of the labelling's log-likelihood, its exact value if the beam
    has lost none of the labelling's prefixes on the way. Equal prefixes are always merged.

    Args:
      logits: unnormalised; computed on in float32.
      lengths: valid frames.
      beam: prefixes kept after every frame. Under jit, a static argument like all that are no arrays or weights.
      lm: language model over the labels (`bljust_jax.lm.ngram_table`), whose end-of-sentence probability counts too.
      lm_weight: α, of its log-probabilities.
      bonus: added for each label, a number or one for each label `[vocab]`: a word insertion bonus is that of labels
        that begin a word.
      max_labels: longest labelling considered; by default the number of frames.
      at_least_greedy: a beam can lose the likeliest labelling, and where the model is unsure, it sometimes loses one
        that `ctc_greedy` finds. If that one's exact score is above that of the best hypothesis, it comes first.
      blank_id: the blank's id, 0 with a language model.

    Raises:
      ValueError: if the shapes do not fit together, or the beam is empty.
    """
    if logits.ndim != 3 or lengths.shape != logits.shape[:1]:
        raise ValueError(f'ctc_beam takes logits [B,T,V] and lengths [B], not {logits.shape} and {lengths.shape}.')
    _, time, vocab = logits.shape
    if lm is not None and blank_id:
        raise ValueError(f'A language model takes label 0 for the blank, not blank_id={blank_id}.')
    max_labels = time if max_labels is None else max_labels
    if beam < 1 or max_labels < 0:
        raise ValueError(
            f'ctc_beam takes a beam of 1 or more and max_labels of 0 or more, not {beam} and {max_labels}.'
        )
    lm, bonus = language_of(lm, bonus, vocab, needing=f'logits {logits.shape} need')
    ids = jnp.arange(vocab)

    def step(row: _Beam, log_probs: jax.Array) -> tuple[_Beam, jax.Array]:
        total = jnp.logaddexp(row.on_blank, row.on_label)
        alive = total > -jnp.inf
        last = jnp.take_along_axis(row.labels, jnp.maximum(row.lengths - 1, 0)[:, None], axis=1)[:, 0]
        extended = jnp.where(ids[None] == last[:, None], row.on_blank[:, None], total[:, None]) + log_probs[None]
        extended = jnp.where((row.lengths == max_labels)[:, None], -jnp.inf, extended)

        # Where a prefix is another's child, the parent's extension by the child's last label is the child.
        is_child = (row.shared == row.lengths[:, None]) & (row.lengths[None] == row.lengths[:, None] + 1)
        is_child &= alive[:, None] & alive[None]
        arriving = jnp.where(is_child, extended[:, last], -jnp.inf).max(axis=0)
        parent = jnp.where(is_child.any(axis=0), is_child.argmax(axis=0), beam)
        extended = extended.at[parent, last].set(-jnp.inf, mode='drop')
        on_blank = total + log_probs[blank_id]
        on_label = jnp.logaddexp(row.on_label + log_probs[last], arriving)

        # The blank's column stands for the prefix as it is.
        gains = (lm_weight * lm.scores[row.state] + bonus[None]).at[:, blank_id].set(0.0)
        extended = extended.at[:, blank_id].set(jnp.logaddexp(on_blank, on_label))
        score, chosen = jax.lax.top_k((extended + gains + row.language[:, None]).reshape(-1), beam)
        source, label = jnp.divmod(chosen, vocab)
        found = score > -jnp.inf
        label = jnp.where(found, label, blank_id)
        stays = label == blank_id
        acoustic = jnp.where(found, extended[source, label], -jnp.inf)
        # As in the loss: the likelihood of all frames so far, which is the same for all, would cost float32 its digits.
        best = jnp.maximum(acoustic.max(), _LEAST)
        on_blank = jnp.where(found & stays, on_blank[source], -jnp.inf) - best
        on_label = jnp.where(found & stays, on_label[source], acoustic) - best

        labels = row.labels[source].at[jnp.arange(beam), row.lengths[source]].set(label)
        shared = shared_labels(labels, row.shared, source, blank_id=blank_id)
        state, language = lm.next[row.state[source], label], row.language[source] + gains[source, label]
        lengths = row.lengths[source] + jnp.where(stays, 0, 1)
        return _Beam(labels, lengths, shared, on_blank, on_label, state, language), best

    def search(log_probs: jax.Array) -> Hypotheses:
        labels = jnp.full((beam, max_labels + 1), blank_id, jnp.int32)
        zeros, nowhere = jnp.zeros(beam, jnp.int32), jnp.full(beam, -jnp.inf)
        shared, states = jnp.zeros((beam, beam), jnp.int32), jnp.full(beam, lm.start)
        row = _Beam(labels, zeros, shared, nowhere.at[0].set(0.0), nowhere, states, jnp.zeros(beam))
        row, bests = jax.lax.scan(step, row, log_probs)
        total = jnp.logaddexp(row.on_blank, row.on_label) + bests.sum()
        scores, order = jax.lax.top_k(total + row.language + lm_weight * lm.final[row.state], beam)
        found = scores > -jnp.inf
        labels = jnp.where(found[:, None], row.labels[order, :max_labels], blank_id)
        return Hypotheses(labels, jnp.where(found, row.lengths[order], 0), scores)

    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    # In padded frames the blank is certain, which leaves every prefix and its probability as they are.
    padding = jnp.where(ids == blank_id, 0.0, -jnp.inf)[None, None]
    log_probs = jnp.where(length_mask(lengths, time)[..., None], log_probs, padding)
    hypotheses = jax.vmap(search)(log_probs)
    if not at_least_greedy:
        return hypotheses

    def exact(labels: jax.Array, counts: jax.Array) -> jax.Array:
        likelihood = -ctc_loss(logits, lengths, labels, counts, blank_id=blank_id)
        return likelihood + language_score(labels, counts, lm, lm_weight, bonus)

    greedy = ctc_greedy(logits, lengths, blank_id=blank_id)
    return with_greedy(hypotheses, exact, *greedy, blank_id=blank_id)
