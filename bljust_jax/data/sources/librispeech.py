"""LibriSpeech (Panayotov et al., ICASSP 2015), and the lists of Libri-Light that fine-tune on parts of it.

LibriSpeech/train-clean-100/19/198/19-198-0000.flac             split, speaker, chapter
LibriSpeech/train-clean-100/19/198/19-198.trans.txt             a line for each: 19-198-0000 NORTHANGER ABBEY
librispeech_finetuning/1h/0/clean/3526/175658/3526-175658-0000.flac     6 x 10 minutes, and 9h/clean/...

The splits `train_10min`, `train_1h` and `train_10h` of Libri-Light are inside one another.
"""

from collections.abc import Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources.paths import shown
from bljust_jax.data.sources.trees import Record, not_laid_out, read_lines, unlisted

EXPECTED = 'LibriSpeech/<split>/<speaker>/<chapter>/, such as LibriSpeech/train-clean-100/19/198'

_PARTS = (
    'train-clean-100', 'train-clean-360', 'train-other-500', 'dev-clean', 'dev-other', 'test-clean', 'test-other'
)  # fmt: skip
# Where the chapters of a split are.
_CHAPTERS = {part.replace('-', '_'): (f'LibriSpeech/{part}/*/*', f'{part}/*/*') for part in _PARTS} | {
    'train_10min': ('librispeech_finetuning/1h/0/*/*/*',),
    'train_1h': ('librispeech_finetuning/1h/*/*/*/*',),
    'train_10h': ('librispeech_finetuning/1h/*/*/*/*', 'librispeech_finetuning/9h/*/*/*'),
}
SPLITS = tuple(_CHAPTERS)


def has(root: Path, split: str) -> bool:
    """Whether any chapter of the split is there."""
    return any(True for pattern in _CHAPTERS[split] for _ in root.glob(pattern))


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the utterances of a split in the order of their files, transcripts in upper case as they are.

    Args:
        root: the folder `LibriSpeech`, or the one that holds it and perhaps `librispeech_finetuning`.
        split: one of `SPLITS`.

    Raises:
        UserError: there is no such split in `root`.
    """
    if not has(root, split):
        raise not_laid_out(root, EXPECTED if split.replace('_', '-') in _PARTS else 'librispeech_finetuning/1h and 9h')
    for pattern in _CHAPTERS[split]:
        yield from unlisted(root / pattern.partition('/*')[0], split)
    for chapter in sorted(folder for pattern in _CHAPTERS[split] for folder in root.glob(pattern)):
        if chapter.is_dir():
            yield from _read_chapter(chapter, split)


def _read_chapter(chapter: Path, split: str) -> Iterator[Record]:
    speaker = chapter.parent.name
    name = f'{speaker}-{chapter.name}'
    transcripts = chapter / f'{name}.trans.txt'
    audio = {path.stem: path for path in sorted(chapter.glob('*.flac'))}
    untranscribed = dict(audio)

    def parse(line: str) -> Utterance:
        key, _, text = line.partition(' ')
        if not key.startswith(f'{name}-'):
            raise Unusable(Reason.BAD_ROW, f'{shown(key)} is no utterance of {name}')
        if key not in audio:
            raise Unusable(Reason.MISSING, f'{key}.flac does not exist')
        untranscribed.pop(key, None)
        return Utterance(key, AudioFile(audio[key]), text, speaker, split)

    yield from read_lines(transcripts, split, parse)
    for key, path in untranscribed.items():
        yield Rejection(key, split, str(path), Reason.EMPTY_TEXT, f'{transcripts.name} has no line for it')
