"""Debian packages as a source of corpora: finding or fetching a `.deb`, and reading the files inside it.

A `.deb` is an `ar` archive with a member `data.tar.*`; it is read here without dpkg.
"""

import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from bljust_jax.errors import UserError

_AR_MAGIC = b'!<arch>\n'
_AR_HEADER_BYTES = 60


@dataclass(frozen=True)
class DebianPackage:
    """One pinned package of Debian's main section.

    Attributes:
        name: package name, as `apt-get download` takes it.
        version: the pinned version.
        folder: where a Debian mirror keeps it, such as `pool/main/a/asterisk-core-sounds`.
        sha256: of the `.deb` file.
    """

    name: str
    version: str
    folder: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the `.deb` file."""
        return f'{self.name}_{self.version}_all.deb'


def obtain(packages: Sequence[DebianPackage], sources: Sequence[str | os.PathLike], cache: Path) -> dict[str, Path]:
    """Returns the verified `.deb` of each package by name: out of `sources`, out of `cache`, or through apt.

    Args:
        packages: what is wanted.
        sources: `.deb` files, or folders that hold some.
        cache: folder of earlier downloads, which takes new ones.

    Raises:
        UserError: a source does not exist or is of no use, a file is not the pinned one, or apt cannot fetch it.
    """
    given = _given(packages, sources)
    return {package.name: given.get(package.name) or _fetch(package, cache) for package in packages}


def _given(packages: Sequence[DebianPackage], sources: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """The verified packages in `sources`, each of which must hold one."""
    given: dict[str, Path] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise UserError(f'--source={source} does not exist: give a .deb file or a folder of .deb files.')
        files = [source / package.file_name for package in packages] if source.is_dir() else [source] * len(packages)
        found = {
            package.name: file
            for package, file in zip(packages, files, strict=True)
            if file.is_file() and file.name.split('_')[0] == package.name
        }
        if not found:
            wanted = ', '.join(package.file_name for package in packages)
            raise UserError(f'--source={source} is or holds none of {wanted}.')
        given |= found
    return {package.name: _verified(given[package.name], package) for package in packages if package.name in given}


def _fetch(package: DebianPackage, cache: Path) -> Path:
    cached = cache / package.file_name
    return _verified(cached, package) if cached.is_file() else _download(package, cached)


def _verified(path: Path, package: DebianPackage) -> Path:
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    if digest != package.sha256:
        raise UserError(
            f'{path} is truncated or not the pinned version (SHA-256 {digest}, expected {package.sha256}): '
            f'delete it, or fetch {package.file_name} again.'
        )
    return path


def _download(package: DebianPackage, target: Path) -> Path:
    """Fetches `package` with apt into a temporary folder and renames it to `target` once verified."""
    target.parent.mkdir(parents=True, exist_ok=True)
    by_hand = (
        f'fetch {package.file_name} by hand ({package.folder} on any Debian mirror) and put it into {target.parent}, '
        'or pass --source=FOLDER_OR_FILE'
    )
    if shutil.which('apt-get') is None:
        raise UserError(f'apt-get is not installed here: {by_hand}.')
    logging.info('Downloading %s with apt-get.', package.file_name)
    with tempfile.TemporaryDirectory(prefix='.apt-', dir=target.parent) as folder:
        command = ['apt-get', 'download', f'{package.name}={package.version}']
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C'})
        if result.returncode:
            raise UserError(f'"{" ".join(command)}" failed ({_apt_reason(result.stderr)}): {by_hand}.')
        fetched = list(Path(folder).glob('*.deb'))
        if len(fetched) != 1:
            raise UserError(f'"{" ".join(command)}" left {len(fetched)} .deb files instead of one: {by_hand}.')
        os.replace(_verified(fetched[0], package), target)
    return target


def _apt_reason(stderr: str) -> str:
    """One clause out of apt's error output."""
    lowered = stderr.lower()
    if 'unable to locate' in lowered or 'no packages found' in lowered:
        return 'the package lists are missing: "apt-get update" as root fills them'
    if 'version' in lowered and 'was not found' in lowered:
        return "this system's package lists hold another version"
    if 'resolving' in lowered or 'could not connect' in lowered or 'failed to fetch' in lowered:
        return 'no network or no mirror'
    return next((line[2:].strip() for line in stderr.splitlines() if line.startswith('E:')), 'no reason given')


def deb_files(path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of every regular file in a `.deb`, names as installed without the leading slash.

    Raises:
        UserError: the file is truncated or is no Debian package.
    """
    try:
        with _open_data(Path(path).read_bytes(), path) as archive:
            for member in archive:
                if content := archive.extractfile(member):  # None for folders
                    yield member.name.removeprefix('./').lstrip('/'), content.read()
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f'{path} is truncated or damaged ({error}): fetch it again.') from error


def _open_data(content: bytes, path: str | os.PathLike) -> tarfile.TarFile:
    for name, data in _ar_members(content, path):
        if name.startswith('data.tar'):
            # Unpacked whole, so that a damaged end is noticed too.
            return tarfile.open(fileobj=io.BytesIO(_unpack(data, name, path)), mode='r:')
    raise UserError(f'{path} holds no data.tar: it is truncated or no Debian package.')


def _unpack(data: bytes, name: str, path: str | os.PathLike) -> bytes:
    match Path(name).suffix:
        case '.tar':
            return data
        case '.xz':
            return lzma.decompress(data)
        case '.gz':
            return gzip.decompress(data)
        case '.zst':
            return _unpack_zstandard(data, path)
        case suffix:
            raise UserError(f'{path} is packed with {suffix}, which is not read here: fetch the pinned package.')


def _ar_members(content: bytes, path: str | os.PathLike) -> Iterator[tuple[str, bytes]]:
    if not content.startswith(_AR_MAGIC):
        raise UserError(f'{path} is no Debian package (it does not begin with "!<arch>").')
    position = len(_AR_MAGIC)
    while position < len(content):
        header = content[position : position + _AR_HEADER_BYTES]
        size_field = header[48:58].strip()
        if len(header) < _AR_HEADER_BYTES or header[58:] != b'`\n' or not size_field.isdigit():
            raise UserError(f'{path} is truncated or damaged at byte {position}: fetch it again.')
        start, size = position + _AR_HEADER_BYTES, int(size_field)
        if start + size > len(content):
            raise UserError(f'{path} is truncated: {start + size} bytes expected, {len(content)} found.')
        yield header[:16].decode('latin-1').strip().rstrip('/'), content[start : start + size]
        position = start + size + size % 2


def _unpack_zstandard(data: bytes, path: str | os.PathLike) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        raise UserError(f'{path} is packed with Zstandard: "pip install zstandard" and try again.') from error
    try:
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    except zstandard.ZstdError as error:
        raise UserError(f'{path} is truncated or damaged ({error}): fetch it again.') from error
