"""TED-LIUM, release 2 (Rousseau et al., LREC 2014): 207 hours of TED talks in SPHERE files, transcripts in STM.

TEDLIUM_release2/train/sph/AlGore_2009.sph
TEDLIUM_release2/train/stm/AlGore_2009.stm

All of one channel at 16 kHz.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.sources.paths import resolve
from bljust_jax.data.sources.stm import centiseconds, parse_segment
from bljust_jax.data.sources.trees import Record, not_laid_out, read_lines

EXPECTED = 'TEDLIUM_release2/<split>/sph and stm with the split train, dev or test'
SPLITS = ('train', 'dev', 'test')

_VARIANT = re.compile(r'\(\d\)')
_NAME_AT_THE_END = re.compile(r'\(\S*\)$')
_UNSPOKEN = re.compile(r'<sil>|<unk>|\{[^{}]*\}|\[[^\[\]]*\]')
_SPLIT_OFF = re.compile(r"(?<=\w) +('(?:s|re|ve|ll|d|m|t))(?!\w)", re.IGNORECASE)


def clean(text: str) -> str:
    """The words of a transcript, without the markup of the corpus, as in the recipes of Kaldi and others.

    What goes is the number of a pronunciation (`the(2)`), the name of the segment at the end of its line, pauses
    (`<sil>`), noises (`{NOISE}`), and `<unk>`, a word that nobody knew how to write, though its sound stays. Endings
    that stand alone are joined to their words (`it 's`); `'em` and `'cause` are words.
    """
    text = _NAME_AT_THE_END.sub('', _VARIANT.sub('', text).rstrip())
    return ' '.join(_SPLIT_OFF.sub(r'\1', _UNSPOKEN.sub(' ', text)).split())


def has(root: Path, split: str) -> bool:
    """Whether the split is there."""
    return _folder(root, split) is not None


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the segments of a split, cleaned; how many are marked as not to be scored, and left out, is logged.

    Args:
        root: the folder `TEDLIUM_release2`, or the one that holds it.
        split: `train`, `dev` or `test`.

    Raises:
        UserError: there is no such split in `root`.
    """
    folder = _folder(root, split)
    if folder is None:
        raise not_laid_out(root, EXPECTED)
    audio, gaps = folder / 'sph', 0
    path_of = functools.cache(lambda recording: resolve(audio, f'{recording}.sph'))

    def parse(line: str) -> Utterance | None:
        nonlocal gaps
        segment = parse_segment(line)
        if segment is None or not segment.is_scored:
            gaps += segment is not None
            return None
        return Utterance(
            f'{segment.recording}-{centiseconds(segment.start, segment.end)}',
            AudioFile(path_of(segment.recording), segment.start, segment.end - segment.start),
            clean(segment.text),
            segment.speaker,
            split,
        )

    for path in sorted((folder / 'stm').glob('*.stm')):
        yield from read_lines(path, split, parse)
    logging.info('TED-LIUM %s: %d stretches that are not to be scored are left out.', split, gaps)


def _folder(root: Path, split: str) -> Path | None:
    folders = (root / 'TEDLIUM_release2' / split, root / split)
    return next((folder for folder in folders if (folder / 'stm').is_dir()), None)
