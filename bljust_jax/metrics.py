"""Means over batches, and error rates over a corpus: what is added up before it is divided.

Word and character error rates come from jiwer and are computed on Python `str` only: a tensor or
`bytes` that was turned into text by accident (`"tf.Tensor(b'...')"`) looks like a very good hypothesis.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jiwer
import numpy as np

from bljust_jax.types import Ratio


class Means:
    """Running means by name, each kept as a sum and a weight.

    `add` only keeps a reference, so that the host can run ahead of the device; `values` waits for what was added.

    >>> means = Means()
    >>> means.add({'loss/sup': Ratio(6.0, 2.0)})
    >>> means.add({'loss/sup': Ratio(1.0, 5.0), 'norm': 3.0})
    >>> means.values()
    {'loss/sup': 1.0, 'norm': 3.0}
    """

    def __init__(self) -> None:
        self._pending: list[Mapping[str, Any]] = []
        self._totals: dict[str, np.ndarray] = {}

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds one batch: a `Ratio` counts with its weight, a bare scalar with weight 1."""
        self._pending.append(metrics)

    def values(self) -> dict[str, float]:
        """The means, in order of first appearance; a name whose weight is 0 has none and is left out."""
        for metrics in jax.device_get(self._pending):
            for name, value in metrics.items():
                pair = np.array(value if isinstance(value, Ratio) else (value, 1.0), np.float64)
                if pair.shape != (2,):
                    raise ValueError(f'Metric {name} must be a scalar or a Ratio of scalars.')
                self._totals[name] = self._totals.get(name, 0.0) + pair
        self._pending.clear()
        return {name: float(total / weight) for name, (total, weight) in self._totals.items() if weight != 0}


@dataclasses.dataclass(frozen=True)
class ErrorRates:
    """Counts of a corpus; two of them add up to those of both corpora together.

    A rate is errors / max(reference units, 1): words inserted where the reference is silent count as errors like
    any others, and a corpus without a single reference word has as its rate the number of insertions (as in jiwer).

    Attributes:
      utterances: number of utterances.
      words, substitutions, deletions, insertions: reference words, and the word errors by kind.
      characters, character_errors: reference characters, spaces between words included, and their errors.
    """

    utterances: int = 0
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    characters: int = 0
    character_errors: int = 0

    def __add__(self, other: 'ErrorRates') -> 'ErrorRates':
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return ErrorRates(*(mine + theirs for mine, theirs in pairs))

    @property
    def wer(self) -> float:
        """Word error rate, a fraction: 0.05 is 5%. Above 1 when there are more errors than words."""
        return (self.substitutions + self.deletions + self.insertions) / max(self.words, 1)

    @property
    def cer(self) -> float:
        """Character error rate, a fraction."""
        return self.character_errors / max(self.characters, 1)

    def as_dict(self) -> dict[str, float | int]:
        """The rates and the counts, for `summary.json`."""
        return {'wer': self.wer, 'cer': self.cer} | dataclasses.asdict(self)


class Aligned(NamedTuple):
    """A run of words with one fate: `op` is equal, substitute, delete or insert."""

    op: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


def error_rates(references: list[str], hypotheses: list[str]) -> ErrorRates:
    """Scores hypotheses against references, pair by pair; white space is collapsed, nothing else is normalised.

    Raises:
      TypeError: for anything but lists (or tuples) of Python `str`.
      ValueError: if there are more of one than of the other.
    """
    references, hypotheses = _texts(references, 'references'), _texts(hypotheses, 'hypotheses')
    if len(references) != len(hypotheses):
        raise ValueError(f'There are {len(references)} references but {len(hypotheses)} hypotheses.')
    if not references:
        return ErrorRates()
    words = jiwer.process_words(references, hypotheses)
    characters = jiwer.process_characters(references, hypotheses)
    return ErrorRates(
        utterances=len(references),
        words=words.hits + words.substitutions + words.deletions,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        characters=characters.hits + characters.substitutions + characters.deletions,
        character_errors=characters.substitutions + characters.deletions + characters.insertions,
    )


def word_alignment(reference: str, hypothesis: str) -> list[Aligned]:
    """The edits that turn `reference` into `hypothesis`, in order; substituted runs are equally long on both sides.

    >>> for aligned in word_alignment('a big cat', 'a cat'):
    ...     print(*aligned)
    equal ('a',) ('a',)
    delete ('big',) ()
    equal ('cat',) ('cat',)
    """
    result = jiwer.process_words(_texts([reference], 'reference'), _texts([hypothesis], 'hypothesis'))
    (words,), (heard,), (chunks,) = result.references, result.hypotheses, result.alignments
    return [
        Aligned(
            chunk.type,
            tuple(words[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    ]


def _texts(texts: list[str], name: str) -> list[str]:
    if not isinstance(texts, list | tuple):
        raise TypeError(f'{name} must be a list of str, not {_type_name(texts)}.')
    for index, text in enumerate(texts):
        if type(text) is not str:  # np.str_ is a str too, but betrays an array on its way here
            raise TypeError(f'{name}[{index}] must be a Python str, not {_type_name(text)}: decode it first.')
    return [' '.join(text.split()) for text in texts]


def _type_name(value: object) -> str:
    return f'{type(value).__module__}.{type(value).__qualname__}'.removeprefix('builtins.')
