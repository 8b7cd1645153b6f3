import stat

import pytest

from bljust_jax.data.corpora.debian import DebianPackage, deb_files, obtain
from bljust_jax.errors import UserError
from tests.data import fakes

FILES = {'usr/share/a.txt': b'alpha', 'usr/share/b.bin': bytes(range(256)) * 41}
CONTENT = fakes.deb(FILES)
PACKAGE = DebianPackage('sounds', '1.2-3', 'pool/main/s/sounds', fakes.sha256(CONTENT))
OTHER = DebianPackage('texts', '1.0-1', 'pool/main/t/texts', fakes.sha256(CONTENT))


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Puts a fake apt-get with the given shell body first on the PATH."""

    def install(body: str) -> None:
        folder = tmp_path / 'bin'
        folder.mkdir()
        script = folder / 'apt-get'
        script.write_text(f'#!/bin/sh\n{body}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')

    return install


@pytest.mark.parametrize('packing', ['xz', 'gz', ''])
def test_files_of_a_package(tmp_path, packing):
    path = tmp_path / 'a.deb'
    path.write_bytes(fakes.deb(FILES, packing))
    assert dict(deb_files(path)) == FILES


@pytest.mark.parametrize('packing', ['xz', 'gz', ''])
@pytest.mark.parametrize('kept', [0, 4, 40, 70, 150, 250, -100, -1500])
def test_truncated_package(tmp_path, packing, kept):
    path = tmp_path / 'cut.deb'
    path.write_bytes(fakes.deb(FILES, packing)[:kept])
    with pytest.raises(UserError, match=r'cut\.deb'):
        dict(deb_files(path))


@pytest.mark.parametrize('packing', ['xz', 'gz'])
def test_damaged_package(tmp_path, packing):
    content = bytearray(fakes.deb(FILES, packing))
    content[-60:] = bytes(60)
    path = tmp_path / 'damaged.deb'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'damaged\.deb'):
        dict(deb_files(path))


def test_zstandard_package(tmp_path):
    path = tmp_path / 'new.deb'
    path.write_bytes(fakes.deb(FILES, 'zst'))
    with pytest.raises(UserError, match=r'new\.deb.*(zstandard|damaged)'):
        dict(deb_files(path))


def test_package_packed_in_another_way(tmp_path):
    path = tmp_path / 'old.deb'
    path.write_bytes(fakes.deb(FILES, 'lzma'))
    with pytest.raises(UserError, match='packed with .lzma'):
        dict(deb_files(path))


def test_foreign_file(tmp_path):
    path = tmp_path / 'song.deb'
    path.write_bytes(fakes.sound(0.1))
    with pytest.raises(UserError, match='song.deb is no Debian package'):
        dict(deb_files(path))


@pytest.mark.parametrize('as_folder', [True, False])
def test_package_from_a_source(tmp_path, as_folder):
    file = tmp_path / PACKAGE.file_name
    file.write_bytes(CONTENT)
    assert obtain([PACKAGE], [tmp_path if as_folder else file], tmp_path / 'cache') == {'sounds': file}


def test_sources_add_up(tmp_path):
    files = [tmp_path / PACKAGE.file_name, tmp_path / OTHER.file_name]
    for file in files:
        file.write_bytes(CONTENT)
    assert list(obtain([PACKAGE, OTHER], files, tmp_path / 'cache').values()) == files


def test_useless_sources(tmp_path):
    stray = tmp_path / 'stray.deb'
    stray.write_bytes(CONTENT)
    for source in (tmp_path, stray):
        with pytest.raises(UserError, match=rf'--source={source} .*none of {PACKAGE.file_name}'):
            obtain([PACKAGE], [source], tmp_path / 'cache')
    with pytest.raises(UserError, match='nowhere does not exist'):
        obtain([PACKAGE], [tmp_path / 'nowhere'], tmp_path / 'cache')


def test_package_with_another_checksum(tmp_path):
    (tmp_path / PACKAGE.file_name).write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f'{PACKAGE.file_name} is truncated or not the pinned version'):
        obtain([PACKAGE], [tmp_path], tmp_path / 'cache')


def test_download_is_kept(tmp_path, apt):
    (tmp_path / 'mirror.deb').write_bytes(CONTENT)
    apt(f'[ "$*" = "download sounds=1.2-3" ] && cp {tmp_path}/mirror.deb {PACKAGE.file_name}')
    cache = tmp_path / 'cache'
    path = obtain([PACKAGE], [], cache)['sounds']
    assert list(cache.iterdir()) == [path] and path.read_bytes() == CONTENT
    (tmp_path / 'bin/apt-get').write_text('#!/bin/sh\nexit 1\n')
    assert obtain([PACKAGE], [], cache)['sounds'] == path


def test_damaged_download_is_not_kept(tmp_path, apt):
    apt(f'echo oops > {PACKAGE.file_name}')
    with pytest.raises(UserError, match='pinned version'):
        obtain([PACKAGE], [], tmp_path / 'cache')
    assert not list((tmp_path / 'cache').iterdir())


@pytest.mark.parametrize(
    ('stderr', 'reason'),
    [
        ('E: Unable to locate package sounds', 'package lists are missing'),
        ("E: Version '1.2-3' for 'sounds' was not found", 'another version'),
        ("W: x\nE: Failed to fetch a  Temporary failure resolving 'b'", 'no network or no mirror'),
        ('E: The moon is full', 'The moon is full'),
        ('', 'no reason given'),
    ],
)
def test_failing_apt_says_what_to_fetch(tmp_path, apt, stderr, reason):
    apt(f'cat >&2 <<"END"\n{stderr}\nEND\nexit 100')
    with pytest.raises(UserError, match=reason) as caught:
        obtain([PACKAGE], [], tmp_path / 'cache')
    message = str(caught.value)
    assert PACKAGE.file_name in message and str(tmp_path / 'cache') in message and '--source=' in message
    assert '\n' not in message


def test_no_apt_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match=f'apt-get is not installed here: fetch {PACKAGE.file_name} by hand'):
        obtain([PACKAGE], [], tmp_path / 'cache')
