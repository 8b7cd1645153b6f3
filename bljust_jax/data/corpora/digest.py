"""What a prepared split must hold, so that two people who say they used a corpus used the same one."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.errors import UserError

_HOURS_TOLERANCE = 0.005


@dataclass(frozen=True)
class SplitDigest:
    """Expected content of a split.

    Attributes:
        utterances: their number.
        hours: of audio; compared within 0.5%, since decoders of compressed audio differ by a frame or two.
        sha256: over `id TAB text NEWLINE` of every utterance, sorted.
    """

    utterances: int
    hours: float
    sha256: str


def digest_split(rows: Iterable[tuple[str, str, int]]) -> SplitDigest:
    """Returns the digest of a split from (id, text, number of 16 kHz samples) of each utterance."""
    rows = sorted(rows)
    content = ''.join(f'{name}\t{text}\n' for name, text, _ in rows).encode()
    hours = sum(samples for *_, samples in rows) / SAMPLE_RATE / 3600
    return SplitDigest(len(rows), round(hours, 4), hashlib.sha256(content).hexdigest())


def check_digests(corpus: str, found: Mapping[str, SplitDigest], expected: Mapping[str, SplitDigest]) -> None:
    """Raises a `UserError` that names the first split of `corpus` that is not what it must be."""
    for split, want in expected.items():
        have = found[split]
        if have.utterances != want.utterances:
            problem = f'{have.utterances} utterances instead of {want.utterances}'
        elif have.sha256 != want.sha256:
            problem = f'other ids or transcripts (SHA-256 {have.sha256} instead of {want.sha256})'
        elif abs(have.hours - want.hours) > _HOURS_TOLERANCE * want.hours:
            problem = f'{have.hours} hours of audio instead of {want.hours}'
        else:
            continue
        raise UserError(
            f'{corpus}/{split} is not the corpus expected: {problem}; nothing was kept, check the source packages.'
        )
