"""Any recording as int16 mono at 16 kHz, a block at a time: memory does not grow with its length."""

import contextlib
import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.regular import open_regular
from bljust_jax.data.utterance import AudioFile

_BLOCK_VALUES = 2**19  # samples times channels that are read at once
_RATES = (1_000, 768_000)
_UNKNOWN = 2**48  # from here on a number of frames or bytes stands for "not known"
_OVERHANG = 0.5  # seconds by which the end of a part may lie beyond that of its file: transcribers round
_HEAD_BYTES = 4096
_TAIL_BYTES = 2**16  # the longest page of Ogg has 65,307

# What libsndfile's log says of a file whose header promises more than there is; sizes in bytes, except RF64's.
_MENDED = re.compile(r'(?:data|SSND|Data Size|^riff) *: *(\d+) \(should be (\d+)\)', re.MULTILINE)
_MENDED_RF64 = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
_CUT_OGG = 'Junk after the last page'
_STREAMED = (2**31, 2**32)  # a size in bytes near these is written where it was not known
_LAST_PAGE = 4  # a bit of the sixth byte of a page of Ogg (RFC 3533)


class _Ends(NamedTuple):
    """The first bytes of a file, after a tag of ID3 if there is one, and the last."""

    head: bytes
    tail: bytes


def blocks(recording: AudioFile | bytes) -> Iterator[np.ndarray]:
    """Yields the speech of a recording as blocks of int16 `[samples]` at 16 kHz.

    Args:
        recording: a file or a part of one, or the bytes of a file, in any format that libsndfile knows. Several
            channels are averaged unless one is named.

    Raises:
        Unusable: with the reasons `MISSING`, `UNREADABLE`, `NOT_AUDIO`, `TRUNCATED`, `NO_SUCH_PART` or `NOT_FINITE`,
            the last three possibly after some blocks.
    """
    with _opened(recording) as (file, ends):
        part = None if isinstance(recording, bytes) else recording
        yield from _at_16_khz(_mono(file, ends, part), file.samplerate)


def decode(recording: AudioFile | bytes) -> np.ndarray:
    """All `blocks` of a recording in one: int16 `[samples]` at 16 kHz."""
    return np.concatenate([np.zeros(0, np.int16), *blocks(recording)])


def duration(recording: bytes) -> float:
    """Seconds of sound in the bytes of an audio file, by decoding: the headers of MP3 overstate it."""
    with _opened(recording) as (file, ends):
        return sum(len(block) for block in _mono(file, ends, None)) / file.samplerate


class _Stream(soundfile.SoundFile):
    """A file whose blocks are read one after another.

    Where soundfile takes a file to be seekable, it seeks after every read; the MP3 decoder then loses what the next
    frames lean on, and the beginning of every block is noise.
    """

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def _opened(recording: AudioFile | bytes) -> Iterator[tuple[soundfile.SoundFile, _Ends]]:
    """The opened file and its ends. Its content alone tells the format: names are often wrong."""
    with contextlib.ExitStack() as stack:
        stream: BinaryIO = (
            io.BytesIO(recording) if isinstance(recording, bytes) else stack.enter_context(_open(recording.path))
        )
        ends = _ends(stream)
        try:
            file = stack.enter_context(
                _Stream(stream if isinstance(recording, bytes) else stream.fileno(), closefd=False)
            )
        except (soundfile.LibsndfileError, ValueError, TypeError) as error:
            raise Unusable(Reason.NOT_AUDIO, _unknown_format(ends.head, error)) from error
        if not _RATES[0] <= file.samplerate <= _RATES[1]:
            raise Unusable(Reason.NOT_AUDIO, f'a sample rate of {file.samplerate} Hz')
        yield file, ends


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return open_regular(path, buffering=0)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unusable(Reason.MISSING, str(path)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Unusable(Reason.UNREADABLE, f'{getattr(error, "strerror", None) or error}: {path}') from error


def _ends(stream: BinaryIO) -> _Ends:
    try:
        tag = stream.read(10)
        if tag.startswith(b'ID3') and len(tag) == 10:  # its size has 7 bits a byte
            stream.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)))
            tag = b''
        head = tag + stream.read(_HEAD_BYTES)
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = stream.read(_TAIL_BYTES)
        stream.seek(0)
    except OSError as error:
        raise Unusable(Reason.UNREADABLE, str(error.strerror)) from error
    return _Ends(head, tail)


def _unknown_format(head: bytes, error: Exception) -> str:
    if not head:
        return 'an empty file'
    if head.startswith(b'NIST_1A') and b'shorten' in head:
        return 'SPHERE packed with shorten, which is not read here: unpack it with sph2pipe'
    return f'libsndfile {soundfile.__libsndfile_version__}: {getattr(error, "error_string", error)}'


