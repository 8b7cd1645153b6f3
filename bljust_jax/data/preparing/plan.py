"""Which records make up which shard: a pure function of what the sources yield."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.utterance import AudioFile, Utterance

Record = Utterance | Rejection

SHARD_RECORDS = 1000
SHARD_BYTES = 2**28
NOWHERE = 'unknown'  # where rejections of records that name no proper split are kept
_SPLIT_NAME = re.compile(r'[a-z][a-z0-9_]{0,63}')
_MOST_SPLITS = 64
_EXPANSION = {'.mp3': 8, '.opus': 8, '.ogg': 8, '.flac': 2}  # bytes of samples for a byte of a file, roughly
_VERSION = 2  # of what is written; raised when the same records and rules give other shards


@dataclass(frozen=True)
class Shard:
    """Records that are written to one file.

    Attributes:
        split: of all of them, or `NOWHERE`.
        index: from 0 in each split.
        records: what its source yields.
        size: bytes of samples, an estimate.
        fingerprint: SHA-256 of the records, the sizes and times of their files, and the rules.
    """

    split: str
    index: int
    records: Sequence[Record] = field(repr=False)
    size: int
    fingerprint: str

    @property
    def name(self) -> str:
        """Names its files while they are made."""
        return f'{self.split}-{self.index:06d}'


@dataclass
class _Open:
    """A shard that is being filled."""

    index: int
    records: list[Record] = field(default_factory=list)
    size: int = 0


def plan(records: Iterable[Record], rules: Rules) -> Iterator[Shard]:
    """Yields shards of at most `SHARD_RECORDS` records and about `SHARD_BYTES` bytes, in the order of the records.

    The second record of an id in a split becomes a `Rejection`, and so does one whose split has no proper name. What
    is held in memory is one shard of each split, and eight bytes for each id.
    """
    open_shards: dict[str, _Open] = {}
    seen = Seen()
    for record in records:
        record = _with_proper_split(record, open_shards)
        split = record.split if _is_proper(record.split, open_shards) else NOWHERE
        if isinstance(record, Utterance) and not seen.add(f'{split}\t{record.id}'):
            source = str(record.recording.path) if isinstance(record.recording, AudioFile) else ''
            record = Rejection(record.id, split, source, Reason.DUPLICATE_ID, f'{record.id[:200]!r} is there already')
        shard = open_shards.setdefault(split, _Open(0))
        shard.records.append(record)
        shard.size += _size(record)
        if len(shard.records) >= SHARD_RECORDS or shard.size >= SHARD_BYTES:
            yield _closed(split, shard, rules)
            open_shards[split] = _Open(shard.index + 1)
    yield from (_closed(split, shard, rules) for split, shard in open_shards.items() if shard.records)


def _is_proper(split: str, known: dict[str, _Open]) -> bool:
    return split in known or (_SPLIT_NAME.fullmatch(split) is not None and len(known) < _MOST_SPLITS)


def _with_proper_split(record: Record, known: dict[str, _Open]) -> Record:
    if isinstance(record, Rejection) or (record.split != NOWHERE and _is_proper(record.split, known)):
        return record
    detail = f'the split {record.split[:60]!r} (a-z, 0-9 and _, a letter first; up to {_MOST_SPLITS} of them)'
    return Rejection(record.id, record.split, '', Reason.BAD_ROW, detail)


def _closed(split: str, shard: _Open, rules: Rules) -> Shard:
    content = hashlib.sha256(repr((_VERSION, rules)).encode())
    for record in shard.records:
        content.update(_identity(record))
    return Shard(split, shard.index, tuple(shard.records), shard.size, content.hexdigest())


def _identity(record: Record) -> bytes:
    """What a record is, and its file: the same bytes for the same content as far as can be told without reading it."""
    if isinstance(record, Rejection):
        return repr(record).encode('utf-8', 'backslashreplace')
    recording = record.recording
    known: tuple = (record.id, record.text, record.speaker, record.split)
    if isinstance(recording, AudioFile):
        known += (recording, *_stat(recording.path))
    elif isinstance(recording, bytes):
        known += (hashlib.sha256(recording).digest(),)
    return repr(known).encode('utf-8', 'backslashreplace')


def _size(record: Record) -> int:
    """Bytes of the samples that a record comes to, roughly."""
    if isinstance(record, Rejection):
        return 0
    recording = record.recording
    if isinstance(recording, bytes):
        return len(recording)
    if not isinstance(recording, AudioFile):
        return 2 * SAMPLE_RATE
    if recording.seconds is not None and 0 <= recording.seconds < 1e6:
        return int(recording.seconds * 2 * SAMPLE_RATE)
    return _stat(recording.path)[0] * _EXPANSION.get(Path(recording.path).suffix.lower(), 1)


def _stat(path: Path) -> tuple[int, int]:
    """Size and time of last change; of what is not there, zeros."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns


class Seen:
    """A set of names that takes eight bytes for each.

    Hashes of 64 bits stand for the names: among 20 million, two share one with a probability of 1 in 100,000.
    """

    _RECENT = 2**16

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[np.ndarray] = []  # sorted uint64, each more than twice as long as the next

    def add(self, name: str) -> bool:
        """Whether `name` is new."""
        key = int.from_bytes(hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).digest())
        if key in self._recent or any(_holds(run, key) for run in self._runs):
            return False
        self._recent.add(key)
        if len(self._recent) >= self._RECENT:
            self._runs.append(np.sort(np.fromiter(self._recent, np.uint64, len(self._recent))))
            self._recent.clear()
            while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
                merged = np.sort(np.concatenate([self._runs.pop(), self._runs.pop()]))
                self._runs.append(merged)
        return True


def _holds(run: np.ndarray, key: int) -> bool:
    place = int(np.searchsorted(run, np.uint64(key)))
    return place < len(run) and int(run[place]) == key


class Fingerprint:
    """SHA-256 over the names and the fingerprints of shards."""

    def __init__(self) -> None:
        self._content = hashlib.sha256()

    def update(self, shard: Shard) -> None:
        """Takes in the next shard."""
        self._content.update(f'{shard.name} {shard.fingerprint}\n'.encode())

    def hexdigest(self) -> str:
        """That of all so far."""
        return self._content.hexdigest()


@dataclass(frozen=True)
class Extent:
    """How much a plan comes to.

    Attributes:
        records, size: their number, and an estimate of the bytes of their samples.
        fingerprint: see `Fingerprint`.
    """

    records: int
    size: int
    fingerprint: str


def measure(shards: Iterable[Shard], note: Callable[[int], None] = lambda records: None) -> Extent:
    """Goes through a plan without reading any speech; `note` is told the number of records so far."""
    content, records, size = Fingerprint(), 0, 0
    for shard in shards:
        content.update(shard)
        records, size = records + len(shard.records), size + shard.size
        note(records)
    return Extent(records, size, content.hexdigest())
