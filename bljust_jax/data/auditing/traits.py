"""Hashes that utterances are compared by: the same for what is the same."""

import hashlib
import re
import unicodedata

import numpy as np

NONE = 0  # the hash of what is empty or unknown, which is the same as nothing

_NO_LETTERS = re.compile(r'[\W_]')


def words(text: str) -> str:
    """What is left of a text in any alphabet without case, punctuation and runs of spaces."""
    return ' '.join(_NO_LETTERS.sub(_mark_or_space, unicodedata.normalize('NFKC', text).casefold()).split())


def _mark_or_space(character: re.Match[str]) -> str:
    """Signs of vowels, as in Hindi, are marks that Python does not count among the letters."""
    return character[0] if unicodedata.category(character[0]).startswith('M') else ' '


def of_text(text: str) -> int:
    """The hash, of 64 bits, of a text as it is."""
    return _hash(text.encode()) if text else NONE


def of_audio(audio: np.ndarray) -> int:
    """The hash, of 64 bits, of int16 `[samples]`."""
    return _hash(audio.astype('<i2').tobytes()) if len(audio) else NONE


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), 'little') or 1
