"""Opening what a stranger gave: regular files only, for a pipe or a device could keep its reader for ever."""

import errno
import os
import stat
from typing import BinaryIO


def open_regular(path: str | os.PathLike[str], *, buffering: int = -1) -> BinaryIO:
    """Opens a regular file for reading bytes; wrap it in `io.TextIOWrapper` to read text.

    Args:
        path: of the file; links to regular files are followed.
        buffering: as in `open`.

    Raises:
        OSError: it cannot be opened; with `errno.EINVAL` if it is a folder, a pipe or a device.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, 'not a regular file', os.fspath(path))
    return os.fdopen(handle, 'rb', buffering)
