"""NIST's segment time marks (STM): which part of which recording, who speaks there, and what.

AlGore_2009 1 AlGore_2009 15.51 20.17 <o,f0,male> i have a slide show
;; recording, channel, speaker, start, end, label, transcript; this line is a comment

The label may be missing.
"""

import re
from dataclasses import dataclass

from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.paths import shown

_LABEL = re.compile(r'<(?!unk>|sil>)[^<>\s]*>')
_LONGEST = 1e6  # seconds
_IGNORED = 'ignore_time_segment_in_scoring'


@dataclass(frozen=True)
class Segment:
    """A line of an STM file.

    Attributes:
        recording: name of its file, without suffix.
        channel: `1`, `A` or `B`.
        speaker: who speaks.
        start, end: in seconds.
        text: the transcript, markup and all.
    """

    recording: str
    channel: str
    speaker: str
    start: float
    end: float
    text: str

    @property
    def is_scored(self) -> bool:
        """False for what lies between the transcribed segments."""
        return self.text.lower() != _IGNORED


def parse_segment(line: str) -> Segment | None:
    """The segment of a line; None for a comment.

    Raises:
        Unusable: the line is no segment.
    """
    if line.startswith(';;'):
        return None
    recording, channel, speaker, start, end, text = fields(line, 6)
    if label := _LABEL.match(text):
        text = text[label.end() :]
    return Segment(recording, channel, speaker, *parse_times(start, end), text.strip())


def fields(line: str, count: int) -> list[str]:
    """The words of a line, those from the `count`-th on as one, and empty ones where there are fewer."""
    return [*line.split(maxsplit=count - 1), *[''] * count][:count]


def parse_times(start: str, end: str) -> tuple[float, float]:
    """Both in seconds.

    Raises:
        Unusable: they are no numbers, bound nothing, or lie days away.
    """
    try:
        times = float(start), float(end)
    except ValueError as error:
        raise Unusable(Reason.BAD_ROW, f'from {shown(start)} to {shown(end)} s') from error
    if not 0 <= times[0] < times[1] < _LONGEST:
        raise Unusable(Reason.BAD_ROW, f'from {shown(start)} to {shown(end)} s')
    return times


def centiseconds(start: float, end: float) -> str:
    """How ids of segments say where they are, as in Kaldi's recipes: `0001551-0002017`."""
    return f'{round(100 * start):07d}-{round(100 * end):07d}'
