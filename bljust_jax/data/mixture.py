"""Several splits as one, and how that is written: `train_clean_360,train_other_500` or `calls/train*2,news/train`."""

import re
from typing import NamedTuple

import numpy as np

from bljust_jax.data.corpora.splits import hash_fraction
from bljust_jax.errors import UserError

_INGREDIENT = re.compile(r'(?:(?P<corpus>[^/*]+)/)?(?P<split>[^/*]+)(?:\*(?P<weight>[^*]+))?')


class Ingredient(NamedTuple):
    """A split of a corpus, and how often its utterances are heard, in proportion to those of the others."""

    corpus: str
    split: str
    weight: float = 1.0

    def name(self, corpus: str) -> str:
        """What a file of `corpus` can be called after it."""
        return self.split if self.corpus == corpus else f'{self.corpus}.{self.split}'


def parse_mixture(text: str, corpus: str, field: str) -> list[Ingredient]:
    """The splits that `text` names, as `[corpus/]split[*weight]`, with commas between.

    Args:
      text: such as `train` or `train*2,other_corpus/train`.
      corpus: of splits that name none.
      field: what errors call it.

    Raises:
      UserError: if it is not written so, a weight is not positive, or a split is named twice.
    """
    found = []
    for part in text.split(','):
        match = _INGREDIENT.fullmatch(part.strip())
        weight = _positive(match['weight'] or '1') if match else None
        if match is None or weight is None:
            raise UserError(
                f'{field}={text!r}: {part.strip()!r} is not a split, which is written as SPLIT, CORPUS/SPLIT or '
                'CORPUS/SPLIT*WEIGHT with a positive weight, with commas between several.'
            )
        found.append(Ingredient(match['corpus'] or corpus, match['split'], weight))
    names = [ingredient[:2] for ingredient in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f'{field}={text!r} names {"/".join(twice[0])} twice: give it a weight of 2 instead.')
    return found


def repeated(ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Numbers of the utterances of an epoch, ascending: those of the least weight once, others in proportion.

    Of those that are heard 2.5 times as often, all are there twice, and one half, by a hash of their ids, three times.

    Args:
      ids: of the utterances `[utterances]`.
      weights: of the ingredients that they belong to `[utterances]`.
    """
    factors = weights / weights.min()
    if not (factors % 1).any():
        return np.repeat(np.arange(len(ids)), factors.astype(int))
    hashes = np.array([hash_fraction(f'repeated:{name}') for name in ids.tolist()])
    return np.repeat(np.arange(len(ids)), np.floor(factors).astype(int) + (hashes < factors % 1))


def _positive(text: str) -> float | None:
    """The finite positive number that `text` is, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < float('inf') else None