def _mono(file: soundfile.SoundFile, ends: _Ends, part: AudioFile | None) -> Iterator[np.ndarray]:
    """Yields one channel, or the mean of all, of a part of `file`: float32 `[frames]` at its own rate."""
    part = part or AudioFile(path=None)  # type: ignore[arg-type]  # all of it; the path is not looked at
    start, stop = _span(file, ends, part)
    known = stop < _UNKNOWN and _tells_its_length(file, ends.head)
    size, position = max(1, _BLOCK_VALUES // file.channels), start
    try:
        if start:
            before = min(start, file.samplerate) if file.format == 'MP3' else 0  # its frames lean on those before them
            file.seek(start - before)
            file.read(before, dtype='float32')
        while position < stop:
            block = file.read(min(size, stop - position), dtype='float32', always_2d=True)
            if not len(block):
                break
            block = block.mean(axis=1) if part.channel is None else np.ascontiguousarray(block[:, part.channel])
            if not np.isfinite(block).all():
                raise Unusable(Reason.NOT_FINITE, f'within {len(block)} samples from {position / file.samplerate:g} s')
            yield block
            position += len(block)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise Unusable(Reason.TRUNCATED, f'cut off or damaged after {position / file.samplerate:g} s') from error
    if known and position < stop:
        raise Unusable(Reason.TRUNCATED, f'{stop - start} samples promised, {position - start} found')


def _span(file: soundfile.SoundFile, ends: _Ends, part: AudioFile) -> tuple[int, int]:
    """The first frame of a part, and the one after its last."""
    rate, frames = file.samplerate, file.frames
    if part.channel is not None and not 0 <= part.channel < file.channels:
        raise Unusable(Reason.NO_SUCH_PART, f'channel {part.channel} of {file.channels}')
    seconds = math.inf if part.seconds is None else part.seconds
    if not (math.isfinite(part.start) and part.start >= 0 and seconds > 0):  # NaN is not > 0
        raise Unusable(Reason.NO_SUCH_PART, f'{part.seconds} seconds from {part.start}')
    start = round(part.start * rate)
    end = min(part.start + seconds, _UNKNOWN / rate)
    length = frames / rate
    if end > length and (shortage := _shortage(file, ends)):
        raise Unusable(Reason.TRUNCATED, shortage)
    late = part.seconds is not None and end > length + _OVERHANG
    if late or (start and start >= frames):
        raise Unusable(Reason.NO_SUCH_PART, f'from {part.start:g} to {end:g} s of {length:g} s')
    return start, min(round(end * rate), frames)


def _shortage(file: soundfile.SoundFile, ends: _Ends) -> str:
    """What the header promises and the file does not have, in words; empty if nothing is known to be missing."""
    log = file.extra_info
    if found := _MENDED.search(log):
        promised, there = map(int, found.groups())
        if there < promised and not any(abs(promised - size) <= _HEAD_BYTES for size in _STREAMED):
            return f'{promised} bytes promised, {there} found'
    if (found := _MENDED_RF64.search(log)) and int(found[1]) < int(found[2]) < _UNKNOWN:
        return f'{found[2]} samples promised, {found[1]} found'
    if ends.head.startswith(b'NIST_1A') and (count := re.search(rb'sample_count -i (\d{1,18})', ends.head)):
        return f'{int(count[1])} samples promised, {file.frames} found' if file.frames < int(count[1]) else ''
    if _CUT_OGG in log:
        return 'the last page is cut off'
    return 'the last page is missing' if ends.head.startswith(b'OggS') and not _is_ended(ends.tail) else ''


def _is_ended(tail: bytes) -> bool:
    """Whether the last page of Ogg that begins in `tail` says that it is the last of its stream."""
    place = tail.rfind(b'OggS\0')
    return place >= 0 and bool(int.from_bytes(tail[place + 5 : place + 6]) & _LAST_PAGE)


def _tells_its_length(file: soundfile.SoundFile, head: bytes) -> bool:
    """Whether the number of frames is what the file says; of an MP3 without a tag that says so it is an estimate."""
    return file.format != 'MP3' or b'Xing' in head or b'Info' in head


def _at_16_khz(mono: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """float32 blocks at `rate` to int16 ones at 16 kHz, the same as if resampled in one."""
    if rate == SAMPLE_RATE:
        yield from map(_to_int16, mono)
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype='float32', quality='HQ')
    for block in mono:
        yield _to_int16(stream.resample_chunk(block))
    yield _to_int16(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _to_int16(audio: np.ndarray) -> np.ndarray:
    return np.clip(np.round(audio * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
