"""Files that appear whole or not at all, and one process at a time."""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes `content` (text in UTF-8) in one move: stopped half-way, what was there before is still whole."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.tmp')
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(path: str | os.PathLike[str]) -> None:
    """Returns when the content of a file is on the disk, and no loss of power can take it back."""
    with open(path, 'rb') as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = True) -> Iterator[bool]:
    """Whether no other process is within this context for the same file or folder; nor is one to be until it ends.

    Args:
      path: of the file, which need not exist; the folder that it is in must.
      wait: until that is so; otherwise the context is entered at once, with False if another process is in it.
    """
    path = Path(path)
    with open(path.with_name(f'.{path.name}.lock'), 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
