"""Rows whose fields have names, from JSON lines and from tables: what the names mean, and the utterance of a row."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources import fields
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.request import Request

FIELDS: dict[str, tuple[str, ...]] = {
    'path': ('path', 'audio', 'file', 'audio_filepath', 'wav', 'audio_path', 'filename', 'file_name'),
    'text': ('text', 'transcript', 'sentence', 'transcription'),
    'speaker': ('speaker', 'client_id', 'speaker_id'),
    'id': ('id', 'utterance_id'),
    'start': ('start', 'offset'),
    'end': ('end',),
    'duration': ('duration', 'seconds'),
    'channel': ('channel',),
    'split': ('split',),
}
_FIELD_OF = {synonym: field for field, synonyms in FIELDS.items() for synonym in synonyms}


def field_of(name: str) -> str | None:
    """The field that a column or key called `name`, in any case, stands for; None if it is not one of ours."""
    return _FIELD_OF.get(name.strip().lower())


def twice(names: Iterable[str]) -> list[str]:
    """The first two of `names` that stand for the same field; empty if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        field = field_of(name)
        if field and field in seen:
            return [seen[field], name]
        if field:
            seen[field] = name
    return []


def read_row(row: Mapping[str, Any] | Unusable, number: int, request: Request) -> Utterance | Rejection:
    """The utterance of a row, or why there is none.

    Args:
        row: values by column or key, or what is wrong with the row as a whole.
        number: of its line.
        request: what the manifest is read for.
    """
    identity, split = '', ''
    try:
        values = _values(row)
        split = request.split or fields.split(values.get('split'))
        if 'id' in values:
            identity = fields.name(values['id'], 'id')
        recording = _recording(values, request.root)
        if not identity:
            identity = fields.default_id(values['path'], recording, request.root)
        text = _text(values, identity, request) if request.wants_text(split) else None
        speaker = fields.name(values['speaker'], 'speaker') if 'speaker' in values else ''
    except Unusable as refused:
        return request.rejection(number, refused, id=identity, split=split)
    return Utterance(identity, recording, text, speaker, split)


def _values(row: Mapping[str, Any] | Unusable) -> dict[str, Any]:
    """The values that are there, by field; empty ones are not, but for a transcript, which may be empty."""
    if isinstance(row, Unusable):
        raise row
    given = {name: value for name, value in row.items() if value is not None}
    if same := twice(given):
        raise Unusable(Reason.BAD_ROW, f'{shown(same[0])} and {shown(same[1])} mean the same')
    values = {field_of(name): value for name, value in given.items()}
    return {field: value for field, value in values.items() if field and (field == 'text' or value != '')}


def _recording(values: Mapping[str, Any], root: Path) -> AudioFile:
    path = values.get('path')
    if not isinstance(path, str):
        raise Unusable(Reason.BAD_ROW, f'the path {shown(path)} is not text' if path is not None else 'it has no path')
    start = fields.seconds(values['start'], 'start') if 'start' in values else 0.0
    seconds = fields.length(values['duration'], 'duration') if 'duration' in values else None
    if 'end' in values:
        end = fields.seconds(values['end'], 'end')
        if seconds is not None:
            raise Unusable(Reason.BAD_ROW, 'it has both a duration and an end')
        if end <= start:
            raise Unusable(Reason.BAD_ROW, f'it ends at {end:g} s, not after its start at {start:g} s')
        seconds = end - start
    channel = fields.channel(values['channel']) if 'channel' in values else None
    return AudioFile(resolve(root, path), start, seconds, channel)


def _text(values: Mapping[str, Any], identity: str, request: Request) -> str:
    if 'text' not in values:
        raise request.without_text(identity)
    return fields.transcript(values['text'])
