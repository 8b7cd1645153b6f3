"""Pieces of speech in long recordings, by voice activity detection: streaming, in memory that does not grow.

A frame of 16 ms is speech if earshot's network says so and it stands out from the noise. The network alone takes steady
noise as loud as the voice for speech; how loud the noise is shows in the pauses between words.
"""

import collections
import itertools
import math
from collections.abc import Iterable, Iterator

import earshot
import numpy as np
from scipy.ndimage import uniform_filter1d

from bljust_jax.config import SAMPLE_RATE

_FRAME = 256  # samples, which is what the network takes at a time

_SCORE = 0.5  # of the network, from which a frame is speech
_ABOVE_NOISE = 2.0  # dB, that the mean level of the last frames is above the noise in speech
_SMOOTHED = 7  # frames that this mean is taken over
_NOISE_SECONDS = 10  # the noise is the quietest moment of so long


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / _FRAME)


_SHORTEST_RUN = _frames(0.1)  # less is a click
_LONGEST_PAUSE = _frames(0.5)  # more parts two pieces
_MARGIN = _frames(0.1)  # around speech, for what is too quiet to be found
_CUT_WIDTH = _frames(0.3)  # a cut goes where so long is the quietest


def speech_pieces(blocks: Iterable[np.ndarray], *, min_seconds: float, max_seconds: float) -> Iterator[tuple[int, int]]:
    """Yields where there is speech in a recording, as `(start, end)` in samples: in order and without overlaps.

    Pauses of up to half a second stay inside a piece, and longer ones where it would be too short without what follows.
    Speech that goes on for longer than `max_seconds` is cut where it is the quietest. Where speech stands alone and is
    shorter than `min_seconds`, the piece takes in what surrounds it.

    Args:
        blocks: the recording, int16 `[samples]` at 16 kHz each, of any sizes; these change nothing.
        min_seconds, max_seconds: how long each piece is at least and at most. A recording shorter than `min_seconds`
            has none.

    Raises:
        ValueError: `min_seconds` is not above 0, or `max_seconds` is less than twice that, so that not all speech
            could be cut; a block is not int16 `[samples]`.
    """
    least = math.ceil(min_seconds * SAMPLE_RATE / _FRAME)
    most = math.floor(max_seconds * SAMPLE_RATE / _FRAME)
    if not 0 < 2 * least <= most:
        raise ValueError(f'{min_seconds=} and {max_seconds=}: the longest must be at least twice the shortest.')
    detector, cutter = _Detector(), _Cutter(least, most)
    for frame in _frames_of(blocks):
        cutter.add(*detector(frame))
        while len(cutter.pieces) > 1:  # the last one may yet take in what comes at the end of the recording
            start, end = cutter.pieces.popleft()
            yield start * _FRAME, end * _FRAME
    cutter.finish()
    for start, end in cutter.pieces:
        yield start * _FRAME, end * _FRAME


def _frames_of(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cuts blocks of any sizes into frames; what is less than one at the end is left out."""
    rest = np.zeros(0, np.int16)
    for block in blocks:
        if block.dtype != np.int16 or block.ndim != 1:
            raise ValueError(f'A block is int16 [samples], not {block.dtype} {list(block.shape)}.')
        samples = np.concatenate([rest, block])
        whole = len(samples) // _FRAME * _FRAME
        yield from samples[:whole].reshape(-1, _FRAME)
        rest = samples[whole:]


class _Detector:
    """Maps the frames of one recording, in their order, to whether each is speech and how loud it is, in dB."""

    def __init__(self) -> None:
        self._network = earshot.Detector()
        self._levels: collections.deque[float] = collections.deque(maxlen=_SMOOTHED)
        self._minima = collections.deque([math.inf], maxlen=_NOISE_SECONDS)  # of the mean level, in each second
        self._seen = 0

    def __call__(self, frame: np.ndarray) -> tuple[bool, float]:
        score = self._network.predict_i16(frame)
        values = frame.astype(np.float32)
        level = 10 * math.log10(1 + float(values @ values) / _FRAME)
        self._levels.append(level)
        mean = sum(self._levels) / len(self._levels)
        self._seen += 1
        if self._seen % _frames(1.0) == 0:
            self._minima.append(math.inf)
        self._minima[-1] = min(self._minima[-1], mean)
        return score >= _SCORE and mean >= min(self._minima) + _ABOVE_NOISE, level


class _Cutter:
    """Makes pieces out of frames that are speech or not.

    Attributes:
        least, most: frames that a piece has.
        pieces: those that are complete, as `(start, end)` in frames.
    """

    def __init__(self, least: int, most: int):
        self.least, self.most = least, most
        self.pieces: collections.deque[tuple[int, int]] = collections.deque()
        self._seen = 0  # frames
        self._run = 0  # frames of speech up to here
        self._free = 0  # frame that the last piece ended at
        self._start = self._end = 0  # of the speech that is in no piece yet, with its margins; none if they are equal
        self._levels: list[float] = []  # since `_start`, or of the last frames

    def add(self, speech: bool, level: float) -> None:
        """Takes the next frame."""
        self._seen += 1
        self._levels.append(level)
        self._run = self._run + 1 if speech else 0
        if self._run >= _SHORTEST_RUN:
            if self._start == self._end:
                self._start_at(max(self._free, self._seen - self._run - _MARGIN))
            self._end = self._seen + _MARGIN
        length, silence = self._end - self._start, self._seen - self._end
        if length == 0:
            del self._levels[: -(_SHORTEST_RUN + _MARGIN)]
        elif length >= self.most + self.least:
            self._cut(self.least, self.most)
        elif silence >= (self.least if length < self.least else _LONGEST_PAUSE):
            self._close()

    def finish(self) -> None:
        """Takes the end of the recording."""
        self._end = min(self._end, self._seen)
        if self._end > self._start:
            self._close()

    def _close(self) -> None:
        """Makes pieces of all speech that is in none: of one and a half at most, or widened to a whole one."""
        length = self._end - self._start
        if length > self.most:
            self._cut(max(self.least, length - self.most), min(self.most, length - self.least))
        elif length < self.least:
            start = max(self._free, self._start - (self.least - length) // 2)
            self._end = min(self._seen, start + self.least)
            self._start = max(self._free, self._end - self.least)
        start, end = self._start, self._end
        if end - start >= self.least:
            self.pieces.append((start, end))
        elif self.pieces:  # at the end of the recording: the last piece has to share
            before, _ = self.pieces.pop()
            shared = [before, end] if end - before <= self.most else [before, end - self.least, end]
            self.pieces.extend(itertools.pairwise(shared))
        self._free = self._start = self._end = end
        del self._levels[: -(_SHORTEST_RUN + _MARGIN)]

    def _cut(self, low: int, high: int) -> None:
        """Makes a piece of `low` to `high` frames of the speech that is in none."""
        quiet = uniform_filter1d(np.array(self._levels), _CUT_WIDTH, mode='nearest')
        cut = self._start + low + int(np.argmin(quiet[low : high + 1]))
        self.pieces.append((self._start, cut))
        self._free = cut
        self._start_at(cut)

    def _start_at(self, frame: int) -> None:
        del self._levels[: len(self._levels) - (self._seen - frame)]
        self._start = frame
