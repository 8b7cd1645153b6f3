"""FLEURS (Conneau et al., SLT 2022): about 10 hours of read speech in each of 102 languages, as one folder each.

en_us/train.tsv         id, file, sentence, the same normalised, its letters, samples, gender: no header
en_us/audio/train/10004088536354799741.wav

Several people read the same sentence, so that an utterance is called by its file. Who speaks is not known.
"""

from collections.abc import Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.trees import Record, not_laid_out, read_lines

EXPECTED = '<split>.tsv and audio/<split>/*.wav with the split train, dev or test: the folder of one language'
SPLITS = ('train', 'dev', 'test')
_COLUMNS = 7


def has(root: Path, split: str) -> bool:
    """Whether the table of the split is there."""
    return (root / f'{split}.tsv').is_file()


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the recordings of a split with their sentences as they are written.

    Raises:
        UserError: there is no such split in `root`.
    """
    if not has(root, split):
        raise not_laid_out(root, EXPECTED)

    def parse(line: str) -> Utterance:
        row = line.split('\t')
        if len(row) != _COLUMNS:
            raise Unusable(Reason.BAD_ROW, f'{len(row)} columns instead of {_COLUMNS}: {shown(line)}')
        path = resolve(root / 'audio' / split, row[1])
        return Utterance(Path(row[1]).stem, AudioFile(path), row[2], '', split)

    yield from read_lines(root / f'{split}.tsv', split, parse)
