"""Lhotse's cuts, one JSON object a line, read without lhotse."""

from collections.abc import Iterator
from typing import Any

from bljust_jax.data.corpora.corpus import AudioFile, Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources import fields
from bljust_jax.data.sources.lines import json_lines
from bljust_jax.data.sources.paths import resolve, shown
from bljust_jax.data.sources.request import Request

KEYS = frozenset(('recording', 'supervisions', 'tracks'))  # by which a cut is known
_ROUNDING = 0.01  # seconds by which a supervision may reach beyond its cut


def read(request: Request) -> Iterator[Utterance | Rejection]:
    """Yields the utterances of each cut, or why there are none.

    Where transcripts are asked for, a cut gives an utterance for each of its supervisions, as `trim_to_supervisions`
    does; else it is one itself. A cut may name its split as `split` in its `custom` fields.

    Of cuts, those of one recording in files are read (`MonoCut`, and `MultiCut` of all channels of a file). Mixed and
    padded ones, transforms and audio that is not in a file are rejected; commands are never run.
    """
    for number, cut in json_lines(request.path):
        identity, split = '', ''
        try:
            if isinstance(cut, Unusable):
                raise cut
            identity = fields.name(cut.get('id'), 'id')
            split = request.split or fields.split(_dict(cut.get('custom') or {}, 'custom').get('split'))
            recording = _recording(cut, request)
            supervisions = [
                _dict(found, 'supervision') for found in _list(cut.get('supervisions') or [], 'supervisions')
            ]
        except Unusable as refused:
            yield request.rejection(number, refused, id=identity, split=split)
            continue
        if not request.wants_text(split):
            yield _untranscribed(identity, recording, supervisions, split, number, request)
        elif not supervisions:
            yield request.rejection(number, request.without_text(identity), id=identity, split=split)
        for supervision in supervisions if request.wants_text(split) else ():
            name = identity if len(supervisions) == 1 else None
            yield _supervised(name, recording, supervision, split, number, request)


def _supervised(
    cut_id: str | None, recording: AudioFile, supervision: dict[str, Any], split: str, number: int, request: Request
) -> Utterance | Rejection:
    """The utterance of a supervision, which has the cut's id if it is the only one."""
    identity = cut_id or ''
    try:
        identity = cut_id or fields.name(supervision.get('id'), 'supervision id')
        part = _part(recording, supervision)
        if supervision.get('text') is None:
            raise request.without_text(identity)
        return Utterance(identity, part, fields.transcript(supervision['text']), _speaker([supervision]), split)
    except Unusable as refused:
        return request.rejection(number, refused, id=identity, split=split)


def _untranscribed(
    identity: str, recording: AudioFile, supervisions: list[dict[str, Any]], split: str, number: int, request: Request
) -> Utterance | Rejection:
    try:
        return Utterance(identity, recording, None, _speaker(supervisions), split)
    except Unusable as refused:
        return request.rejection(number, refused, id=identity, split=split)


def _speaker(supervisions: list[dict[str, Any]]) -> str:
    """Who speaks, if it is one and known."""
    speakers = {fields.name(found['speaker'], 'speaker') for found in supervisions if found.get('speaker')}
    return speakers.pop() if len(speakers) == 1 else ''


def _recording(cut: dict[str, Any], request: Request) -> AudioFile:
    """What a cut is of."""
    if cut.get('type', 'MonoCut') not in ('MonoCut', 'MultiCut') or 'tracks' in cut:
        raise Unusable(Reason.BAD_ROW, f'a cut of type {shown(cut.get("type"))} is not a part of one recording')
    recording = _dict(cut.get('recording'), 'recording')
    if recording.get('transforms'):
        raise Unusable(Reason.BAD_ROW, 'the recording has transforms, which are not applied')
    start = fields.seconds(cut.get('start'), 'start')
    seconds = fields.length(cut.get('duration'), 'duration')
    path, channel = _source(_list(recording.get('sources'), 'sources'), cut.get('channel', 0))
    return AudioFile(resolve(request.root, path), start, seconds, channel)


def _source(sources: list[Any], wanted: Any) -> tuple[str, int | None]:
    """The file that the channels `wanted` (a number, or a list of them) are in, and which of its channels it is."""
    channels = [fields.channel(found) for found in (wanted if isinstance(wanted, list) else [wanted])]
    for source in (_dict(found, 'source') for found in sources):
        held = [fields.channel(found) for found in _list(source.get('channels'), 'channels')]
        if not channels or not set(channels) <= set(held):
            continue
        if source.get('type') != 'file' or not isinstance(source.get('source'), str):
            raise Unusable(Reason.BAD_ROW, f'the audio is of type {shown(source.get("type"))}, not in a file')
        if len(channels) == 1:
            return source['source'], held.index(channels[0])
        if set(channels) == set(held):
            return source['source'], None
    raise Unusable(Reason.BAD_ROW, f'no file of the recording has channel {shown(wanted)}, or exactly these')


def _part(recording: AudioFile, supervision: dict[str, Any]) -> AudioFile:
    """The part of a cut that a supervision is about."""
    given = supervision.get('start')
    negligible = isinstance(given, float) and -_ROUNDING <= given < 0
    start = 0.0 if negligible else fields.seconds(given, 'start of the supervision')
    seconds = fields.length(supervision.get('duration'), 'duration of the supervision')
    assert recording.seconds is not None
    if start + seconds > recording.seconds + _ROUNDING:
        raise Unusable(
            Reason.BAD_ROW, f'the supervision ends at {start + seconds:g} s, the cut at {recording.seconds:g} s'
        )
    end = min(start + seconds, recording.seconds)
    return AudioFile(recording.path, recording.start + start, end - start, recording.channel)


def _dict(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(value)} is not an object')
    return value


def _list(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable(Reason.BAD_ROW, f'{field}={shown(value)} is not a list')
    return value
