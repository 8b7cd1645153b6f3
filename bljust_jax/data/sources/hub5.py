"""The Hub-5 evaluation of 2000 (LDC2002S09, LDC2002T43), the tests of Switchboard systems: 11 hours of calls.

hub5e_00/english/sw_4390.sph                                       20 calls of Switchboard, 20 of CallHome (en_)
2000_hub5_eng_eval_tr/reference/hub5e00.english.000405.stm         the transcripts of all of them

Results on the two kinds of calls are published apart, so that each is a split.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.paths import shown
from bljust_jax.data.sources.stm import centiseconds, parse_segment
from bljust_jax.data.sources.trees import Record, below, not_laid_out, read_lines, unlisted

EXPECTED = 'english/sw_*.sph and en_*.sph, and reference/hub5e00.english.000405.stm'
_PREFIXES = {'test_swb': 'sw_', 'test_ch': 'en_'}
SPLITS = tuple(_PREFIXES)
_SIDES = {'A': 0, 'B': 1}

_ALTERNATIVES = re.compile(r'\{([^{}/]*)/[^{}]*\}')
_OPTIONAL = re.compile(r'\(+[^()]*\)+|<[^<>]*>|%\S+')


def clean(text: str) -> str:
    """The words that must be recognised: optional ones, such as hesitations, go, and of alternatives the first stays.

    NIST's `sclite` forgives whoever leaves out or writes what is optional, and applies a list of equal spellings. WER
    without either is somewhat higher: compare it with figures that were computed in the same way.
    """
    return ' '.join(_OPTIONAL.sub(' ', _ALTERNATIVES.sub(r' \1 ', text)).split())


def has(root: Path, split: str) -> bool:
    """Whether the transcripts are there."""
    return any(True for _ in _transcripts(root))


def read(root: Path, split: str) -> Iterator[Record]:
    """Yields the segments of `test_swb` or `test_ch`, cleaned; how many are not to be scored, or wordless, is logged.

    Raises:
        UserError: the transcripts are not below `root`.
    """
    if not has(root, split):
        raise not_laid_out(root, EXPECTED)
    yield from unlisted(root, split)
    audio = {path.stem: path for path in sorted(below(root, f'{_PREFIXES[split]}*.sph'))}
    left_out = 0

    def parse(line: str) -> Utterance | None:
        nonlocal left_out
        segment = parse_segment(line)
        if segment is None or not segment.recording.startswith(_PREFIXES[split]):
            return None
        text = clean(segment.text)
        if not segment.is_scored or not text:
            left_out += 1
            return None
        if segment.channel not in _SIDES:
            raise Unusable(Reason.BAD_ROW, f'the channel {shown(segment.channel)} is neither A nor B')
        if segment.recording not in audio:
            raise Unusable(Reason.MISSING, f'{segment.recording}.sph does not exist')
        side = f'{segment.recording}-{segment.channel}'
        seconds = segment.end - segment.start
        part = AudioFile(audio[segment.recording], segment.start, seconds, _SIDES[segment.channel])
        return Utterance(f'{side}-{centiseconds(segment.start, segment.end)}', part, text, side, split)

    yield from read_lines(min(_transcripts(root)), split, parse)
    logging.info('Hub-5 2000 %s: %d stretches without a word to be scored are left out.', split, left_out)


def _transcripts(root: Path) -> Iterator[Path]:
    return below(root, 'hub5e00.english.*.stm')
