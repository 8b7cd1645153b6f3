"""Why a record was not taken: nothing that a user gave vanishes silently."""

import enum
from dataclasses import dataclass

from bljust_jax.errors import UserError


class Reason(enum.StrEnum):
    """What is wrong with a record, in the words that summaries and `rejected.jsonl` have."""

    BAD_ROW = 'bad row'  # a line or a field of a manifest that cannot be understood
    DUPLICATE_ID = 'duplicate id'
    OUTSIDE = 'outside the source'  # ../, an absolute path or a link that leads out of the folder, a loop of links
    MISSING = 'missing file'
    UNREADABLE = 'unreadable file'  # permission, or the disk
    NOT_AUDIO = 'not audio'
    TRUNCATED = 'truncated audio'
    NO_SUCH_PART = 'no such part'  # a start, an end or a channel that the file does not have
    NOT_FINITE = 'NaN or infinity'
    SILENT = 'silent'
    CLIPPED = 'clipped'
    TOO_SHORT = 'too short'
    TOO_LONG = 'too long'
    BAD_TEXT = 'bad text'  # not UTF-8, NUL, or marks that change the direction of writing
    EMPTY_TEXT = 'empty transcript'
    NOT_IN_ALPHABET = 'not in the alphabet'
    TEXT_TOO_LONG = 'transcript too long for the audio'


@dataclass(frozen=True)
class Rejection:
    """A record that was not taken.

    Attributes:
        id: of the record, or where it stands, such as `dev.csv:17`, if it has none.
        split: that it would have been in.
        source: the file that it comes from.
        reason: one of few, to count by.
        detail: what was found, in a clause: with the value.
    """

    id: str
    split: str
    source: str
    reason: Reason
    detail: str


class Unusable(UserError):
    """What is raised on the way to a `Rejection`.

    Attributes:
        reason, detail: as there.
    """

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f'{reason}: {detail}')
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple:
        return Unusable, (self.reason, self.detail)
