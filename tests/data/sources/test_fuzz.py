"""Mutated manifests of every kind: whatever they hold, there are utterances, rejections, or one error for the file."""

import gzip
import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.sources.manifests import read_manifest
from bljust_jax.errors import UserError
from tests.data.sources import samples

FILES = (*(kind for kind in samples.KINDS if kind not in ('kaldi', 'audio')),)
FILES += tuple(f'kaldi/{name}' for name in ('wav.scp', 'segments', 'text', 'utt2spk'))
HOSTILE = [
    *(b'../../etc/passwd', b'/etc/passwd', b'/dev/zero', b'touch mark |', b'| touch mark', b'audio/loop', b'audio/out'),
    *(b'\0', b'\\u0000', b'\xff\xfe', b'\xc0\xaf', b'\\ud800', b'\xe2\x80\xae', b'\xe2\x80\xa8', b'\\u202e', b'\x85'),
    *(b'NaN', b'Infinity', b'-1', b'1e999', b'-0.0', b'9' * 400, b'9' * 5000, b'0x10', b'1_0', b'true', b'null'),
    *(b'{}', b'[]', b'[' * 3000, b'{"a":' * 3000, b'"', b'""', b"'", b',', b';', b'\t', b'\n', b'\r', b'\r\n', b' '),
    *(b'', b'x' * 5000, b'a/' * 3000, b'=cmd|calc', b'<script>', b'%s%n', b'$(touch mark)', b'`touch mark`', b'~'),
]
KEYS = [b'id', b'path', b'audio_filepath', b'text', b'duration', b'start', b'channel', b'source', b'type', b'tracks']


