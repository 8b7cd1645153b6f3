import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.sources import archives
from bljust_jax.data.sources.archives import extract, is_archive
from bljust_jax.errors import UserError


def tar(path: Path, members: list[tuple[str, bytes | str]], mode: str = 'w:gz') -> Path:
    """A tar file; a member whose content is a string is a link to it, or `fifo`."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                member.type = tarfile.FIFOTYPE if content == 'fifo' else tarfile.SYMTYPE
                member.linkname = content
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def packed(path: Path, members: list[tuple[str, bytes | str]]) -> Path:
    """The same as a zip file."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            kind = stat.S_IFREG if isinstance(content, bytes) else stat.S_IFIFO if content == 'fifo' else stat.S_IFLNK
            entry.create_system, entry.external_attr = 3, (kind | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, 'w') as file:
                file.write(content if isinstance(content, bytes) else content.encode())
    return path


def make(path: Path, members: list[tuple[str, bytes | str]]) -> Path:
    if path.suffix == '.zip':
        return packed(path, members)
    return tar(path, members, {'.gz': 'w:gz', '.tgz': 'w:gz', '.bz2': 'w:bz2', '.xz': 'w:xz', '.tar': 'w'}[path.suffix])


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and path.name != '.rejected.jsonl'
    }


@pytest.fixture(params=archives.SUFFIXES)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f'corpus{request.param}'


GOOD = [('corpus/a.wav', b'a' * 5000), ('corpus/sub/b.wav', b'b'), ('./corpus//c ü.wav', b'')]


def test_good_archives(archive, tmp_path):
    assert is_archive(make(archive, GOOD))
    folder = extract(archive, tmp_path / 'out' / 'corpus')
    assert folder == tmp_path / 'out' / 'corpus' / 'corpus'
    assert content(folder) == {'a.wav': b'a' * 5000, 'sub/b.wav': b'b', 'c ü.wav': b''}
    archive.unlink()
    assert extract(archive, tmp_path / 'out' / 'corpus') == folder  # once is enough
    assert not is_archive(tmp_path / 'a.wav')


HOSTILE = [
    ('../out.wav', b'x', Reason.OUTSIDE),
    ('corpus/../../out.wav', b'x', Reason.OUTSIDE),
    ('/tmp/bljust_out.wav', b'x', Reason.OUTSIDE),
    ('corpus/link', '/etc', Reason.OUTSIDE),
    ('corpus/link/out.wav', b'x', None),  # which is a folder now, and no link
    ('corpus/pipe', 'fifo', Reason.OUTSIDE),
    ('corpus/a.wav', b'again', Reason.DUPLICATE_ID),
    ('corpus/a.wav/b.wav', b'x', Reason.DUPLICATE_ID),
    ('corpus/new\nline.wav', b'x', Reason.BAD_ROW),
    ('corpus/' + 'n' * 300, b'x', Reason.BAD_ROW),
    ('.rejected.jsonl', b'x', Reason.BAD_ROW),
]


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_hostile_members(archive, tmp_path):
    make(archive, [*GOOD, *((name, content) for name, content, _ in HOSTILE)])
    rejected: list[Rejection] = []
    target = tmp_path / 'inner' / 'corpus'
    folder = extract(archive, target, reject=rejected.append)
    assert [row.reason for row in rejected] == [reason for _, _, reason in HOSTILE if reason]
    assert all(row.source == str(archive) and row.id.isprintable() for row in rejected)
    assert content(target) == {
        'corpus/a.wav': b'a' * 5000,
        'corpus/sub/b.wav': b'b',
        'corpus/c ü.wav': b'',
        'corpus/link/out.wav': b'x',
    }
    assert sorted(os.listdir(tmp_path)) == sorted(['inner', archive.name])
    assert not os.path.exists('/tmp/bljust_out.wav')
    again: list[Rejection] = []
    assert extract(archive, target, reject=again.append) == folder
    assert again == rejected


def test_hostile_members_are_an_error_where_nobody_counts(archive, tmp_path):
    make(archive, [*GOOD, ('../out.wav', b'x')])
    with pytest.raises(UserError, match='leads out of the archive'):
        extract(archive, tmp_path / 'corpus')
    assert not (tmp_path / 'corpus').exists() and not (tmp_path / 'out.wav').exists()


