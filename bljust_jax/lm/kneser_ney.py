"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman, TR-10-98, Harvard, 1998, section 3).

For a context h and a word w, with h' the context without its first word,

    p(w | h) = max(c(hw) − D(c(hw)), 0) / Σ_v c(hv) + γ(h) p(w | h')
    γ(h)     = Σ_v D(c(hv)) / Σ_v c(hv)

c is the count for n-grams of full length and for those that begin a sentence, and for the others the number of
different words before them. Each order has a discount for c of 1, of 2 and of 3 or more; single words are interpolated
with the uniform distribution, so that none has probability 0. The same estimate as Heafield et al., ACL 2013 (KenLM).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log

from absl import logging

from bljust_jax.lm.arpa import BEGIN, END, Entry, Ngram, NgramModel

Discounts = tuple[float, float, float]

# For counts of counts from which no discount can be estimated, as of characters: KenLM's `--discount_fallback`.
FALLBACK: Discounts = (0.5, 1.0, 1.5)
_IMPOSSIBLE = 1e-99  # as ARPA writes it: nothing is followed by the beginning of a sentence


def kneser_ney(sentences: Iterable[Sequence[str]], vocabulary: Iterable[str], order: int) -> NgramModel:
    """Estimates an n-gram model.

    Args:
      sentences: the words of each.
      vocabulary: all words that there may be; seen or not, each has a probability after every context.
      order: length of the longest n-grams.

    Raises:
      ValueError: if `order` is not positive, there is no sentence, or a word is not in the vocabulary.
    """
    if order < 1:
        raise ValueError(f'An n-gram model has an order of 1 or more, not {order}.')
    vocabulary = {*vocabulary, END}
    counts = _adjusted_counts(sentences, order)
    if not counts[0]:
        raise ValueError('An n-gram model needs at least one sentence.')
    if strays := {word for (word,) in counts[0]} - vocabulary:
        raise ValueError(f'{min(strays)!r} is not in the vocabulary of {len(vocabulary)} words.')
    counts[0] |= {(word,): counts[0].get((word,), 0) for word in vocabulary}
    probs: dict[Ngram, float] = {(): 1 / len(vocabulary)}
    gammas: dict[Ngram, float] = {}
    for length, count in enumerate(counts, start=1):
        discounts = modified_discounts(Counter(count.values()))
        if discounts is None:
            discounts = FALLBACK
            logging.info(
                'Too little text to estimate the discounts of %d-grams: they are %s, %s and %s.', length, *FALLBACK
            )
        discount = (0.0, *discounts)
        total: dict[Ngram, int] = defaultdict(int)
        withheld: dict[Ngram, float] = defaultdict(float)
        for ngram, c in count.items():
            total[ngram[:-1]] += c
            withheld[ngram[:-1]] += discount[min(c, 3)]
        gammas |= {context: withheld[context] / total[context] for context in total}
        probs |= {
            ngram: (c - discount[min(c, 3)]) / total[ngram[:-1]] + gammas[ngram[:-1]] * probs[ngram[1:]]
            for ngram, c in count.items()
        }
    del probs[()]
    probs[BEGIN,] = _IMPOSSIBLE
    return NgramModel(order, {ngram: Entry(log(prob), log(gammas.get(ngram, 1.0))) for ngram, prob in probs.items()})


def modified_discounts(counts_of_counts: Counter[int]) -> Discounts | None:
    """D₁, D₂, D₃₊ of equation 26 of the paper; None where they are not defined or not in (0, c]."""
    ones, twos, threes, fours = (counts_of_counts[count] for count in (1, 2, 3, 4))
    if not (ones and twos and threes):
        return None
    y = ones / (ones + 2 * twos)
    discounts = (1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes)
    return discounts if all(0 < discount <= count for count, discount in enumerate(discounts, start=1)) else None


def _adjusted_counts(sentences: Iterable[Sequence[str]], order: int) -> list[dict[Ngram, int]]:
    """C of all n-grams by length: of those that end in a word or in the sentence's end."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for words in sentences:
        sentence = (BEGIN, *words, END)
        for end in range(2, len(sentence) + 1):
            for length in range(1, min(order, end) + 1):
                counts[length - 1][sentence[end - length : end]] += 1
    adjusted = [dict(counts[-1])]
    for shorter, longer in zip(counts[-2::-1], counts[:0:-1], strict=True):
        different = Counter(ngram[1:] for ngram in longer)
        adjusted.append({n: count if n[0] == BEGIN else different[n] for n, count in shorter.items()})
    return adjusted[::-1]
