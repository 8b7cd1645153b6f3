"""Files of lines, read so that one bad line spoils that line alone."""

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.regular import open_regular
from bljust_jax.errors import UserError

MAX_LINE_BYTES = 1 << 20


def raw_lines(path: Path) -> Iterator[tuple[int, bytes | Unusable]]:
    """Yields number, from 1, and bytes of the lines that are not blank, without their ends; memory stays flat.

    A byte-order mark is dropped. Lines of more than `MAX_LINE_BYTES` are `Unusable`. Files named `*.gz` are unpacked.

    Raises:
        UserError: the file cannot be read or is no regular one, or breaks off in the middle, or is in UTF-16.
    """
    number = 0
    try:
        with _open(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UserError(f'{path} is written in UTF-16: save it as UTF-8.')
                if len(line) == MAX_LINE_BYTES and not line.endswith(b'\n'):
                    _skip_line(file)
                    yield number, Unusable(Reason.BAD_ROW, f'the line is longer than {MAX_LINE_BYTES} bytes')
                    continue
                line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b'').rstrip(b'\r\n')
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, 'strerror', None) or 'it is damaged'
        raise UserError(f'{path} cannot be read beyond line {number}: {reason}.') from error


def text_lines(path: Path) -> Iterator[tuple[int, str | Unusable]]:
    """Yields what `raw_lines` does, decoded; lines that are not UTF-8 are `Unusable`."""
    for number, line in raw_lines(path):
        yield number, line if isinstance(line, Unusable) else decoded(line)


def decoded(line: bytes) -> str | Unusable:
    """The text of a line; `Unusable` if it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return Unusable(Reason.BAD_TEXT, f'the line is not UTF-8 from its byte {error.start + 1} on')


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | Unusable]]:
    """Yields number and object of the lines of a file of JSON objects; what is none is `Unusable`."""
    for number, line in text_lines(path):
        yield number, line if isinstance(line, Unusable) else _json_object(line)


def suffix_of(path: Path) -> str:
    """What the name of a file ends in, in small letters: what stands before `.gz`, if that is the end."""
    return Path(path.stem).suffix.lower() if _is_packed(path) else path.suffix.lower()


def _json_object(line: str) -> dict[str, Any] | Unusable:
    try:
        found = json.loads(line, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError) as error:
        return Unusable(Reason.BAD_ROW, f'the line is not JSON: {str(error)[:100]}')
    if not isinstance(found, dict):
        return Unusable(Reason.BAD_ROW, 'the line is not a JSON object')
    return found


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError('a key stands there twice')
    return found


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with open_regular(path) as file:
        if _is_packed(path):
            with gzip.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield file


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == '.gz'


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b'\n'):
        pass
