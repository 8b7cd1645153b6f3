"""Common Voice (Ardila et al., LREC 2020): sentences read by volunteers, a folder for each language.

en/train.tsv        a header with client_id, path, sentence and others; the same for dev, test, validated, other
en/clips/common_voice_en_19767001.mp3

An utterance is called by its clip.
"""

from collections.abc import Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.lines import text_lines
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.trees import Record, not_laid_out, read_lines
from bljust_jax.errors import UserError

EXPECTED = '<split>.tsv and clips/*.mp3 with the split train, dev, test, validated or other: the folder of one language'
SPLITS = ('train', 'dev', 'test', 'validated', 'other')
_COLUMNS = ('client_id', 'path', 'sentence')
_HELD_OUT = ('dev', 'test')


def has(root: Path, split: str) -> bool:
    """Whether the table of the split is there."""
    return (root / f'{split}.tsv').is_file()


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the clips of a split with the sentences that were read.

    `validated` holds those of `train`, and of no dev or test, which the corpus has in it too. Nobody has listened to
    those of `other`, so that their sentences are left away.

    Raises:
        UserError: there is no such split in `root`, or its table lacks a column.
    """
    if not has(root, split):
        raise not_laid_out(root, EXPECTED)
    held_out = {name for other in _HELD_OUT if has(root, other) for name in _names(root / f'{other}.tsv')}
    table = root / f'{split}.tsv'
    columns = _columns(table)
    speaker_at, path_at, text_at = (columns.index(name) for name in _COLUMNS)

    def parse(line: str) -> Utterance | None:
        row = line.split('\t')
        if len(row) != len(columns):
            raise Unusable(Reason.BAD_ROW, f'{len(row)} columns instead of {len(columns)}: {shown(line)}')
        name = row[path_at]
        if split == 'validated' and name in held_out:
            return None
        text = None if split == 'other' else row[text_at]
        return Utterance(Path(name).stem, AudioFile(resolve(root / 'clips', name)), text, row[speaker_at], split)

    yield from read_lines(table, split, parse, skip=1)


def _columns(table: Path) -> list[str]:
    _, header = next(text_lines(table), (0, ''))
    if isinstance(header, Unusable):
        raise UserError(f'{table} has no header that can be read: {header.detail}.')
    columns = header.split('\t')
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise UserError(f'{table} has no column {" and no ".join(missing)}, but {", ".join(columns)}.')
    return columns


def _names(table: Path) -> Iterator[str]:
    """The clips that a table names."""
    at = _columns(table).index('path')
    for _, line in text_lines(table):
        if not isinstance(line, Unusable) and len(row := line.split('\t')) > at:
            yield row[at]
