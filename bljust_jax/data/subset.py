"""What a run trains on: splits, joined, and of them a part with so many hours.

A part is always the same, with every speaker in proportion, and each is inside the larger. Speakers keep their shares
of the whole split, instead of having equal ones, so that two parts, or a part and the whole, differ in amount alone,
and a rare voice is not used up.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from absl import logging

from bljust_jax.config import SAMPLE_RATE, DataConfig
from bljust_jax.data.corpora.splits import hash_fraction
from bljust_jax.data.dataset import Record, Records, Split, data_dir_of, load_split, speakers_of
from bljust_jax.data.mixture import parse_mixture, repeated
from bljust_jax.errors import UserError


class Part:
    """The records `numbers` of `source`, in this order, some of them perhaps more than once; see `Source`."""

    def __init__(self, source: Records, numbers: np.ndarray):
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Record:
        return self._source[int(self._numbers[index])]


class Joined:
    """The records of several sources, one after another; see `Source`."""

    def __init__(self, sources: Sequence[Records]):
        self._sources = sources
        self._ends = list(itertools.accumulate(map(len, sources)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Record:
        place = bisect.bisect_right(self._ends, index)
        return self._sources[place][index - (self._ends[place - 1] if place else 0)]


def load_training_split(config: DataConfig, *, labelled: bool) -> Split:
    """What a run trains on: the labelled splits or the unlabelled ones, whose transcripts are not read, or a part.

    The tokenizer remains that of the whole labelled splits, so that runs on parts of them have the same labels. An
    utterance of a split with more weight is there more often.

    Raises:
      UserError: if there are fewer hours than `labelled_hours` or `unlabelled_hours` asks for.
    """
    kind = 'labelled' if labelled else 'unlabelled'
    hours = getattr(config, f'{kind}_hours')
    ingredients = parse_mixture(getattr(config, kind), config.corpus, f'config.data.{kind}')
    splits = [load_split(data_dir_of(config), one.corpus, one.split, text=labelled) for one in ingredients]
    whole, weights = join(splits), np.repeat([one.weight for one in ingredients], [len(split) for split in splits])
    if hours > whole.hours:
        raise UserError(
            f'config.data.{kind}_hours={hours:g} is more than the {whole.hours:.3f} h of {whole.corpus} {whole.name}: '
            'lower it, or set 0 for all.'
        )
    chosen = np.arange(len(whole))
    if hours:
        chosen = choose(whole.samples, speakers_of(whole), whole.ids, hours)
    chosen = chosen[repeated(whole.ids[chosen], weights[chosen])]
    part = take(whole, chosen)
    if hours or len(part) != len(whole):
        logging.info(
            '%s: %d of %d utterances, %.3f h of %.3f, repeated ones counted.',
            *(whole.name, len(part), len(whole), part.hours, whole.hours),
        )
    return part


def part_of(split: Split, hours: float) -> Split:
    """The part of `split` with so many `hours`, or more by less than one utterance: above 0, and at most all of it."""
    return take(split, choose(split.samples, speakers_of(split), split.ids, hours))


def join(splits: Sequence[Split]) -> Split:
    """The utterances of all `splits`, in their order.

    Those of several corpora have the name of their corpus before their ids and speakers, which are then different.
    """
    if len(splits) == 1:
        return splits[0]
    several = len({split.corpus for split in splits}) > 1

    def named(split: Split, names: np.ndarray) -> np.ndarray:
        return np.array([f'{split.corpus}/{name}' for name in names.tolist()]) if several else names

    return Split(
        corpus=splits[0].corpus,
        name=','.join(f'{split.corpus}/{split.name}' if several else split.name for split in splits),
        source=Joined([split.source for split in splits]),
        samples=np.concatenate([split.samples for split in splits]),
        characters=np.concatenate([split.characters for split in splits]),
        ids=np.concatenate([named(split, split.ids) for split in splits]),
        speakers=np.concatenate([named(split, speakers_of(split)) for split in splits]),
    )


def take(split: Split, numbers: np.ndarray) -> Split:
    """The utterances `numbers` of `split`, in this order."""
    if np.array_equal(numbers, np.arange(len(split))):
        return split
    return dataclasses.replace(
        split,
        source=Part(split.source, numbers),
        samples=split.samples[numbers],
        characters=split.characters[numbers],
        ids=split.ids[numbers],
        speakers=speakers_of(split)[numbers],
    )


def choose(samples: np.ndarray, speakers: np.ndarray, ids: np.ndarray, hours: float) -> np.ndarray:
    """Numbers of the utterances that make up `hours`, or more by less than one utterance, ascending `[chosen]`.

    Each speaker's utterances are put in the order of a hash of their ids. An utterance's place is the fraction of the
    speaker's speech that comes before its middle, and the utterances of all speakers are taken in the order of their
    places. So the part has as large a fraction of each speaker's speech as of the whole split, but for an utterance,
    and it is inside every larger part.

    Args:
      samples: length of each utterance `[utterances]`, at 16 kHz.
      speakers: who speaks `[utterances]`.
      ids: names of the utterances `[utterances]`.
      hours: above 0, and at most those of all utterances.
    """
    hashes = np.array([hash_fraction(name) for name in ids.tolist()])
    order = np.lexsort((hashes, speakers))
    lengths = samples[order].astype(np.int64)
    _, firsts, counts = np.unique(speakers[order], return_index=True, return_counts=True)
    totals = np.add.reduceat(lengths, firsts)
    before = np.cumsum(lengths) - lengths
    places = (before + lengths / 2 - np.repeat(before[firsts], counts)) / np.repeat(totals, counts)
    taken = order[np.argsort(places, kind='stable')]
    enough = np.searchsorted(np.cumsum(samples[taken], dtype=np.int64), hours * 3600 * SAMPLE_RATE) + 1
    return np.sort(taken[:enough])
