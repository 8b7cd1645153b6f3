"""Corpora that come as one file: unpacking it without letting it write anywhere else, or fill the disk."""

import bz2
import contextlib
import dataclasses
import errno
import gzip
import json
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources.paths import check_spelling, shown
from bljust_jax.errors import UserError
from bljust_jax.files import locked

SUFFIXES = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.zip')
MAX_MEMBERS = 20_000_000  # some three times those of the largest corpora of speech
MAX_EXPANSION = 100  # times the size of the archive: speech shrinks to a tenth at best
ALWAYS_ALLOWED_BYTES = 1 << 30  # whatever the expansion: small archives may be of silence
SPARE_BYTES = 1 << 28  # that are left free on the disk

_BLOCK_BYTES = 1 << 20
_REJECTED = '.rejected.jsonl'
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def is_archive(path: Path) -> bool:
    """Whether the name of `path` is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def extract(archive: Path, target: Path, *, reject: Callable[[Rejection], None] | None = None) -> Path:
    """Unpacks a tar or zip file, once, and returns the folder with its content.

    Only plain files and folders are made, and only below `target`: members whose names lead elsewhere, links, devices,
    encrypted or damaged members and second members of the same name are rejected. `target` appears when all is
    there; if it exists already, nothing is unpacked, and what was rejected then is reported again.

    Args:
        archive: of one of `SUFFIXES`.
        target: a folder that need not exist; those above it are made.
        reject: is told of each member that is not taken; without, the first one is an error.

    Returns:
        `target`; or the folder in it, if that is all there is.

    Raises:
        UserError: the archive cannot be read or is damaged, holds more than `MAX_MEMBERS` members or `MAX_EXPANSION`
            times its own size (and more than `ALWAYS_ALLOWED_BYTES`), does not fit on the disk, or has a member that is
            rejected though there is no `reject`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target):
        if not target.exists():
            partial = target.with_name(f'.{target.name}.partial')
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
            try:
                partial.mkdir()
                _unpack(archive, partial, strict=reject is None)
                os.replace(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    for rejection in _rejections(target, archive):
        if reject is None:
            raise UserError(f'{archive} has a member that is not taken: {rejection.detail}.')
        reject(rejection)
    content = [path for path in target.iterdir() if path.name != _REJECTED]
    return content[0] if len(content) == 1 and content[0].is_dir() else target


@dataclass(frozen=True)
class _Member:
    """Something in an archive: `kind` is `file`, `folder`, or what else it is."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


class _Budget:
    """How much an archive may still come to."""

    def __init__(self, archive: Path, target: Path):
        self._archive, self._target, self._members = archive, target, 0
        self._bytes = max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * archive.stat().st_size)

    def member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise UserError(
                f'{self._archive} has more than {MAX_MEMBERS:,} members: unpack it by hand if you trust it.'
            )

    def spend(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise UserError(f'{self._archive} unpacks to more than {MAX_EXPANSION} times its size: unpack it by hand.')
        if shutil.disk_usage(self._target).free < SPARE_BYTES + count:
            raise UserError(f'{self._archive} does not fit on the disk of {self._target.parent}: make room there.')


def _unpack(archive: Path, target: Path, *, strict: bool) -> None:
    """Fills the new folder `target`; what is rejected is listed in a hidden file in it."""
    with (target / _REJECTED).open('x', encoding='utf-8') as rejected:
        try:
            budget = _Budget(archive, target)
            for member in _members(archive):
                budget.member()
                try:
                    _write(member, target, budget)
                except Unusable as refused:
                    if strict:
                        raise UserError(f'{archive} has a member that is not taken: {refused.detail}.') from refused
                    name = shown(member.name)[1:-1]
                    row = Rejection(f'{archive.name}/{name}', '', str(archive), refused.reason, refused.detail)
                    rejected.write(json.dumps(dataclasses.asdict(row)) + '\n')
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise UserError(f'{archive} cannot be unpacked into {target}: {error.strerror}.') from error
            raise UserError(f'{archive} is damaged or no archive: {error}.') from error


def _write(member: _Member, target: Path, budget: _Budget) -> None:
    parts = _parts(member.name)
    path = target.joinpath(*parts)
    try:
        if member.kind == 'folder':
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind == 'file':
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(member, path, budget)
        else:
            raise Unusable(Reason.OUTSIDE, f'{shown(member.name)} is a {member.kind}, which is not unpacked')
    except (FileExistsError, NotADirectoryError) as error:
        raise Unusable(Reason.DUPLICATE_ID, f'{shown(member.name)} is there twice') from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise Unusable(Reason.BAD_ROW, f'{shown(member.name)} is too long a name') from error


def _parts(name: str) -> list[str]:
    """The parts of a member's name, which lead nowhere but down."""
    if not name or name.startswith('/') or '..' in name.split('/'):
        raise Unusable(Reason.OUTSIDE, f'{shown(name)} leads out of the archive')
    check_spelling(name)
    parts = [part for part in name.split('/') if part not in ('', '.')]
    if parts[:1] == [_REJECTED]:
        raise Unusable(Reason.BAD_ROW, f'{shown(name)} is a name that is taken')
    return parts


def _copy(member: _Member, path: Path, budget: _Budget) -> None:
    with path.open('xb') as written:
        try:
            with contextlib.closing(member.open() or _nothing(member)) as content:
                while block := content.read(_BLOCK_BYTES):
                    budget.spend(len(block))
                    written.write(block)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:  # of this member alone
            path.unlink()
            raise Unusable(Reason.UNREADABLE, f'{shown(member.name)} cannot be unpacked: {error}') from error


def _nothing(member: _Member) -> IO[bytes]:
    raise Unusable(Reason.UNREADABLE, f'{shown(member.name)} has no content')


def _members(archive: Path) -> Iterator[_Member]:
    """The members of an archive in order, to be opened at once; memory stays flat for tar files."""
    if not archive.name.lower().endswith('.zip'):
        with _unpacked(archive) as stream, tarfile.open(fileobj=stream, mode='r:') as tar:
            while (found := tar.next()) is not None:
                yield _tar_member(tar, found)
                tar.members.clear()  # type: ignore[attr-defined]  # which it keeps, though nobody needs them again
            while stream.read(_BLOCK_BYTES):  # to the end, where checksums are
                pass
    else:
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                yield _zip_member(packed, entry)


def _unpacked(archive: Path) -> IO[bytes]:
    openers: dict[str, Callable[[Path], Any]] = {
        '.gz': gzip.open,
        '.tgz': gzip.open,
        '.bz2': bz2.open,
        '.xz': lzma.open,
    }
    return openers.get(archive.suffix.lower(), lambda path: path.open('rb'))(archive)


def _tar_member(tar: tarfile.TarFile, found: tarfile.TarInfo) -> _Member:
    link = 'link' if found.issym() or found.islnk() else 'device or a pipe'
    kind = 'file' if found.isreg() else 'folder' if found.isdir() else link
    return _Member(found.name, kind, lambda: tar.extractfile(found))


def _zip_member(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Member:
    unix_type = entry.external_attr >> 28 if entry.create_system == 3 else 0
    kinds: dict[int, str] = {0: 'file', 0o10: 'file', 0o4: 'folder', 0o12: 'link'}
    kind = 'folder' if entry.is_dir() else kinds.get(unix_type, 'device or a pipe')
    return _Member(entry.filename, kind, lambda: packed.open(entry))


def _rejections(target: Path, archive: Path) -> Iterator[Rejection]:
    """What was rejected when `target` was made."""
    try:
        lines = (target / _REJECTED).read_text(encoding='utf-8').splitlines()
    except FileNotFoundError as error:
        raise UserError(f'{target} was not made from {archive}: remove it, or choose another folder.') from error
    for line in lines:
        row: dict[str, Any] = json.loads(line)
        yield Rejection(**{**row, 'reason': Reason(row['reason'])})
