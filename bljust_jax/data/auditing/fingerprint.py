"""Fingerprints of audio that stay the same when it is re-encoded, resampled, made louder, shifted or a little noisy.

Haitsma and Kalker, "A highly robust audio fingerprinting system" (ISMIR 2002): a bit for each moment and each pair of
neighbouring bands, which says whether the difference of their energies grows. What differs here: 24 bits a frame
instead of 32, logarithms of the energies, and their growth over eight frames, which noise turns less often; and frames
that are much quieter than the rest of an utterance, or the same as many others in it, are left out, as utterances are
short and have pauses, and some are of tones.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from bljust_jax.config import SAMPLE_RATE

BITS = 24

_WINDOW, _HOP = 1024, 256  # samples
_SMOOTHED = 20  # frames that a band's energy is averaged over: 0.32 s
_GROWTH = 8  # frames over which it grows or falls
_LOW_HZ, _HIGH_HZ = 200.0, 3400.0  # what a telephone lets through
_AUDIBLE = 25.0  # dB below the loudest frame, down to which frames count

_MOST_REPEATS = 8  # of a code that count in an utterance: steady tones and hum tell nothing apart

_LEAST_FRAMES = 24  # that two utterances must have in common: 0.38 s, and what these are averaged over
_MOST_ERRORS = 0.2  # of their bits; of two that have nothing in common, half of them are on average
_CANDIDATES = 8  # places in the index that are looked at, those with most frames in common


class Fingerprint(NamedTuple):
    """Of one utterance.

    Attributes:
        frames: uint32 `[frames]`, of which `BITS` are used; 62.5 a second.
        audible: bool `[frames]`, those that count: loud enough, and not of a code that was there often before.
    """

    frames: np.ndarray
    audible: np.ndarray


@functools.cache
def _bands() -> np.ndarray:
    """First bins of the bands and the end of the last one `[BITS + 2]`, at equal ratios."""
    edges = np.geomspace(_LOW_HZ, _HIGH_HZ, BITS + 2)
    return np.round(edges * _WINDOW / SAMPLE_RATE).astype(int)


def fingerprint(audio: np.ndarray) -> Fingerprint:
    """The fingerprint of int16 `[samples]` at 16 kHz; less than 0.2 s have one of no frames."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, (0, max(0, _WINDOW - len(audio)))), _WINDOW)[::_HOP]
    spectrum = np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    edges = _bands()
    energies = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    energies = uniform_filter1d(energies, _SMOOTHED, axis=0, mode='nearest')
    differences = np.diff(np.log(energies + 1.0), axis=1)
    bits = differences[_GROWTH:] > differences[:-_GROWTH]
    level = 10 * np.log10(energies.sum(axis=1)[_GROWTH:] + 1.0)
    audible = level > max(level.max(initial=0.0) - _AUDIBLE, 10.0)
    codes = bits @ (1 << np.arange(BITS, dtype=np.uint32))
    audible[audible] = _ranks(codes[audible]) < _MOST_REPEATS
    return Fingerprint(codes, audible)


def _ranks(codes: np.ndarray) -> np.ndarray:
    """For each code, how many equal ones come before it."""
    order = np.argsort(codes, kind='stable')
    ranks = np.empty(len(codes), int)
    ranks[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    return ranks


class Match(NamedTuple):
    """An utterance of the index that sounds like the one looked for, and the fraction of bits that differ."""

    number: int
    errors: float


class Index:
    """Fingerprints, to be searched for one that is alike: by any frame that both have, then by all that they share.

    An utterance is found in a longer one too, wherever in it. Looking one up takes time in proportion to its own length
    and hardly more in a large index.
    """

    def __init__(self) -> None:
        self._prints: list[Fingerprint] = []
        self._sorted: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._prints)

    def add(self, print_: Fingerprint) -> None:
        """Adds a fingerprint; its number is how many there were."""
        self._prints.append(print_)
        self._sorted = None

    def find(self, print_: Fingerprint) -> list[Match]:
        """The utterances that sound alike, each once."""
        heard = np.flatnonzero(print_.audible)
        if not self._prints or len(heard) < _LEAST_FRAMES:
            return []
        keys, numbers, positions = self._frames()
        left, right = (np.searchsorted(keys, print_.frames[heard], side) for side in ('left', 'right'))
        counts = right - left
        hits = np.repeat(left, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        offsets = positions[hits] - np.repeat(heard, counts)
        places, votes = np.unique(np.stack([numbers[hits], offsets], axis=1), axis=0, return_counts=True)
        best: dict[int, float] = {}
        for place in np.argsort(-votes, kind='stable')[:_CANDIDATES]:
            number, offset = places[place].tolist()
            errors = _errors(self._prints[number], print_, offset)
            if errors <= _MOST_ERRORS:
                best[number] = min(errors, best.get(number, 1.0))
        return [Match(number, errors) for number, errors in best.items()]

    def _frames(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All audible frames in order, with the number of the utterance of each and its place in it."""
        if self._sorted is None:
            heard = [np.flatnonzero(print_.audible) for print_ in self._prints]
            keys = np.concatenate([print_.frames[print_.audible] for print_ in self._prints])
            numbers = np.repeat(np.arange(len(heard)), [len(frames) for frames in heard])
            order = np.argsort(keys, kind='stable')
            self._sorted = keys[order], numbers[order], np.concatenate(heard)[order]
        return self._sorted


def _errors(one: Fingerprint, other: Fingerprint, offset: int) -> float:
    """The fraction of bits that differ, frame `offset + i` of `one` being `i` of `other`; 1 if too few are shared."""
    start, end = max(0, -offset), min(len(other.frames), len(one.frames) - offset)
    here, there = slice(start + offset, end + offset), slice(start, end)
    both = one.audible[here] & other.audible[there]
    if both.sum() < _LEAST_FRAMES:
        return 1.0
    return float(np.bitwise_count(one.frames[here][both] ^ other.frames[there][both]).mean() / BITS)
