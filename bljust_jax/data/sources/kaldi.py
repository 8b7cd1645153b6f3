"""Kaldi data directories: `wav.scp`, and `segments`, `text`, `utt2spk` where they are."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources import fields
from bljust_jax.data.sources.lines import decoded, raw_lines
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.request import Request
from bljust_jax.errors import UserError

_CACHE_KIB = 32_000


def read(request: Request) -> Iterator[Utterance | Rejection]:
    """Yields an utterance for each line of `segments`, or of `wav.scp` if there is none, or why there is none.

    Commands in `wav.scp` (which end in `|`) are rejected: nothing that a file says is ever run. The files need not be
    sorted, and are looked up on disk: memory stays flat.

    Raises:
        UserError: a file is missing or cannot be read, or rows should name their splits.
    """
    folder = request.path
    if not request.split:
        raise UserError(f'{folder} is a Kaldi folder, which names no splits: say the split of all of it.')
    if request.transcribed and not (folder / 'text').exists():
        raise UserError(f'{folder} has no file called text, and transcripts are asked for.')
    source = 'segments' if (folder / 'segments').exists() else 'wav.scp'
    looked_up = ['utt2spk'] + ['text'] * request.transcribed + ['wav.scp'] * (source == 'segments')
    with contextlib.ExitStack() as stack:
        tables = {name: stack.enter_context(_table()) for name in looked_up}
        for name, table in tables.items():
            for number, refused in table.fill(folder / name):
                yield request.rejection(f'{name}:{number}', refused)
        for number, line in raw_lines(folder / source):
            yield _utterance(line, f'{source}:{number}', tables, request)
        if request.transcribed and tables['text'].unused > 0:
            logging.info('%s: %d lines of text are of no utterance.', folder, tables['text'].unused)


class _Table:
    """The lines `key value` of one of Kaldi's files, looked up by key: in any order, of any size.

    Attributes:
        unused: how many of them nobody has asked for.
    """

    def __init__(self, database: sqlite3.Connection):
        self.unused = 0
        self._database = database
        database.execute(f'PRAGMA cache_size = -{_CACHE_KIB}')
        database.execute('CREATE TABLE lines (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID')
        database.execute('BEGIN')

    def fill(self, path: Path) -> Iterator[tuple[int, Unusable]]:
        """Reads a file, if it is there; yields number and fault of lines that cannot be looked up."""
        for number, line in raw_lines(path) if path.exists() else ():
            if isinstance(line, Unusable):
                yield number, line
                continue
            key, *value = line.split(maxsplit=1)
            added = self._database.execute('INSERT OR IGNORE INTO lines VALUES (?, ?)', (key, b''.join(value)))
            self.unused += added.rowcount
            if not added.rowcount:
                yield number, Unusable(Reason.DUPLICATE_ID, f'{shown(key.decode(errors="replace"))} stands there twice')

    def get(self, key: str) -> str | None:
        """The value of `key`, if there is one; raises `Unusable` if it is not UTF-8."""
        row = self._database.execute('SELECT value FROM lines WHERE key = ?', (key.encode(),)).fetchone()
        if row is None:
            return None
        self.unused -= 1
        value = decoded(row[0])
        if isinstance(value, Unusable):
            raise value
        return value.strip()


@contextlib.contextmanager
def _table() -> Iterator[_Table]:
    """A table in a file of its own, which appears only where it outgrows its cache, and vanishes with it."""
    with contextlib.closing(sqlite3.connect('', isolation_level=None, check_same_thread=False)) as database:
        yield _Table(database)


def _utterance(
    line: bytes | Unusable, where: str, tables: dict[str, _Table], request: Request
) -> Utterance | Rejection:
    identity = ''
    try:
        key, value = _key_and_value(line)
        identity = fields.name(key, 'id')
        recording = (
            _segment(value, tables['wav.scp'], request.root) if 'wav.scp' in tables else _whole(value, request.root)
        )
        text = tables['text'].get(identity) if request.transcribed else None
        if request.transcribed and text is None:
            raise request.without_text(identity)
        speaker = tables['utt2spk'].get(identity)
        return Utterance(
            identity,
            recording,
            None if text is None else fields.transcript(text),
            fields.name(speaker, 'speaker') if speaker else '',
            request.split,
        )
    except Unusable as refused:
        return request.rejection(where, refused, id=identity)


def _key_and_value(line: bytes | Unusable) -> tuple[str, str]:
    text = line if isinstance(line, Unusable) else decoded(line)
    if isinstance(text, Unusable):
        raise text
    key, _, value = text.strip().replace('\t', ' ', 1).partition(' ')
    return key, value.strip()


def _whole(value: str, root: Path) -> AudioFile:
    """A recording as `wav.scp` has it."""
    if value.endswith('|') or value.startswith('|'):
        raise Unusable(
            Reason.BAD_ROW, f'{shown(value)} is a command, which is never run: write its output to a file and name that'
        )
    return AudioFile(resolve(root, value))


def _segment(value: str, recordings: _Table, root: Path) -> AudioFile:
    """A part of a recording: its name, start and end in seconds (-1: to its end), and perhaps a channel."""
    recording, *numbers = value.split() or ['']
    if len(numbers) not in (2, 3):
        raise Unusable(Reason.BAD_ROW, f'{shown(value)} is not a recording, a start, an end and perhaps a channel')
    found = recordings.get(recording)
    if found is None:
        raise Unusable(Reason.MISSING, f'the recording {shown(recording)} is not in wav.scp')
    start = fields.seconds(numbers[0], 'start')
    end = None if numbers[1] in ('-1', '-1.0') else fields.seconds(numbers[1], 'end')
    if end is not None and end <= start:
        raise Unusable(Reason.BAD_ROW, f'it ends at {end:g} s, not after its start at {start:g} s')
    channel = fields.channel(numbers[2]) if numbers[2:] else None
    return AudioFile(_whole(found, root).path, start, None if end is None else end - start, channel)
