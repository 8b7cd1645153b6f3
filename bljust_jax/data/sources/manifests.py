"""Manifests of any kind: what a file or a folder is, and the reader for it."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.preparing.rejection import Rejection, Unusable
from bljust_jax.data.sources import folder, kaldi, lhotse, nemo, table
from bljust_jax.data.sources.lines import json_lines, suffix_of
from bljust_jax.data.sources.request import Request
from bljust_jax.data.sources.rows import field_of
from bljust_jax.errors import UserError

_KINDS = (
    'JSON lines with audio_filepath, cuts of Lhotse in JSON lines (.json, .jsonl), a table with a header (.csv, .tsv), '
    'a Kaldi folder (with wav.scp) or a folder of audio'
)
_LINES_LOOKED_AT = 100  # for one that tells what a file of JSON lines is
_Reader = Callable[[Request], Iterator[Utterance | Rejection]]


def read_manifest(
    path: Path, split: str, *, transcribed: bool, root: Path | None = None
) -> Iterator[Utterance | Rejection]:
    """Yields the utterances of a manifest of any kind, and what is wrong with its other rows; opens no audio.

    Rows are read as they are asked for: memory does not grow with their number.

    Args:
        path: a file of JSON lines with NeMo's keys or of Lhotse's cuts, a CSV or TSV with a header (all of which may be
            gzipped), a Kaldi folder, or a folder of audio. What it is, is found out.
        split: that its utterances go to; empty if each row names its own.
        transcribed: whether transcripts are wanted. Without, none is read and `text` is None; if rows name their
            splits, so it is for those of `train_unlabelled` in any case.
        root: the folder that all audio lies in and that relative names start from; by default the manifest's own.

    Raises:
        UserError: it is none of these, or cannot be read as a whole. A generator raises it when it comes to that.
    """
    path = Path(path)
    read = _reader(path)
    if read is kaldi.read and not path.is_dir():
        path = path.parent
    if root is not None and not Path(root).is_dir():
        raise UserError(f'{root}, where the audio should be, is not a folder.')
    home = path if path.is_dir() else path.parent
    return _not_empty(read(Request(path, split, transcribed, home if root is None else Path(root))), path)


def _not_empty(rows: Iterator[Utterance | Rejection], path: Path) -> Iterator[Utterance | Rejection]:
    """`rows`; raises `UserError` if there are none."""
    first = next(rows, None)
    if first is None:
        raise UserError(f'{path} has no rows.')
    yield first
    yield from rows


def _reader(path: Path) -> _Reader:
    """The reader for what `path` is."""
    if not str(path).isprintable():
        raise UserError(f'{str(path)!r} has characters that do not print: rename it.')
    if path.is_dir():
        return kaldi.read if (path / 'wav.scp').exists() else folder.read
    if not path.exists():
        raise UserError(f'{path} does not exist: a manifest is {_KINDS}.')
    if path.name == 'wav.scp':
        return kaldi.read
    if path.is_file():
        match suffix_of(path):
            case '.csv' | '.tsv':
                return table.read
            case '.json' | '.jsonl' | '.ndjson' | '.manifest':
                return _json_reader(path)
    raise UserError(f'{path} is no manifest that is known: one is {_KINDS}.')


def _json_reader(path: Path) -> _Reader:
    """The reader for a file of JSON lines, by the first line that tells."""
    for _, row in itertools.islice(json_lines(path), _LINES_LOOKED_AT):
        if isinstance(row, Unusable):
            continue
        if lhotse.KEYS & row.keys():
            return lhotse.read
        if 'path' in map(field_of, row):
            return nemo.read
    raise UserError(
        f'{path} is no manifest that is known, by its first {_LINES_LOOKED_AT} lines: it needs one JSON object a line '
        f'(not a list), with audio_filepath as NeMo writes it or with a recording as Lhotse does.'
    )
