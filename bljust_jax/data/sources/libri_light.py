"""Libri-Light (Kahn et al., ICASSP 2020): 60,000 hours of audiobooks without transcripts, in long files.

    small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb.flac      split, speaker, book
    small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb.json      about the book; not read

Its lists for fine-tuning are splits of `librispeech`, which they are parts of.
"""

from collections.abc import Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.sources.trees import Record, not_laid_out, unlisted

EXPECTED = '<split>/<speaker>/<book>/*.flac with the split small, medium, large or duplicate'
SPLITS = ('small', 'medium', 'large', 'duplicate')


def has(root: Path, split: str) -> bool:
    """Whether any recording of the split is there."""
    return any(True for _ in root.glob(f'{split}/*/*/*.flac'))


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the recordings of a split as they are, of minutes to hours: they are cut when they are prepared.

    Raises:
        UserError: there is no such split in `root`.
    """
    if not has(root, split):
        raise not_laid_out(root, EXPECTED)
    yield from unlisted(root / split, split)
    for speaker in sorted((root / split).iterdir()):
        for path in sorted(speaker.glob('*/*.flac')):
            yield Utterance(
                f'{speaker.name}-{path.parent.name}-{path.stem}', AudioFile(path), None, speaker.name, split
            )
