"""Time-synchronous beam search for RNN-T, with an n-gram language model if there is one.

In a frame, a hypothesis is in one of two places: still in it, after some of its labels, or out of it by a blank (Saon
et al., ICASSP 2020, after Graves, arXiv 1211.3711). With y(k) the probability in frame t of label k after ℓ, p(ℓ)
that of the paths that enter the frame having read ℓ, and p_n(ℓ) that of those that have read n of its labels in it,

    p_0(ℓ) = p(ℓ)        p_n(ℓk) = y(k) p_{n−1}(ℓ)        p'(ℓ) = Σ_n y(blank) p_n(ℓ)

for n up to `max_symbols`. p' enters the next frame; it is merged over all n. After each n, the hypotheses kept in each
place are those with the largest  log p(ℓ) + α log p_LM(ℓ) + Σ bonus(labels of ℓ).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.decode.hypotheses import Hypotheses, language_of, language_score, shared_labels, with_greedy
from bljust_jax.decode.rnnt_greedy import check_arguments, rnnt_greedy
from bljust_jax.lm.table import NgramTable
from bljust_jax.masking import length_mask
from bljust_jax.models.transducer import Transducer
from bljust_jax.types import Params, PyTree

_LEAST = -1e30  # finite, where every hypothesis is impossible


class _Beam(NamedTuple):
    """Hypotheses of one row, all different but for those that are impossible.

    Attributes:
      labels: `[beam, max_labels + 1]`, filled up with the blank; the last column is always blank.
      lengths: labels of each `[beam]`.
      score: log p `[beam]`; -inf if impossible.
      language: what language model and bonus add to it `[beam]`.
      words: state of the language model `[beam]`.
      state, predicted: state of the prediction network, and what the joiner takes of it, `[beam, ...]`.
    """

    labels: jax.Array
    lengths: jax.Array
    score: jax.Array
    language: jax.Array
    words: jax.Array
    state: PyTree
    predicted: jax.Array


def rnnt_beam(
    transducer: Transducer,
    params: Params,
    hidden: jax.Array,
    lengths: jax.Array,
    *,
    beam: int = 8,
    max_symbols: int = 3,
    lm: NgramTable | None = None,
    lm_weight: float | jax.Array = 0.5,
    bonus: float | jax.Array = 0.0,
    max_labels: int | None = None,
    at_least_greedy: bool = True,
) -> Hypotheses:
    """The most probable labellings of `hidden [batch, time, width]` within `lengths [batch]`.

    Without a language model, a score is a lower bound of the labelling's log-likelihood: of the paths with at most
    `max_symbols` labels in a frame, those that went through no prefix that the beam has lost. Equal hypotheses are
    always merged.

    Args:
      transducer: the head, whose label 0 is the blank.
      params: its parameters.
      hidden: frames of the encoder.
      lengths: valid frames.
      beam: hypotheses kept in each of a frame's two places. Under jit, a static argument like all that are no arrays
        or weights.
      max_symbols: labels in one frame at most. The prediction network is evaluated that often for each frame.
      lm: language model over the labels (`bljust_jax.lm.ngram_table`), whose end-of-sentence probability counts too.
      lm_weight: α, of its log-probabilities.
      bonus: added for each label, a number or one for each label `[vocab]`.
      max_labels: longest labelling considered; by default what the frames can hold.
      at_least_greedy: if the labelling that `rnnt_greedy` finds is likelier than the best hypothesis, both scored over
        all paths, whatever the number of labels in a frame, it comes first.

    Raises:
      ValueError: if the shapes do not fit together, the beam is empty, or no label is allowed.
    """
    max_labels = check_arguments('rnnt_beam', hidden, lengths, max_symbols, max_labels)
    vocab = transducer.vocab_size
    if beam < 1:
        raise ValueError(f'rnnt_beam takes a beam of 1 or more, not {beam}.')
    lm, bonus = language_of(lm, bonus, vocab, needing=f'A vocabulary of {vocab} needs')
    slots = jnp.arange(beam)

    def apply(method: str, *arguments: PyTree) -> PyTree:
        return transducer.apply({'params': params}, *arguments, method=method)

    def log_probs_of(hypotheses: _Beam, frame: jax.Array, valid: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(apply('join', frame[None], hypotheses.predicted))
        # In padded frames the blank is certain, which leaves every hypothesis and its probability as they are.
        return jnp.where(valid, log_probs, jnp.where(jnp.arange(vocab) == 0, 0.0, -jnp.inf)[None])

    def extend(old: _Beam, log_probs: jax.Array) -> tuple[_Beam, jax.Array]:
        """The best hypotheses with one more label, and which ones they were before."""
        scores = (old.score[:, None] + log_probs).at[:, 0].set(-jnp.inf)
        scores = jnp.where((old.lengths == max_labels)[:, None], -jnp.inf, scores)
        gains = lm_weight * lm.scores[old.words] + bonus[None]
        best, chosen = jax.lax.top_k((scores + gains + old.language[:, None]).reshape(-1), beam)
        source, label = jnp.divmod(chosen, vocab)
        label = jnp.where(best > -jnp.inf, label, 0)
        kept = jax.tree.map(lambda x: x[source], old)
        state, predicted = apply('advance', kept.state, label)
        return _Beam(
            labels=kept.labels.at[slots, kept.lengths].set(label),
            lengths=kept.lengths + jnp.where(label != 0, 1, 0),
            score=jnp.where(label != 0, scores[source, label], -jnp.inf),
            language=kept.language + gains[source, label],
            words=lm.next[kept.words, label],
            state=state,
            predicted=predicted,
        ), source

    def step(carry: tuple[_Beam, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        """One frame, `[joint]`, and whether it is valid."""
        entering, shared = carry
        log_probs = log_probs_of(entering, *inputs)
        left = entering._replace(score=entering.score + log_probs[:, 0])

        def one_more(_: jax.Array, carry: tuple) -> tuple:
            # `shared [2 beam, 2 beam]`: with how many labels two hypotheses begin alike, those that left first.
            left, inside, log_probs, shared = carry
            inside, source = extend(inside, log_probs)
            log_probs = log_probs_of(inside, *inputs)
            leaving = inside._replace(score=inside.score + log_probs[:, 0])
            both = jax.tree.map(lambda *x: jnp.concatenate(x), left, leaving)
            shared = shared_labels(both.labels, shared, jnp.concatenate([slots, beam + source]))
            score = _merged(both, shared)
            _, order = jax.lax.top_k(score + both.language, beam)
            left = jax.tree.map(lambda x: x[order], both._replace(score=score))
            order = jnp.concatenate([order, beam + slots])
            return left, inside, log_probs, shared[order][:, order]

        shared = jnp.tile(shared, (2, 2))
        left, _, _, shared = jax.lax.fori_loop(0, max_symbols, one_more, (left, entering, log_probs, shared))
        # As in the loss: the likelihood of all frames so far, which is the same for all, would cost float32 its digits.
        best = jnp.maximum(left.score.max(), _LEAST)
        return (left._replace(score=left.score - best), shared[:beam, :beam]), best

    def search(frames: jax.Array, valid: jax.Array) -> Hypotheses:
        state, predicted = apply('start', beam)
        zeros = jnp.zeros(beam, jnp.int32)
        first = _Beam(
            labels=jnp.zeros((beam, max_labels + 1), jnp.int32),
            lengths=zeros,
            score=jnp.where(slots == 0, 0.0, -jnp.inf),
            language=jnp.zeros(beam),
            words=jnp.full(beam, lm.start),
            state=state,
            predicted=predicted,
        )
        (last, _), bests = jax.lax.scan(step, (first, jnp.zeros((beam, beam), jnp.int32)), (frames, valid))
        total = last.score + bests.sum() + last.language + lm_weight * lm.final[last.words]
        scores, order = jax.lax.top_k(total, beam)
        found = scores > -jnp.inf
        labels = jnp.where(found[:, None], last.labels[order, :max_labels], 0)
        return Hypotheses(labels, jnp.where(found, last.lengths[order], 0), scores)

    encoded = apply('project', hidden)
    hypotheses = jax.vmap(search)(encoded, length_mask(lengths, hidden.shape[1]))
    if not at_least_greedy:
        return hypotheses

    def exact(labels: jax.Array, counts: jax.Array) -> jax.Array:
        likelihood = log_likelihood(transducer, params, encoded, lengths, labels, counts)
        return likelihood + language_score(labels, counts, lm, lm_weight, bonus)

    greedy = rnnt_greedy(transducer, params, hidden, lengths, max_symbols=max_symbols, max_labels=max_labels)
    return with_greedy(hypotheses, exact, *greedy)


def _merged(hypotheses: _Beam, shared: jax.Array) -> jax.Array:
    """The scores of two beams side by side, when the first has taken those of its equals in the second."""
    beam = len(shared) // 2
    lengths, left, leaving = hypotheses.lengths, hypotheses.score[:beam], hypotheses.score[beam:]
    equal = (shared == lengths[:, None]) & (shared == lengths[None])
    equal = equal[:beam, beam:] & (left > -jnp.inf)[:, None]
    arriving = jnp.where(equal, leaving[None], -jnp.inf).max(axis=1)
    return jnp.concatenate([jnp.logaddexp(left, arriving), jnp.where(equal.any(axis=0), -jnp.inf, leaving)])


def log_likelihood(
    transducer: Transducer,
    params: Params,
    encoded: jax.Array,
    lengths: jax.Array,
    labels: jax.Array,
    counts: jax.Array,
) -> jax.Array:
    """Log-likelihood of whole labellings `[batch, label]` over all paths: `rnnt_loss` for once, without a gradient.

    Label by label, for all frames at a time, until the longest of the labellings is read.

    Args:
      transducer: the head.
      params: its parameters.
      encoded: its projection of the frames `[batch, time, joint]`.
      lengths: valid frames `[batch]`.
      labels: `[batch, label]`.
      counts: valid labels `[batch]`.

    Returns:
      float32 `[batch]`.
    """
    batch, time, _ = encoded.shape
    rows, last = jnp.arange(batch), jnp.maximum(lengths - 1, 0)
    padded = jnp.pad(labels, ((0, 0), (0, 1)))

    def apply(method: str, *arguments: PyTree) -> PyTree:
        return transducer.apply({'params': params}, *arguments, method=method)

    def over_frames(alpha: jax.Array, frame: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple]:
        arriving, blank = frame
        alpha = jnp.logaddexp(alpha, arriving)
        return alpha + blank, (alpha, alpha + blank)

    def column(carry: tuple) -> tuple:
        position, state, predicted, arriving, total = carry
        log_probs = jax.nn.log_softmax(apply('join', encoded, predicted[:, None]))
        following = padded[:, position]
        label = jnp.take_along_axis(log_probs, following[:, None, None], axis=2)[..., 0].T
        _, (alpha, left) = jax.lax.scan(over_frames, jnp.full(batch, -jnp.inf), (arriving, log_probs[..., 0].T))
        total = jnp.where(counts == position, left[last, rows], total)
        return position + 1, *apply('advance', state, following), alpha + label, total

    arriving = jnp.full((time, batch), -jnp.inf).at[0].set(0.0)
    carry = jnp.int32(0), *apply('start', batch), arriving, jnp.zeros(batch)
    carry = jax.lax.while_loop(lambda carry: carry[0] <= counts.max(), column, carry)
    return jnp.where(lengths > 0, carry[-1], jnp.where(counts == 0, 0.0, -jnp.inf))
