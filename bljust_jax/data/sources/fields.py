"""Fields of a row of a manifest, checked: whatever stands in them, they are good or `Unusable`."""

import hashlib
import math
import os
import re
from pathlib import Path

from bljust_jax.data.corpora.corpus import AudioFile
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.paths import shown

AUDIO_SUFFIXES = frozenset(
    '.wav .flac .mp3 .ogg .oga .opus .sph .aif .aiff .aifc .au .snd .caf .w64 .rf64 '
    '.m4a .aac .mp4 .wma .webm .amr'.split()  # known as audio, though libsndfile does not read them: to be counted
)
MAX_NAME_BYTES = 200  # an id becomes a file's name, which may have 255
MAX_SECONDS = 30 * 24 * 3600.0
MAX_CHANNELS = 256

_DIRECTION = '\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069'  # marks that change the direction of writing
_NOT_IN_NAMES = re.compile(f'[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff{_DIRECTION}]')
_NOT_IN_TEXT = re.compile(f'[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\ud800-\udfff{_DIRECTION}]')
_SPLIT = re.compile('[a-z][a-z0-9_]{0,63}')
_CHANNEL = re.compile('[0-9]{1,3}')


def name(value: object, field: str) -> str:
    """An id or a speaker, as it is: not empty, on one line, of at most `MAX_NAME_BYTES`; a whole number is text too."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(value)} is not text')
    text = str(value)
    if not text.strip():
        raise Unusable(Reason.BAD_ROW, f'{field} is empty')
    if _NOT_IN_NAMES.search(text):
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(text)} has characters that no name has')
    if len(text.encode()) > MAX_NAME_BYTES:
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(text)} is longer than {MAX_NAME_BYTES} bytes')
    return text


def default_id(path: str, recording: AudioFile, root: Path) -> str:
    """The id of a recording that nobody named: its path below `root`, with `-` for `/`, and which part of it.

    Args:
        path: as the manifest has it.
        recording: that it was resolved to.
        root: what it is relative to.
    """
    relative = os.path.normpath(path)
    if os.path.isabs(path) or relative.startswith('..'):
        relative = os.path.relpath(recording.path, os.path.realpath(root))
    stem, suffix = os.path.splitext(relative)
    identity = (stem if suffix.lower() in AUDIO_SUFFIXES else relative).replace('/', '-')
    if recording.start:
        identity += f'-{recording.start:.3f}'
    if recording.channel is not None:
        identity += f'-{recording.channel}'
    if len(identity.encode()) > MAX_NAME_BYTES:
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        identity = f'{identity.encode()[: MAX_NAME_BYTES - 20].decode(errors="ignore")}-{digest}'
    return name(identity, 'id')


def transcript(value: object) -> str:
    """A raw transcript, which may be empty: no control characters but white space, no marks of direction."""
    if not isinstance(value, str):
        raise Unusable(Reason.BAD_TEXT, f'the transcript {shown(value)} is not text')
    if found := _NOT_IN_TEXT.search(value):
        raise Unusable(Reason.BAD_TEXT, f'the transcript {shown(value)} has the character U+{ord(found[0]):04X}')
    return value


def seconds(value: object, field: str) -> float:
    """A time or a duration: finite, from 0 to `MAX_SECONDS`; a number, or text that is one."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= MAX_SECONDS:
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(value)} is not a number of seconds from 0 to {MAX_SECONDS:.0f}')
    return number


def length(value: object, field: str) -> float:
    """A duration, which is more than nothing."""
    number = seconds(value, field)
    if number == 0:
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(value)} is no duration')
    return number


def channel(value: object) -> int:
    """The number of a channel, from 0."""
    digits = value if isinstance(value, str) else repr(value)
    if not _CHANNEL.fullmatch(digits) or int(digits) >= MAX_CHANNELS:
        raise Unusable(Reason.BAD_ROW, f'channel={shown(value)} is not a whole number from 0 to {MAX_CHANNELS - 1}')
    return int(digits)


def split(value: object) -> str:
    """The name of a split, such as `dev`: small letters, digits and `_`."""
    if not isinstance(value, str) or not _SPLIT.fullmatch(value):
        raise Unusable(Reason.BAD_ROW, f'split={shown(value)} does not name a split, such as dev')
    return value