def flip(content: bytes, rng: random.Random) -> bytes:
    """Some bytes are others."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30)) if found else 0):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 20, 200)) :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def lines_again(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b'']
    return b''.join([*lines, *rng.choices(lines, k=3)] if rng.random() < 0.5 else rng.sample(lines, len(lines)))


def insert(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice(HOSTILE) + content[start:]


def replace_value(content: bytes, rng: random.Random) -> bytes:
    """A value that stood between separators is a hostile one."""
    ends = [index for index, byte in enumerate(content) if byte in b' \t,;:"\n[]{}']
    if len(ends) < 2:
        return content
    index = rng.randrange(len(ends) - 1)
    return content[: ends[index] + 1] + rng.choice(HOSTILE) + content[ends[index + 1] :]


def swap_keys(content: bytes, rng: random.Random) -> bytes:
    one, other = rng.sample(KEYS, 2)
    return content.replace(one, b'\0').replace(other, one).replace(b'\0', other)


def change_json(content: bytes, rng: random.Random) -> bytes:
    """A value somewhere in a line of JSON is of another type; elsewhere, as `insert`."""
    lines = content.splitlines()
    index = rng.randrange(len(lines) or 1)
    try:
        row = json.loads(lines[index])
    except (IndexError, ValueError, RecursionError):
        return insert(content, rng)
    holders = [row] if isinstance(row, dict | list) else []
    for value in holders:  # which grows: all that hold values, at any depth
        inner = value.values() if isinstance(value, dict) else value
        holders += [found for found in inner if isinstance(found, dict | list)]
    holders = [value for value in holders if value]
    if not holders:
        return insert(content, rng)
    holder = rng.choice(holders)
    key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    strange = (
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        float('nan'),
        '',
        '..',
        'x' * 300,
        '\0',
        '\ud800',
        [],
        {},
        [[]],
        {'a': 1},
    )
    holder[key] = rng.choice(strange)
    lines[index] = json.dumps(row).encode()
    return b'\n'.join(lines)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flip, cut_out, truncate, lines_again, insert, replace_value, swap_keys, change_json),
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(MUTATIONS)(content, rng)
    return content


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp('fuzz')
    (base / 'secret.wav').write_bytes(b'x')
    root = base / 'root'
    root.mkdir()
    samples.write_all(root)
    (root / 'audio' / 'out').symlink_to(base / 'secret.wav')
    (root / 'audio' / 'loop').symlink_to('loop')
    return root


def check(found: object, root: Path) -> str:
    """Asserts that `found` is something that may come from a manifest; what it is."""
    if isinstance(found, Rejection):
        assert found.reason in Reason
        assert found.detail and found.detail.isprintable() and len(found.detail) < 600
        assert found.id and found.id.isprintable() and re.fullmatch('[a-z0-9_]*', found.split)
        json.dumps([found.id, found.source, found.detail], ensure_ascii=False).encode()
        return 'rejection'
    assert isinstance(found, Utterance) and isinstance(found.recording, AudioFile)
    path, start, seconds = found.recording.path, found.recording.start, found.recording.seconds
    assert os.path.realpath(path).startswith(f'{root}{os.sep}') and path.is_file()
    assert 0 <= start < 1e8 and (seconds is None or 0 < seconds < 1e8)
    assert found.recording.channel is None or 0 <= found.recording.channel < 1000
    for name in (found.id, found.speaker):
        assert len(name.encode()) <= 200 and not set(name) & set('\0\n\r\t\u2028\u202e')
    assert found.id and found.split
    assert found.text is None or not set(found.text.encode().decode()) & set('\0\u202e\u200f')
    return 'utterance'


def rows(path: Path, split: str, root: Path, *, transcribed: bool) -> list[str]:
    """What came of the rows of a manifest; `error` if it is refused as a whole, by a message that names it."""
    try:
        found = list(read_manifest(path, split, transcribed=transcribed, root=root))
    except UserError as error:
        return ['error' if str(path) in str(error) else f'error without a name: {error}']
    return [check(row, root) for row in found] or ['neither rows nor an error']


def outcomes(folder: Path, name: str, cases: int, seed: int) -> Counter[str]:
    """Reads `cases` mutations of the manifest `name`; counts what came of them."""
    rng = random.Random(f'{name} {seed}')
    target = folder / name
    original = target.read_bytes()
    packed = name.endswith('.gz')
    found: Counter[str] = Counter()
    try:
        for _ in range(cases):
            if packed and rng.random() < 0.7:
                target.write_bytes(gzip.compress(mutated(gzip.decompress(original), rng), compresslevel=1))
            else:
                target.write_bytes(mutated(original, rng))
            path = target.parent if name.startswith('kaldi/') else target
            split = 'dev' if name.startswith('kaldi/') or rng.random() < 0.8 else ''
            transcribed = rng.random() < 0.8
            found.update(rows(path, split, folder, transcribed=transcribed))
            found['case'] += 1
        assert not (folder / 'mark').exists() and not Path('mark').exists()
    finally:
        target.write_bytes(original)
    return found


@pytest.mark.parametrize('name', FILES)
def test_mutated_manifests(folder, name):
    """250 cases a file, 2,500 in all."""
    found = outcomes(folder, name, cases=250, seed=0)
    assert found['case'] == 250
    assert {'case', 'utterance', 'rejection'} <= found.keys() <= {'case', 'utterance', 'rejection', 'error'}


@pytest.mark.slow
@pytest.mark.parametrize('name', FILES)
def test_many_mutated_manifests(folder, name):
    found = outcomes(folder, name, cases=1500, seed=1)
    assert {'case', 'utterance', 'rejection'} <= found.keys() <= {'case', 'utterance', 'rejection', 'error'}


def test_folders_with_mutated_names(tmp_path):
    """100 folders of audio, in which names are arbitrary bytes."""
    rng = random.Random(0)
    counted: Counter[str] = Counter()
    for case in range(100):
        root = os.path.realpath(tmp_path / f'{case}')
        os.mkdir(root)
        for index in range(4):
            stem = bytes(rng.choices(b'ab.\n\t\xff\xc3\xbc \xe2\x80\xae-\x01<&"', k=rng.randrange(1, 90)))
            parts = [part or b'x' for part in stem.split(b'.')]
            folder = os.path.join(root.encode(), *parts[:-1]) if index % 2 else root.encode()
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, b'%s%d.wav' % (parts[-1], index))
            if rng.random() < 0.8:
                with open(path, 'wb') as file:
                    file.write(b'x')
            else:
                os.symlink(rng.choice([b'/etc/passwd', path, b'..', b'nothing', b'0.wav']), path)
        counted.update(rows(Path(root), 'dev', Path(root), transcribed=False))
        shutil.rmtree(root)
    assert {'utterance', 'rejection'} <= counted.keys() <= {'utterance', 'rejection', 'error'}
