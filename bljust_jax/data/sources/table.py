"""Tables with a header: CSV (comma, semicolon or tab, quoted as spreadsheets do) and TSV."""

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources.lines import suffix_of, text_lines
from bljust_jax.data.sources.paths import shown
from bljust_jax.data.sources.request import Request
from bljust_jax.data.sources.rows import FIELDS, field_of, read_row, twice
from bljust_jax.errors import UserError

_LINES_OF_A_RECORD = 50  # that line breaks within quotes may make of it
_QUOTED = re.compile('"(?:[^"]|"")*"')
_Numbered = tuple[int, str | Unusable]


def read(request: Request) -> Iterator[Utterance | Rejection]:
    """Yields the utterance of each row, or why there is none; columns are any of `rows.FIELDS`, others are ignored.

    Raises:
        UserError: the header lacks a column that is needed, or has two for the same thing.
    """
    lines = text_lines(request.path)
    header, delimiter = _header(lines, request)
    ignored = [column for column in header if not field_of(column)]
    if ignored:
        logging.info('%s: the columns %s are ignored.', request.path, ', '.join(map(shown, ignored)))
    for number, values in _records(lines, delimiter, quoted=not _is_tsv(request.path)):
        yield read_row(_row(header, values), number, request)


def _header(lines: Iterator[_Numbered], request: Request) -> tuple[list[str], str]:
    """The columns' names and what separates them."""
    path = request.path
    for number, line in lines:
        if isinstance(line, Unusable):
            raise UserError(f'{path} has no header that can be read: line {number}: {line.detail}.')
        if not line.lower().startswith('sep='):  # a line that tells Excel what separates columns
            break
    else:
        raise UserError(f'{path} is empty: it needs a header and rows.')
    for delimiter in '\t' if _is_tsv(path) else ',;\t':
        columns = _split(line, delimiter, quoted=not _is_tsv(path))
        if isinstance(columns, list) and 'path' in map(field_of, columns):
            _check_columns(columns, request)
            return columns, delimiter
    names = ' or '.join(FIELDS['path'][:3])
    raise UserError(f'{path} has no column of paths in its header, {shown(line)}: call one of them {names}.')


def _check_columns(columns: list[str], request: Request) -> None:
    found = {field_of(column) for column in columns}
    if request.transcribed and 'text' not in found:
        raise UserError(f'{request.path} has no column of transcripts: call one {" or ".join(FIELDS["text"][:3])}.')
    if not request.split and 'split' not in found:
        raise UserError(f'{request.path} has no column called split, and no split was said for all of it.')
    if same := twice(columns):
        raise UserError(f'{request.path}: the columns {same[0]} and {same[1]} mean the same: rename one of them.')


class _Window:
    """Lines that may be looked at before they are taken."""

    def __init__(self, lines: Iterator[_Numbered]):
        self._lines, self._seen = lines, deque[_Numbered]()

    def look(self, ahead: int) -> _Numbered | None:
        """The line that is `ahead` of the next one; None beyond the last."""
        while len(self._seen) <= ahead:
            line = next(self._lines, None)
            if line is None:
                return None
            self._seen.append(line)
        return self._seen[ahead]

    def take(self, count: int) -> None:
        for _ in range(count):
            self._seen.popleft()


def _records(lines: Iterator[_Numbered], delimiter: str, *, quoted: bool) -> Iterator[tuple[int, list[str] | Unusable]]:
    """Yields number of the first line and values of the records; a stray quote spoils no line but its own."""
    window = _Window(lines)
    while line := window.look(0):
        number, text = line
        values, taken = (text, 1) if isinstance(text, Unusable) else _record(text, window, delimiter, quoted=quoted)
        window.take(taken)
        yield number, values


def _record(first: str, window: _Window, delimiter: str, *, quoted: bool) -> tuple[list[str] | Unusable, int]:
    """The values of the record that begins with the line `first`, and how many lines it has."""
    values, joined, taken = _split(first, delimiter, quoted=quoted), first, 1
    while isinstance(values, Unusable) and joined.count('"') % 2 and taken < _LINES_OF_A_RECORD:
        line = window.look(taken)
        if line is None or isinstance(line[1], Unusable):
            break
        joined, taken = f'{joined}\n{line[1]}', taken + 1
        values = _split(joined, delimiter, quoted=quoted)
    return values, 1 if isinstance(values, Unusable) else taken


def _split(line: str, delimiter: str, *, quoted: bool) -> list[str] | Unusable:
    """The values of a record, without white space around them.

    In a TSV quotes are letters, unless a value is in quotes as a whole, as spreadsheets write it.
    """
    if not quoted:
        return [_unquoted(value.strip()) for value in line.split(delimiter)]
    try:
        (values,) = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        return Unusable(Reason.BAD_ROW, f'the line is not CSV: {error}')
    return [value.strip() for value in values]


def _unquoted(value: str) -> str:
    return value[1:-1].replace('""', '"') if _QUOTED.fullmatch(value) else value


def _row(header: list[str], values: list[str] | Unusable) -> dict[str, str] | Unusable:
    """Values by column."""
    if isinstance(values, Unusable):
        return values
    while len(values) > len(header) and not values[-1]:
        values.pop()
    if len(values) != len(header):
        return Unusable(Reason.BAD_ROW, f'{len(values)} columns where the header has {len(header)}')
    return dict(zip(header, values, strict=True))


def _is_tsv(path: Path) -> bool:
    return suffix_of(path) == '.tsv'
