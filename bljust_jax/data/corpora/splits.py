"""Which utterances are kept, and into which split they fall: functions of the text alone, so of no random state."""

import hashlib
from collections.abc import Iterable

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.text import has_long_number, strip_asides

MIN_SECONDS, MAX_SECONDS = 0.4, 20.0
_MIN_CHARACTERS_PER_SECOND, _MAX_CHARACTERS_PER_SECOND = 2.0, 24.0
_UNSPELT = '#'  # spoken, but as no one word: "pound", "hash", or a bleeped curse


def hash_fraction(key: str) -> float:
    """Maps `key` to [0, 1): the first 8 hexadecimal digits of its SHA-1 over 2^32."""
    return int(hashlib.sha1(key.encode()).hexdigest()[:8], 16) / 2**32


def has_usable_length(seconds: float) -> bool:
    """True for recordings neither too short to hold a word nor too long to train on."""
    return MIN_SECONDS <= seconds <= MAX_SECONDS


def is_usable(raw_text: str, text: str, seconds: float) -> bool:
    """True if `text` (normalised from `raw_text`) can be what is said in a recording of `seconds`."""
    if not text or has_long_number(raw_text) or _UNSPELT in strip_asides(raw_text) or not has_usable_length(seconds):
        return False
    return _MIN_CHARACTERS_PER_SECOND <= len(text) / seconds <= _MAX_CHARACTERS_PER_SECOND


def without_leaks(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Drops what is in no training split (`train...`) but has the transcript of an utterance that is."""
    utterances = list(utterances)
    trained = {utterance.text for utterance in utterances if _is_training(utterance)} - {None}
    return [utterance for utterance in utterances if _is_training(utterance) or utterance.text not in trained]


def _is_training(utterance: Utterance) -> bool:
    return utterance.split.startswith('train')
