"""Reader of `queen.1c`, the data file of the "talkie" *Flight of the Amazon Queen*: pure functions over bytes.

All numbers are big-endian. A line of text and the recordings of its parts are tied together by names: a text has a
*voice prefix*, control codes in it cut it into segments, and segment k is spoken in the resource
`<prefix, 8 characters><k + 1 in hexadecimal>.SB`.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bljust_jax.errors import UserError

_MAGIC = b'QTBL'
_MP3 = 1
_TABLE_START, _ENTRY_BYTES = 15, 21
_HEADER_BYTES = 20
_HEADERLESS = 'QUEEN2.JAS'
_TEXT_SUFFIXES = ('.DOG', '.CUT', '.JAS')

_RESPONSES, _OTHER_TEXTS = 40, 12
_OBJECT_BYTES = 16
_ITEMS_START, _ITEM_FIELDS, _EXECUTE = 12, 17, 5
_ANIMATION_FRAME_BYTES, _END_OF_ANIMATION = 20, -2

JOE, NARRATOR = 'joe', 'narrator'


@dataclass(frozen=True)
class Line:
    """A text with voice: `prefix` leads to its recordings, `speaker` is a raw name of the game."""

    prefix: str
    text: str
    speaker: str


def read_resources(content: bytes, source: str = 'queen.1c') -> dict[str, bytes]:
    """Returns every resource of the file by upper-case name; the header of text resources is taken off.

    Raises:
        UserError: `content` is truncated, no `queen.1c`, or not the edition with MP3 voices.
    """
    if content[:4] != _MAGIC:
        raise UserError(f'{source} is no data file of Flight of the Amazon Queen (it does not begin with "QTBL").')
    if len(content) < _TABLE_START:
        raise UserError(f'{source} is truncated: its header is cut off.')
    if content[12] != _MP3:
        raise UserError(f'{source} has the compression {content[12]}: the edition with MP3 voices ({_MP3}) is needed.')
    (count,) = struct.unpack_from('>H', content, 13)
    if len(content) < _TABLE_START + count * _ENTRY_BYTES:
        raise UserError(f'{source} is truncated: its table of {count} resources is cut off.')
    resources = {}
    for index in range(count):
        raw_name, _, offset, size = struct.unpack_from('>12sBII', content, _TABLE_START + index * _ENTRY_BYTES)
        name = raw_name.partition(b'\0')[0].decode('latin-1').upper()
        if offset + size > len(content):
            raise UserError(f'{source} is truncated: {name} ends at byte {offset + size} of {len(content)}.')
        skipped = _HEADER_BYTES if name.endswith(_TEXT_SUFFIXES) and name != _HEADERLESS else 0
        resources[name] = content[offset + skipped : offset + size]
    return resources


def read_lines(resources: Mapping[str, bytes], source: str = 'queen.1c') -> Iterator[Line]:
    """Yields every line of dialogue: of the dialogues, of Joe's remarks, of the cutaways.

    Raises:
        UserError: a text resource is missing or damaged.
    """
    try:
        game = _read_game(resources['QUEEN.JAS'], resources['QUEEN2.JAS'])
    except KeyError as error:
        raise UserError(f'{source} holds no {error.args[0]}: it is not the whole game.') from error
    except (struct.error, IndexError) as error:
        raise UserError(f'{source} is damaged in QUEEN.JAS or QUEEN2.JAS ({error}).') from error
    yield from game.remarks
    for name, content in resources.items():
        stem, _, suffix = name.rpartition('.')
        try:
            if suffix == 'DOG':
                yield from read_dialogue(stem, content)
            elif suffix == 'CUT':
                yield from read_cutaway(stem, content, game.objects)
        except (struct.error, IndexError) as error:
            raise UserError(f'{source} is damaged in {name} ({error}).') from error


def segments(text: str) -> list[str]:
    """Cuts `text` at its control codes; segment k of a line is spoken in the file `voice_name(prefix, k)`.

    A code is a star and two characters (`*XY` has 11 more); `*GD` and `*GM` make no segment of their own.
    """
    parts, start = [], 0
    for code in re.finditer(r'\*(..)', text):
        if code.start() < start:
            continue
        kind = code[1].upper()
        if kind not in ('GD', 'GM'):
            parts.append(text[start : code.start()])
        start = code.end() + (11 if kind == 'XY' else 0)
    return [*parts, text[start:]]


def voice_name(prefix: str, index: int) -> str:
    """The resource in which segment `index` of a line with the voice `prefix` is spoken."""
    return f'{prefix[:8].replace(" ", "0")}{index + 1:x}.SB'.upper()


def read_dialogue(name: str, content: bytes) -> Iterator[Line]:
    """Yields the lines of the dialogue resource `name` (without suffix): Joe's and the other person's."""
    levels, _, key, joe_count, person_count = struct.unpack_from('>5h', content, 0)
    person_start, closing_start = struct.unpack_from('>HxxH', content, 22)
    joe_start = 32 + abs(levels) * 96
    person = name.rstrip('0123456789').lower()
    for start, count, letter, speaker in (
        (joe_start, joe_count, 'J', JOE),
        (person_start, person_count, 'P', person),
    ):
        position = start
        for _ in range(count):
            (number,) = struct.unpack_from('>H', content, position + 2)
            text, position = _string(content, position + 4, alignment=4)
            yield Line(f'{key:2d}{number:4x}{letter}', text, speaker)
    if struct.unpack_from('>H', content, joe_start + 2) == (0,):
        yield Line(f'{key:2d}SSSSJ', _string(content, joe_start + 4, alignment=4)[0], JOE)
    text, position = _string(content, closing_start)
    yield Line(f'{key:2d}XXXXP', text, person)
    yield Line(f'{key:2d}XXXXJ', _string(content, position)[0], JOE)


def read_cutaway(name: str, content: bytes, objects: Mapping[int, str]) -> Iterator[Line]:
    """Yields the lines of the cutaway resource `name` (without suffix); `objects` maps numbers to names."""
    (items,) = struct.unpack_from('>h', content, 2)
    (string_position,) = struct.unpack_from('>H', content, 8)
    _, string_position = _string(content, string_position)
    position = _ITEMS_START
    for item in range(1, abs(items) + 1):
        fields = struct.unpack_from(f'>{_ITEM_FIELDS}h', content, position)
        position += 2 * _ITEM_FIELDS
        (extra,) = struct.unpack_from('>h', content, position)
        position += 2 + 2 * extra
        if fields[_EXECUTE] > 0:  # an animation follows
            while struct.unpack_from('>h', content, position) != (_END_OF_ANIMATION,):
                position += _ANIMATION_FRAME_BYTES
            position += 2
        text, string_position = _string(content, string_position)
        if text and text != '*' and not text.startswith('#'):
            yield Line(f'{name.lower():_<5.5}{item:02d}', text, _cutaway_speaker(fields[0], objects))


def _cutaway_speaker(number: int, objects: Mapping[int, str]) -> str:
    if number == 0:
        return JOE
    if number < 0:
        return NARRATOR
    if number not in objects:
        raise IndexError(f'object {number} does not exist')
    return objects[number]


@dataclass(frozen=True)
class _Game:
    """What the cutaways need to know, and what Joe says on looking at things."""

    objects: Mapping[int, str]
    remarks: list[Line]


def _read_game(jas: bytes, texts: bytes) -> _Game:
    rooms, names, object_count, descriptions = struct.unpack_from('>4H', jas, 0)
    lines = texts.decode('cp850').split('\r\n')
    name_lines = lines[descriptions : descriptions + names]
    objects = {}
    for number in range(1, object_count + 1):
        (name,) = struct.unpack_from('>h', jas, 8 + (number - 1) * _OBJECT_BYTES)
        objects[number] = name_lines[abs(name) - 1].lower() if name else ''
    first = descriptions + names + rooms + _OTHER_TEXTS
    if len(lines) < first + _RESPONSES:
        raise IndexError(f'{len(lines)} lines of text instead of {first + _RESPONSES}')
    spoken = lines[first : first + _RESPONSES] + lines[:descriptions]
    return _Game(objects, [Line(f'JOE{index:04d}', text, JOE) for index, text in enumerate(spoken, start=1)])


def _string(content: bytes, position: int, alignment: int = 2) -> tuple[str, int]:
    """Reads a length byte and as many cp850 characters; returns them and the aligned position after them."""
    length = content[position]
    position += 1
    if not length:
        return '', position
    text = content[position : position + length]
    if len(text) < length:
        raise IndexError(f'a string of {length} characters is cut off')
    position += length
    return text.decode('cp850'), position + -position % alignment
