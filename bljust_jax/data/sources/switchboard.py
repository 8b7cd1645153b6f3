"""Switchboard-1, release 2 (LDC97S62): 260 hours of telephone calls, with the transcripts of Mississippi State.

    swb1_d1/data/sw02001.sph                                         8 kHz mu-law, a speaker in each channel
    swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-trans.text        sw2001A-ms98-a-0001 0.000000 0.977625 [silence]

It has no official dev; `dev` is the first 4,000 segments, as in Kaldi's recipe. Tests are those of `hub5`.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources import hub5
from bljust_jax.data.sources.paths import shown
from bljust_jax.data.sources.stm import fields, parse_times
from bljust_jax.data.sources.trees import Record, below, not_laid_out, read_lines, unlisted

EXPECTED = 'swb1_d<disc>/data/sw*.sph and swb_ms98_transcriptions/<xx>/<xxxx>/sw*-trans.text'
SPLITS = ('train', 'dev', *hub5.SPLITS)
_DEV_SEGMENTS = 4000
_SIDES = {'A': 0, 'B': 1}

_SEGMENT = re.compile(r'sw(\d{4})([AB])-ms98-a-\d+')
_NOISE = re.compile(r'\[[^\[\]/]*\]|<[^<>]*>')  # [silence], [noise], [laughter], [vocalized-noise]; <b_aside>
_REWRITING = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (r'\[laughter-(.+)\]', r'\1'),  # said laughing: [laughter-yes]
        (r'^(-?)\[(.+)/[^/]+\](-?)$', r'\1\2\3'),  # what was said, what was meant: [it'n/isn't], [lem[guini]-/linguini]
        (r'^-?\[[^\[\]]+\](.+)$', r'-\1'),  # the beginning is missing: -[an]y
        (r'^(.+?)\[.+\]-?$', r'\1-'),  # the end is missing: th[at]-, and so mistyped: ex[specially]-/especially]
        (r'\[[^\[\]]+\]', '-'),  # the middle is missing: ammu[n]it-
        (r'^\{(.+)\}$', r'\1'),  # coined: {yuppiedom}
        (r'_\d', ''),  # one of several ways to say it: them_1
    )
)


def clean(text: str) -> str:
    """The words of a transcript as they were said, by the rules of Kaldi's recipe; noises are left out too.

    Of words that broke off, the part that was said stays, with a hyphen where the rest is missing.
    """
    words = (word for word in text.split() if not _NOISE.fullmatch(word) or word.lower().startswith('[laughter-'))
    return ' '.join(map(_clean_word, words))


def _clean_word(word: str) -> str:
    if word.replace("'", '').isalpha():  # most are
        return word
    for pattern, words in _REWRITING:
        word = pattern.sub(words, word)
    return word


def has(root: Path, split: str) -> bool:
    """Whether any transcript of the split is there."""
    return hub5.has(root, split) if split in hub5.SPLITS else any(True for _ in _transcripts(root))


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the segments of a split, cleaned; how many have no word in them, and are left out, is logged.

    Folders may be nested in any way below `root`, and linked there.

    Raises:
        UserError: there is no such split in `root`.
    """
    if split in hub5.SPLITS:
        yield from hub5.read(root, split)
        return
    if not has(root, split):
        raise not_laid_out(root, EXPECTED)
    yield from unlisted(root, split)
    chosen = (0, _DEV_SEGMENTS) if split == 'dev' else (_DEV_SEGMENTS, None)
    wordless = 0
    for record in itertools.islice(_segments(root, split), *chosen):
        if isinstance(record, Utterance) and not record.text:
            wordless += 1
        else:
            yield record
    logging.info('Switchboard %s: %d segments of laughter and noise are left out.', split, wordless)


def _segments(root: Path, split: str) -> Iterator[Record]:
    """All that are not silence, side by side of each call, in the order of time."""
    audio = {path.stem: path for path in sorted(below(root, 'sw*.sph'))}

    def parse(line: str) -> Utterance | None:
        name, start, end, text = fields(line, 4)
        found = _SEGMENT.fullmatch(name)
        if found is None:
            raise Unusable(Reason.BAD_ROW, f'{shown(name)} is no name of a segment')
        seconds = parse_times(start, end)
        if text.strip().lower() == '[silence]':
            return None
        call, side = f'sw0{found[1]}', found[2]
        if call not in audio:
            raise Unusable(Reason.MISSING, f'{call}.sph does not exist')
        part = AudioFile(audio[call], seconds[0], seconds[1] - seconds[0], _SIDES[side])
        return Utterance(name, part, clean(text), f'{call}-{side}', split)

    for path in sorted(_transcripts(root), key=lambda path: path.name):
        yield from read_lines(path, split, parse)


def _transcripts(root: Path) -> Iterator[Path]:
    return below(root, 'sw*-ms98-a-trans.text')
