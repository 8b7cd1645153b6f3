"""What is known of a recording before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AudioFile:
    """Speech in a file, or in a part of it.

    Attributes:
        path: of a file in any format that libsndfile reads.
        start: where the speech begins, in seconds.
        seconds: how long it is; None for all that follows.
        channel: which channel it is in, from 0; None for the mean of all.
    """

    path: Path
    start: float = 0.0
    seconds: float | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Utterance:
    """One recording with what is known about it.

    Attributes:
        id: unique within its split.
        recording: where the speech is; or the bytes of an audio file in any format that libsndfile reads; or a function
            that makes these, for corpora that are not in files and do not fit in memory.
        text: the transcript; None where there is none, as in untranscribed splits.
        speaker: who speaks.
        split: the split it belongs to.
    """

    id: str
    recording: AudioFile | bytes | Callable[[], bytes]
    text: str | None
    speaker: str
    split: str
