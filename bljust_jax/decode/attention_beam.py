"""Beam search with an attention decoder and, if there is a CTC branch, CTC's prefix scores (arXiv 1609.06773).

Labellings grow label by label. Those kept are the ones with the largest

    λ log ψ(l) + (1 − λ) Σ log p_att(label | labels before it, audio) + α log p_LM(l) + Σ bonus(labels of l),

where ψ is CTC's probability of all labellings that begin with l (`bljust_jax.decode.ctc_prefix`). A labelling that ends
is scored by CTC's likelihood of itself, and by the decoder's and the language model's probability of the end.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.decode import ctc_prefix
from bljust_jax.decode.hypotheses import Hypotheses, language_of
from bljust_jax.lm.table import NgramTable
from bljust_jax.models.attention_decoder import BOUNDARY, AttentionDecoder, Past
from bljust_jax.types import Params


class _Search(NamedTuple):
    """The hypotheses that go on, all of `position` labels, and the best of those that have ended.

    Attributes:
      position: int32 scalar.
      labels: `[batch, beam, max_labels]`, filled up with `BOUNDARY`.
      source: the place in `past`, `state` and `prefixes` that each continues `[batch, beam]`.
      scores: in all `[batch, beam]`; -inf for none.
      attention, language: the decoder's part of it, and that of language model and bonus `[batch, beam]`.
      state: of the language model `[batch, beam]`.
      greedy: whether the first place still follows the best label of every step `[batch]`.
      past: of the decoder.
      prefixes: of CTC; None without it.
      ended: the best `Hypotheses` so far.
    """

    position: jax.Array
    labels: jax.Array
    source: jax.Array
    scores: jax.Array
    attention: jax.Array
    language: jax.Array
    state: jax.Array
    greedy: jax.Array
    past: Past
    prefixes: ctc_prefix.Prefixes | None
    ended: Hypotheses


def attention_beam(
    decoder: AttentionDecoder,
    params: Params,
    hidden: jax.Array,
    lengths: jax.Array,
    *,
    ctc_logits: jax.Array | None = None,
    ctc_weight: float | jax.Array = 0.3,
    beam: int = 8,
    best: int | None = None,
    lm: NgramTable | None = None,
    lm_weight: float | jax.Array = 0.5,
    bonus: float | jax.Array = 0.0,
    labels_per_frame: float = 1.0,
) -> Hypotheses:
    """The most probable labellings of `hidden [batch, time, width]` within `lengths [batch]`.

    A beam of 1 is greedy decoding: the best label of every step, until the end is better. With a wider one, the first
    place still goes on like this, so that it never finds less. The search ends where no labelling that goes on could
    be among the best that are returned.

    Args:
      decoder: with blank and end at id 0 (`BOUNDARY`).
      params: its parameters.
      hidden: frames of the encoder.
      lengths: valid frames.
      ctc_logits: those of a CTC head over the same labels `[batch, time, vocab]`; None for the decoder alone.
      ctc_weight: λ, unused without them.
      beam: labellings kept at each step. Under jit, a static argument like all that are no arrays or weights.
      best: number of labellings returned, `beam` by default. The fewer, the earlier the search can end.
      lm: language model over the labels (`bljust_jax.lm.ngram_table`), whose end-of-sentence probability counts too.
      lm_weight: α, of its log-probabilities, 0 or more.
      bonus: added for each label, a number or one for each label `[vocab]`.
      labels_per_frame: of the longest labelling considered, which has at least one label if there is a frame.

    Raises:
      ValueError: if the shapes do not fit together, or the beam is empty.
    """
    vocab, best = decoder.vocab_size, beam if best is None else best
    _check(hidden, lengths, ctc_logits, vocab, beam, best, labels_per_frame)
    lm, bonus = language_of(lm, bonus, vocab, needing=f'{vocab} labels need')
    batch, time = hidden.shape[:2]
    max_labels = math.ceil(labels_per_frame * time)
    limits = jnp.ceil(labels_per_frame * lengths.astype(jnp.float32)).clip(max=max_labels)
    log_probs = None if ctc_logits is None else ctc_prefix.frame_log_probs(ctc_logits, lengths)
    weight = jnp.asarray(0.0 if ctc_logits is None else ctc_weight, jnp.float32)
    rows, ids = jnp.arange(batch)[:, None], jnp.arange(vocab)

    def start() -> _Search:
        nowhere = jnp.full((batch, beam), -jnp.inf)
        return _Search(
            position=jnp.int32(0),
            labels=jnp.full((batch, beam, max_labels), BOUNDARY, jnp.int32),
            source=jnp.broadcast_to(jnp.arange(beam, dtype=jnp.int32)[None], (batch, beam)),
            scores=nowhere.at[:, 0].set(0.0),
            attention=jnp.zeros((batch, beam)),
            language=jnp.zeros((batch, beam)),
            state=jnp.full((batch, beam), lm.start),
            greedy=jnp.full(batch, True),
            past=decoder.apply({'params': params}, hidden, lengths, beam, max_labels + 1, method='start'),
            prefixes=None if log_probs is None else ctc_prefix.empty_prefix(log_probs, beam),
            ended=Hypotheses(
                jnp.full((batch, best, max_labels), BOUNDARY, jnp.int32),
                jnp.zeros((batch, best), jnp.int32),
                jnp.full((batch, best), -jnp.inf),
            ),
        )

    def goes_on(search: _Search) -> jax.Array:
        """No part of a score grows with further labels, but for the bonus."""
        room = limits - search.position.astype(jnp.float32)
        hope = search.scores.max(axis=1) + jnp.maximum(bonus.max(), 0.0) * room
        return (hope > search.ended.scores[:, -1]).any()

    def step(search: _Search) -> _Search:
        position = search.position
        last = jnp.where(position > 0, search.labels[:, :, position - 1], BOUNDARY)
        logits, past = decoder.apply({'params': params}, search.past, last, position, search.source, method='step')
        attention = search.attention[..., None] + jax.nn.log_softmax(logits)
        gains = lm_weight * lm.scores[search.state] + bonus[None, None]
        gains = gains.at[..., BOUNDARY].set(lm_weight * lm.final[search.state])
        language = search.language[..., None] + gains
        scores = (1.0 - weight) * attention + language
        if log_probs is not None and search.prefixes is not None:
            ctc = ctc_prefix.continued(log_probs, search.prefixes, last)
            ctc = ctc.at[..., BOUNDARY].set(ctc_prefix.whole(search.prefixes))
            scores += jnp.where(weight > 0, weight * ctc, 0.0)
        has_room = (position.astype(jnp.float32) < limits)[:, None, None]
        alive = (search.scores > -jnp.inf)[..., None]
        scores = jnp.where(alive & (has_room | (ids == BOUNDARY)[None, None]), scores, -jnp.inf)

        # The best continuation of the greedy one comes first, whatever the others are.
        is_best = ids[None] == jnp.argmax(scores[:, 0], axis=-1)[:, None]
        ranked = scores.at[:, 0].set(jnp.where(search.greedy[:, None] & is_best, jnp.inf, scores[:, 0]))
        chosen = jax.lax.top_k(ranked.reshape(batch, -1), beam)[1]
        source, label = jnp.divmod(chosen, vocab)
        taken = scores[rows, source, label]
        ends = label == BOUNDARY

        labels = search.labels[rows, source]
        ending = Hypotheses(labels, jnp.full((batch, beam), position), jnp.where(ends, taken, -jnp.inf))
        prefixes = None
        if log_probs is not None and search.prefixes is not None:
            sources = ctc_prefix.Prefixes(*(x[rows, source] for x in search.prefixes))
            prefixes = ctc_prefix.extend(log_probs, sources, last[rows, source], label)
        return _Search(
            position=position + 1,
            labels=labels.at[:, :, position].set(label, mode='drop'),
            source=source,
            scores=jnp.where(ends, -jnp.inf, taken),
            attention=attention[rows, source, label],
            language=language[rows, source, label],
            state=lm.next[search.state[rows, source], label],
            greedy=search.greedy & ~ends[:, 0],
            past=past,
            prefixes=prefixes,
            ended=_best_of(search.ended, ending),
        )

    return jax.lax.while_loop(goes_on, step, start()).ended


def _best_of(one: Hypotheses, other: Hypotheses) -> Hypotheses:
    """The best of both, as many as in `one`."""
    labels, lengths, scores = (jnp.concatenate(pair, axis=1) for pair in zip(one, other, strict=True))
    scores, order = jax.lax.top_k(scores, one.scores.shape[1])
    found = scores > -jnp.inf
    labels = jnp.take_along_axis(labels, order[..., None], axis=1)
    lengths = jnp.take_along_axis(lengths, order, axis=1)
    return Hypotheses(jnp.where(found[..., None], labels, BOUNDARY), jnp.where(found, lengths, 0), scores)


def _check(
    hidden: jax.Array,
    lengths: jax.Array,
    ctc_logits: jax.Array | None,
    vocab: int,
    beam: int,
    best: int,
    labels_per_frame: float,
) -> None:
    if hidden.ndim != 3 or lengths.shape != hidden.shape[:1]:
        raise ValueError(
            f'attention_beam takes hidden [B,T,D] and lengths [B], not {hidden.shape} and {lengths.shape}.'
        )
    if ctc_logits is not None and ctc_logits.shape != (*hidden.shape[:2], vocab):
        raise ValueError(
            f'hidden {hidden.shape} and {vocab} labels need ctc_logits {(*hidden.shape[:2], vocab)}, '
            f'not {ctc_logits.shape}.'
        )
    if beam < 1 or best < 1 or labels_per_frame <= 0:
        raise ValueError(
            'attention_beam takes a beam, best and labels_per_frame above 0, '
            f'not {beam}, {best} and {labels_per_frame}.'
        )
