"""A bare folder: every audio file below it is an utterance."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources import fields
from bljust_jax.data.sources.lines import MAX_LINE_BYTES
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.request import Request
from bljust_jax.errors import UserError


def read(request: Request) -> Iterator[Utterance | Rejection]:
    """Yields the audio files below a folder in the order of their paths; the folders that they are in are speakers.

    A file is audio if its suffix is one of `fields.AUDIO_SUFFIXES`. The transcript of `a.wav` is in `a.txt` beside it.
    Other files, hidden ones and links to folders (which could loop) are not followed, but counted in the log.

    Raises:
        UserError: there is no audio at all, or rows should name their splits.
    """
    if not request.split:
        raise UserError(f'{request.path} is a folder of audio, which names no splits: say the split of all of it.')
    found, ignored = 0, Counter[str]()
    for entry in _walk(request.path, '', ignored):
        found += 1
        relative, refused = entry
        yield _utterance(relative, request) if refused is None else _rejection(relative, refused, request)
    if not found:
        raise UserError(f'{request.path} holds no audio: no file below it has a suffix such as .wav or .flac.')
    if request.transcribed:
        del ignored['.txt']
    if ignored:
        kinds = ', '.join(f'{count} {kind}' for kind, count in ignored.most_common(5))
        logging.info('%s: %d files and links are not audio and ignored (%s).', request.path, ignored.total(), kinds)


def _walk(root: Path, start: str, ignored: Counter[str]) -> Iterator[tuple[str, Unusable | None]]:
    """Yields the audio below the folder `start` of `root`, as relative paths, and folders that cannot be read."""
    waiting = [start]  # not by recursion: folders may be nested deeper than Python's stack
    while waiting:
        relative = waiting.pop()
        if not relative or relative.endswith('/'):
            try:
                waiting += reversed(_entries(root / relative, relative, ignored))
            except OSError as error:
                yield relative, Unusable(Reason.UNREADABLE, f'{shown(relative)} cannot be listed: {error.strerror}')
        else:
            yield relative, None


def _entries(folder: Path, relative: str, ignored: Counter[str]) -> list[str]:
    """Folders, marked by `/`, and audio files in `folder`, sorted."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith('.'):
                ignored['hidden'] += 1
            elif entry.is_dir(follow_symlinks=False):
                found.append(f'{relative}{entry.name}/')
            elif suffix in fields.AUDIO_SUFFIXES and not (entry.is_symlink() and os.path.isdir(entry.path)):
                found.append(f'{relative}{entry.name}')
            else:
                ignored[ascii(suffix)[1:-1] if suffix else 'without suffix'] += 1
    return sorted(found)


def _utterance(relative: str, request: Request) -> Utterance | Rejection:
    try:
        path = os.path.join(os.path.abspath(request.path), relative)
        recording = AudioFile(resolve(request.root, path))
        identity = fields.default_id(relative, recording, request.path)
        text = _transcript(os.path.splitext(path)[0] + '.txt', request) if request.transcribed else None
        parent = os.path.dirname(relative).replace('/', '-')
        speaker = fields.name(parent, 'speaker') if parent else ''
    except Unusable as refused:
        return _rejection(relative, refused, request)
    return Utterance(identity, recording, text, speaker, request.split)


def _transcript(path: str, request: Request) -> str:
    try:
        with open(resolve(request.root, path), 'rb') as file:
            content = file.read(MAX_LINE_BYTES + 1)
        if len(content) > MAX_LINE_BYTES:
            raise Unusable(Reason.BAD_TEXT, f'{shown(path)} is longer than {MAX_LINE_BYTES} bytes')
        return fields.transcript(content.decode('utf-8-sig').strip())
    except UnicodeDecodeError as error:
        raise Unusable(Reason.BAD_TEXT, f'{shown(path)} is not UTF-8') from error
    except OSError as error:
        raise Unusable(Reason.UNREADABLE, f'{shown(path)} cannot be read: {error.strerror}') from error


def _rejection(relative: str, refused: Unusable, request: Request) -> Rejection:
    return Rejection(shown(relative)[1:-1], request.split, str(request.path), refused.reason, refused.detail)
