"""Recordings in a user's folder, noises or impulse responses: found once, read as they are needed."""

import collections
import functools
import math
import os
import threading
from pathlib import Path

import numpy as np
import soundfile
import soxr

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.errors import UserError

SUFFIXES = frozenset('.aif .aiff .au .caf .flac .mp3 .oga .ogg .opus .sph .w64 .wav'.split())
_WHOLE_SECONDS = 60.0  # longer recordings are read in parts
_CACHED_BYTES = 256 * 2**20


class Recordings:
    """The audio files of a folder, in order of their names. Threads may share it.

    Attributes:
      paths: of the files.
      seconds: how long each is.
    """

    def __init__(self, paths: list[Path], seconds: list[float]):
        self.paths, self.seconds = paths, seconds
        self._cache: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def whole(self, index: int) -> np.ndarray:
        """The first channel of file `index` at 16 kHz, float32 `[samples]` in [-1, 1]; kept if there is room."""
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
        audio = _read(self.paths[index], 0.0, None)
        with self._lock:
            if index not in self._cache:
                self._cache[index] = audio
                self._bytes += audio.nbytes
            while self._bytes > _CACHED_BYTES:
                self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return audio

    def part(self, index: int, place: float, samples: int) -> np.ndarray:
        """So many `samples` of file `index`, one that is too short over and over again.

        Args:
          index: of the file.
          place: in [0, 1), where it begins: of all places from which it can be had without a seam.
          samples: its length at 16 kHz.

        Returns:
          float32 `[samples]`.
        """
        if self.seconds[index] > max(_WHOLE_SECONDS, samples / SAMPLE_RATE):
            start = place * (self.seconds[index] - samples / SAMPLE_RATE)
            audio, first = _read(self.paths[index], start, samples), 0
        else:
            audio = self.whole(index)
            surplus = len(audio) - samples
            first = int(place * (surplus + 1 if surplus >= 0 else len(audio)))
        return np.take(audio, np.arange(first, first + samples), mode='wrap')


@functools.cache
def find_recordings(folder: str, field: str) -> Recordings:
    """The audio files in `folder` and in the folders below it, whose headers are read.

    Args:
      folder: its path.
      field: of the config that names it, for errors.

    Raises:
      UserError: there is no such folder or no audio in it, or a file is damaged.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f'{field}={folder!r} is not a folder.')
    names = (Path(place, name) for place, _, files in os.walk(root) for name in files)
    paths = sorted(path for path in names if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f'{field}={folder!r} has no audio in it (files that end in {" ".join(sorted(SUFFIXES))}).')
    return Recordings(paths, [_seconds(path, field) for path in paths])


def _seconds(path: Path, field: str) -> float:
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f'{path}, in {field}, cannot be read as audio: mend or remove it ({error}).') from error
    if not info.frames:
        raise UserError(f'{path}, in {field}, is empty: remove it.')
    return info.frames / info.samplerate


def _read(path: Path, start: float, samples: int | None) -> np.ndarray:
    """The first channel of a file at 16 kHz, from `start` seconds on; of so many `samples`, or all of it."""
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            file.seek(int(start * rate))
            # What the resampler loses at the end is read as well.
            count = -1 if samples is None else math.ceil((samples / SAMPLE_RATE + 0.1) * rate)
            audio = file.read(count, dtype='float32', always_2d=True)[:, 0]
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f'{path} cannot be read as audio: mend or remove it ({error}).') from error
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio, rate, SAMPLE_RATE)
    audio = audio[:samples]
    if not len(audio) or not np.isfinite(audio).all():
        raise UserError(f'{path} has no audio at {start:.2f} s, or some that is not finite: mend or remove it.')
    return audio
