import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bljust_jax.data.preparing.rejection import Reason, Unusable
from bljust_jax.data.sources.paths import resolve


@pytest.fixture(scope='module')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with files and links of every kind, beside a folder that is none of its business."""
    base = tmp_path_factory.mktemp('paths')
    root = base / 'root'
    (root / 'a' / 'b').mkdir(parents=True)
    (base / 'root_too').mkdir()
    for path in (root / 'x.wav', root / 'a' / 'y.wav', root / 'a' / 'b' / 'ünï code.wav', base / 'root_too' / 'z.wav'):
        path.write_bytes(b'x')
    (root / 'in').symlink_to('a/y.wav')
    (root / 'up').symlink_to('a/../a')
    (root / 'out').symlink_to(base / 'root_too' / 'z.wav')
    (root / 'outer').symlink_to('../root_too')
    (root / 'a' / 'back').symlink_to(root)
    (root / 'loop').symlink_to('loop')
    (root / 'ping').symlink_to('pong')
    (root / 'pong').symlink_to('ping')
    (root / 'dangling').symlink_to('nothing.wav')
    os.mkfifo(root / 'pipe.wav')
    return root


def refused(root: Path, name: str) -> Reason:
    with pytest.raises(Unusable) as caught:
        resolve(root, name)
    assert caught.value.detail.isprintable()
    return caught.value.reason


@pytest.mark.parametrize(
    ('name', 'target'),
    [
        ('x.wav', 'x.wav'),
        ('./a//y.wav', 'a/y.wav'),
        ('a/../x.wav', 'x.wav'),
        ('../root/x.wav', 'x.wav'),
        ('in', 'a/y.wav'),
        ('up/y.wav', 'a/y.wav'),
        ('a/back/a/back/x.wav', 'x.wav'),
        ('a/b/ünï code.wav', 'a/b/ünï code.wav'),
    ],
)
def test_inside(tree, name, target):
    assert resolve(tree, name) == tree / target


def test_absolute_paths_inside(tree):
    assert resolve(tree, str(tree / 'a' / 'y.wav')) == tree / 'a' / 'y.wav'
    assert resolve(Path('/'), str(tree / 'out')) == tree.parent / 'root_too' / 'z.wav'


def test_a_root_behind_a_link(tree, tmp_path):
    (tmp_path / 'link').symlink_to(tree)
    assert resolve(tmp_path / 'link', 'x.wav') == tree / 'x.wav'
    assert resolve(tmp_path / 'link', str(tmp_path / 'link' / 'x.wav')) == tree / 'x.wav'


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('../root_too/z.wav', Reason.OUTSIDE),
        ('../nothing.wav', Reason.OUTSIDE),
        ('a/../../root_too/z.wav', Reason.OUTSIDE),
        ('/etc/passwd', Reason.OUTSIDE),
        ('out', Reason.OUTSIDE),
        ('outer/z.wav', Reason.OUTSIDE),
        ('a/back/out', Reason.OUTSIDE),
        ('loop', Reason.OUTSIDE),
        ('ping', Reason.OUTSIDE),
        ('loop/x.wav', Reason.OUTSIDE),
        ('nothing.wav', Reason.MISSING),
        ('x.wav/y.wav', Reason.MISSING),
        ('dangling', Reason.MISSING),
        ('nothing/../x.wav', Reason.MISSING),
        ('', Reason.BAD_ROW),
        ('x.wav\0', Reason.BAD_ROW),
        ('a\n.wav', Reason.BAD_ROW),
        ('\x85.wav', Reason.BAD_ROW),
        ('\udcff.wav', Reason.BAD_ROW),
        ('x' * 300, Reason.BAD_ROW),
        ('x/' * 5000, Reason.BAD_ROW),
        ('.', Reason.NOT_AUDIO),
        ('a', Reason.NOT_AUDIO),
        ('pipe.wav', Reason.NOT_AUDIO),
    ],
)
def test_refused(tree, name, reason):
    assert refused(tree, name) is reason


def test_a_file_that_may_not_be_read(tree, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: False)  # the tests may run as root, who may read anything
    assert refused(tree, 'x.wav') is Reason.UNREADABLE


PARTS = st.sampled_from(
    '.. . a b back x.wav y.wav z.wav in up out outer loop ping root root_too nothing pipe.wav / /etc ~ *'.split()
) | st.sampled_from(['', '\0', '\udc80'])
NAMES = st.lists(PARTS, max_size=8).map('/'.join) | st.text(max_size=20)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, absolute=st.booleans())
@example(name='../root_too/z.wav', absolute=True)
def test_never_outside(tree, name, absolute):
    name = f'{tree}/{name}' if absolute else name
    try:
        path = resolve(tree, name)
    except Unusable:
        return
    assert os.path.realpath(path).startswith(f'{tree}{os.sep}')
    assert path.is_file()
    assert os.path.samefile(path, tree / name)