def test_hard_links(tmp_path):
    path = tmp_path / 'a.tar'
    with tarfile.open(path, 'w') as archive:
        member = tarfile.TarInfo('passwd')
        member.type, member.linkname = tarfile.LNKTYPE, '/etc/passwd'
        archive.addfile(member)
    with pytest.raises(UserError, match='link'):
        extract(path, tmp_path / 'out')


def test_bombs(archive, tmp_path, monkeypatch):
    make(archive, [('zeros.wav', bytes(3_000_000))])
    monkeypatch.setattr(archives, 'ALWAYS_ALLOWED_BYTES', 1000)
    monkeypatch.setattr(archives, 'MAX_EXPANSION', 0.5)
    with pytest.raises(UserError, match='times its size'):
        extract(archive, tmp_path / 'out', reject=print)
    assert os.listdir(tmp_path) == [archive.name] or not (tmp_path / 'out').exists()


def test_too_many_members(archive, tmp_path, monkeypatch):
    make(archive, GOOD)
    monkeypatch.setattr(archives, 'MAX_MEMBERS', 2)
    with pytest.raises(UserError, match='more than 2 members'):
        extract(archive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_full_disk(archive, tmp_path, monkeypatch):
    make(archive, GOOD)
    monkeypatch.setattr(archives, 'SPARE_BYTES', 1 << 60)
    with pytest.raises(UserError, match='does not fit on the disk'):
        extract(archive, tmp_path / 'out')


@pytest.mark.parametrize('keep', [0.0, 0.5, 0.98])
def test_archives_that_break_off(archive, tmp_path, keep):
    whole = make(archive, [(f'{i}.wav', os.urandom(3000)) for i in range(50)]).read_bytes()
    archive.write_bytes(whole[: int(len(whole) * keep)])
    if archive.suffix == '.tar' and keep == 0.98:
        archive.write_bytes(whole[: 512 * 7 * 49 + 2000])
    with pytest.raises(UserError, match='damaged'):
        extract(archive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_what_is_no_archive(archive, tmp_path):
    archive.write_bytes(b'RIFF' * 1000)
    with pytest.raises(UserError, match='damaged or no archive'):
        extract(archive, tmp_path / 'out')
    with pytest.raises(UserError, match='No such file'):
        extract(tmp_path / 'nothing.zip', tmp_path / 'out')


def test_a_damaged_member_of_a_zip(tmp_path):
    path = packed(tmp_path / 'a.zip', [('a.wav', b'a' * 100), ('b.wav', os.urandom(1000)), ('c.wav', b'c')])
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 0xFF
    path.write_bytes(bytes_)
    rejected: list[Rejection] = []
    folder = extract(path, tmp_path / 'out', reject=rejected.append)
    assert [(row.reason, row.id) for row in rejected] == [(Reason.UNREADABLE, 'a.zip/b.wav')]
    assert content(folder) == {'a.wav': b'a' * 100, 'c.wav': b'c'}


def test_a_folder_that_was_there_before(tmp_path):
    path = make(tmp_path / 'a.zip', GOOD)
    (tmp_path / 'mine').mkdir()
    with pytest.raises(UserError, match='was not made from'):
        extract(path, tmp_path / 'mine')


def test_a_checksum_at_the_end(tmp_path):
    path = tar(tmp_path / 'a.tar.gz', GOOD)
    plain = gzip.decompress(path.read_bytes())
    wrong = bytearray(gzip.compress(plain))
    wrong[-6] ^= 1
    path.write_bytes(wrong)
    with pytest.raises(UserError, match='damaged'):
        extract(path, tmp_path / 'out')


def test_a_full_disk_is_no_damaged_archive(tmp_path, monkeypatch):
    archive = make(tmp_path / 'a.tar', [('a.wav', b'speech')])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, '_copy', full)
    with pytest.raises(UserError, match='cannot be unpacked into .*: No space left on device'):
        extract(archive, tmp_path / 'out')
