"""Tiny packages, game files and corpora made on the spot."""

import gzip
import hashlib
import io
import lzma
import struct
import tarfile

import numpy as np
import soundfile

from bljust_jax.data.corpora import Corpus, Utterance

PACKERS = {'xz': lzma.compress, 'gz': gzip.compress}


def sound(seconds: float, rate: int = 8000, kind: str = 'WAV') -> bytes:
    """A tone as the bytes of an audio file."""
    file = io.BytesIO()
    times = np.arange(round(seconds * rate)) / rate
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 440 * times), rate, format=kind)
    return file.getvalue()


def deb(files: dict[str, bytes], packing: str = 'xz') -> bytes:
    """The bytes of a Debian package that installs `files`."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f'./{name}')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    members = {
        'debian-binary': b'2.0\n',
        'control.tar.gz': gzip.compress(b''),
        f'data.tar.{packing}'.rstrip('.'): PACKERS[packing](data.getvalue()) if packing in PACKERS else data.getvalue(),
    }
    parts = [b'!<arch>\n']
    for name, content in members.items():
        header = f'{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n'
        parts += [header.encode(), content, b'\n' * (len(content) % 2)]
    return b''.join(parts)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def queen_file(resources: dict[str, bytes]) -> bytes:
    """The bytes of a `queen.1c` with `resources`, text headers added."""
    table, body = b'', b''
    start = 15 + 21 * len(resources)
    for name, content in resources.items():
        if name.endswith(('.DOG', '.CUT', '.JAS')) and name != 'QUEEN2.JAS':
            content = bytes(20) + content
        table += struct.pack('>12sBII', name.encode(), 1, start + len(body), len(content))
        body += content
    return b'QTBL' + b'CEM10\0\0\0' + b'\x01' + struct.pack('>H', len(resources)) + table + body


def game_string(text: str, position: int, alignment: int) -> bytes:
    """A string of the game that begins at `position`."""
    encoded = bytes([len(text)]) + text.encode('cp850')
    return encoded + bytes(-(position + len(encoded)) % alignment if text else 0)


def dialogue(key: int, joe: list[tuple[int, str]], person: list[tuple[int, str]], closing: tuple[str, str]) -> bytes:
    """A `.DOG` resource without levels."""
    content = bytearray(32)
    for lines in (joe, person):
        if lines is person:
            struct.pack_into('>H', content, 22, len(content))
        for number, text in lines:
            content += struct.pack('>HH', 0, number)
            content += game_string(text, len(content), 4)
    struct.pack_into('>H', content, 26, len(content))
    for text in closing:
        content += game_string(text, len(content), 2)
    struct.pack_into('>5h', content, 0, 0, 0, key, len(joe), len(person))
    return bytes(content)


def cutaway(items: list[tuple[int, str, bool]]) -> bytes:
    """A `.CUT` resource of (object, text, animated) items."""
    content = bytearray(12)
    for number, _, animated in items:
        fields = [0] * 17
        fields[0], fields[5] = number, int(animated)
        content += struct.pack('>17hh2h', *fields, 2, 7, -1)
        if animated:
            content += struct.pack('>10h', *range(10)) + struct.pack('>h', -2)
    struct.pack_into('>h', content, 2, -len(items))
    struct.pack_into('>H', content, 8, len(content))
    content += game_string('', len(content), 2)
    for _, text, _ in items:
        content += game_string(text, len(content), 2)
    return bytes(content)


def game(**changes: bytes) -> bytes:
    """A `queen.1c` with one dialogue, one cutaway and one remark, all voiced."""
    lines = ['It is a rock.*24', 'Sparky', 'door', 'C1', *['verb'] * 12, *['That does not work*03'] * 40, 'rest']
    jas = struct.pack('>4H', 1, 2, 2, 1) + struct.pack('>8h', 1, *[0] * 7) + struct.pack('>8h', -2, *[0] * 7)
    bob = dialogue(7, [(1, 'Hello Bob!*03')], [(1, '*FLNice to see you.*02Come *GDin (cough), Joe.')], ('0', 'Bye*02'))
    scene = cutaway([(0, 'Look at that!', True), (1, 'At what?', False), (2, 'Knock knock', False), (-3, 'Boom', True)])
    mp3 = sound(1.0, 11025, 'MP3')
    spoken = ['070001J1', '070001P2', '070001P3', '07XXXXJ1', 'C1A__011', 'C1A__021', 'C1A__031', 'C1A__041']
    resources = {
        'BOB1.DOG': bob,
        'C1A.CUT': scene,
        'QUEEN.JAS': jas,
        'QUEEN2.JAS': '\r\n'.join(lines).encode('cp850'),
        **{f'{name}.SB': mp3 for name in [*spoken, 'JOE00011', 'JOE00411']},
    }
    return queen_file(resources | changes)


def tiny_corpus(name: str = 'tiny', **changes) -> Corpus:
    """A corpus without packages: two labelled utterances, one unlabelled, one to test."""
    utterances = [
        Utterance('b', sound(0.5), 'hello there', 'ann', 'train_labelled'),
        Utterance('a', sound(1.0), 'good bye', 'bob', 'train_labelled'),
        Utterance('u-1', sound(0.75), None, 'ann', 'train_unlabelled'),
        Utterance('t', sound(0.5), 'a test', 'eve', 'test'),
    ]
    fields = {
        'name': name,
        'version': '1.0.0',
        'packages': (),
        'splits': ('train_labelled', 'train_unlabelled', 'test'),
        'utterances': lambda packages: utterances,
        'digests': {},
        'description': 'Tones.',
        'licence': 'CC0',
        'citation': 'none',
        'homepage': '',
    }
    return Corpus(**fields | changes)
