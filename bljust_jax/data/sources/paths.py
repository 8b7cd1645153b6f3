"""Paths that a stranger wrote: which file below a folder a name means, if it means one."""

import errno
import os
import re
import stat
from pathlib import Path

from bljust_jax.data.preparing.rejection import Reason, Unusable

_CONTROLS = re.compile(r'[\x00-\x1f\x7f-\x9f]')
_SHOWN_CHARACTERS = 120
_MAX_BYTES = 4096  # Linux's PATH_MAX


def resolve(root: Path, name: str) -> Path:
    """Returns the real path, free of links, of the readable file that `name` means below `root`.

    Nothing outside `root` is ever returned, by whatever mix of `..`, absolute paths and links `name` leads there.
    Inside it, all of these are allowed.

    Args:
        root: a folder.
        name: a path relative to `root`, or an absolute one inside it.

    Raises:
        Unusable: `BAD_ROW` for what cannot be a path (empty, control characters, not UTF-8, too long), `OUTSIDE` for
            what leads out of `root` and for loops of links, `MISSING`, `UNREADABLE` by permission, and `NOT_AUDIO` for
            what is no plain file (a folder, a pipe, a device).
    """
    check_spelling(name)
    real_root = os.path.realpath(root)
    joined = os.path.join(real_root, name)
    try:
        path = os.path.realpath(joined, strict=True)
        _check_inside(path, real_root, name)
        mode = os.stat(path).st_mode
    except OSError as error:
        _check_inside(os.path.realpath(joined), real_root, name)  # of what lies outside, no more is told than that
        raise _refusal(error, name) from error
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'
        raise Unusable(Reason.NOT_AUDIO, f'{shown(name)} is {kind}, not a file')
    if not os.access(path, os.R_OK):
        raise Unusable(Reason.UNREADABLE, f'{shown(name)} may not be read by this user')
    return Path(path)


def check_spelling(name: str) -> None:
    """Raises `Unusable` for what cannot be a path: empty, with control characters, not UTF-8, too long."""
    if not name:
        raise Unusable(Reason.BAD_ROW, 'the path is empty')
    if _CONTROLS.search(name):
        raise Unusable(Reason.BAD_ROW, f'the path {shown(name)} has control characters')
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise Unusable(Reason.BAD_ROW, f'the path {shown(name)} is not UTF-8') from error
    if size > _MAX_BYTES:
        raise Unusable(Reason.BAD_ROW, f'the path {shown(name)} is too long')


def shown(value: object) -> str:
    """`value` as messages have it: quoted, what does not print escaped, no longer than a line."""
    text = value if isinstance(value, str) else repr(value)
    cut = f'{text[:_SHOWN_CHARACTERS]}...' if len(text) > _SHOWN_CHARACTERS else text
    return repr(cut)


def _check_inside(path: str, real_root: str, name: str) -> None:
    if os.path.commonpath([path, real_root]) != real_root:
        raise Unusable(Reason.OUTSIDE, f'{shown(name)} leads out of the folder of the audio')


def _refusal(error: OSError, name: str) -> Unusable:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Unusable(Reason.MISSING, f'{shown(name)} does not exist')
        case errno.ELOOP:
            return Unusable(Reason.OUTSIDE, f'{shown(name)} is a loop of links')
        case errno.ENAMETOOLONG:
            return Unusable(Reason.BAD_ROW, f'the path {shown(name)} is too long')
        case _:
            return Unusable(Reason.UNREADABLE, f'{shown(name)} cannot be read: {error.strerror}')
