"""How far preparing is, every few seconds: share, rates, time to go."""

import time

from absl import logging

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.preparing.plan import Extent, Shard


class Progress:
    """Logs progress of `extent`, or the counting of records if there is none yet."""

    def __init__(self, name: str, extent: Extent | None = None, every_seconds: float = 5.0):
        self._name, self._extent, self._every = name, extent, every_seconds
        self._records = self._skipped_records = 0
        self._size = self._skipped_size = 0.0
        self._start = time.monotonic()
        self._next = self._start + every_seconds

    def count(self, records: int) -> None:
        """Is told how many records were counted."""
        if self._due():
            logging.info('%s: %s records so far.', self._name, f'{records:,}')

    def skip(self, shard: Shard) -> None:
        """Is told of a shard that is there already."""
        self._skipped_records += len(shard.records)
        self._skipped_size += shard.size

    def note(self, shard: Shard, records: int) -> None:
        """Is told of records of a shard that are done; negative if they begin again."""
        self._records += records
        self._size += records * shard.size / len(shard.records)
        if self._due():
            self._tell()

    def end(self) -> None:
        """Is told that all is done."""
        self._tell()

    def _due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every
        return True

    def _tell(self) -> None:
        if self._extent:
            logging.info('%s', self._line(self._extent, max(time.monotonic() - self._start, 1e-6)))

    def _line(self, extent: Extent, seconds: float) -> str:
        left = max(extent.size - self._skipped_size - self._size, 0.0)
        to_go = left / self._size * seconds if self._size else 0.0
        return (
            f'{self._name}: {self._records + self._skipped_records:,} of {extent.records:,} records, '
            f'{self._records / seconds:,.0f} a second, about {self._size / 2 / SAMPLE_RATE / seconds:,.0f} times real '
            f'time, {_clock(to_go)} to go.'
        )


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'
