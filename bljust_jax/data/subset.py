"""A part of a split with so many hours: always the same one, with every speaker in proportion, each inside the larger.

Speakers keep their shares of the whole split, instead of having equal ones, so that two parts, or a part and the whole,
differ in amount alone, and a rare voice is not used up.
"""

import dataclasses

import numpy as np
from absl import logging

from bljust_jax.config import SAMPLE_RATE, DataConfig
from bljust_jax.data.corpora.splits import hash_fraction
from bljust_jax.data.dataset import Record, Records, Split, data_dir_of, load_split, speakers_of
from bljust_jax.errors import UserError


class Part:
    """The records `numbers` of `source`, in this order; see `Source`."""

    def __init__(self, source: Records, numbers: np.ndarray):
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Record:
        return self._source[int(self._numbers[index])]


def load_training_split(config: DataConfig, *, labelled: bool) -> Split:
    """What a run trains on: the labelled split or the unlabelled one, whose transcripts are not read, or a part of it.

    The tokenizer remains that of the whole labelled split, so that runs on parts of it have the same labels.

    Raises:
      UserError: if there are fewer hours than `labelled_hours` or `unlabelled_hours` asks for.
    """
    kind = 'labelled' if labelled else 'unlabelled'
    name, hours = getattr(config, kind), getattr(config, f'{kind}_hours')
    split = load_split(data_dir_of(config), config.corpus, name, text=labelled)
    if not hours:
        return split
    if hours > split.hours:
        raise UserError(
            f'config.data.{kind}_hours={hours:g} is more than the {split.hours:.3f} h of {config.corpus} {name}: '
            'lower it, or set 0 for all.'
        )
    part = part_of(split, hours)
    logging.info('%s: %d of %d utterances, %.3f h of %.3f.', name, len(part), len(split), part.hours, split.hours)
    return part


def part_of(split: Split, hours: float) -> Split:
    """The part of `split` with so many `hours`, or more by less than one utterance: above 0, and at most all of it."""
    speakers = speakers_of(split)
    chosen = choose(split.samples, speakers, split.ids, hours)
    return dataclasses.replace(
        split,
        source=Part(split.source, chosen),
        samples=split.samples[chosen],
        characters=split.characters[chosen],
        ids=split.ids[chosen],
        speakers=speakers[chosen],
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
