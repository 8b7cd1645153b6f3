"""What a shard is to be made of, as a file: for workers on other machines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bljust_jax.data.preparing.plan import Record, Shard
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.utterance import AudioFile, Utterance
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically


def write_shard_file(folder: Path, shard: Shard) -> Path:
    """Writes `shard` into `folder` as JSON, and returns the file.

    Raises:
        UserError: its recordings are not in files.
    """
    for record in shard.records:
        if isinstance(record, Utterance) and not isinstance(record.recording, AudioFile):
            raise UserError(
                f'{record.id} is not in a file that other machines can read: prepare this corpus with '
                '"python -m bljust_jax.prepare".'
            )
    path = folder / f'{shard.name}.json'
    records = [{'kind': type(record).__name__, **asdict(record)} for record in shard.records]
    content = {'split': shard.split, 'index': shard.index, 'size': shard.size, 'fingerprint': shard.fingerprint}
    write_atomically(path, json.dumps({**content, 'records': records}, default=str))
    return path


def read_shard(path: Path) -> Shard:
    """The shard that `write_shard_file` wrote."""
    content = json.loads(path.read_text())
    return Shard(**{**content, 'records': tuple(map(_record, content['records']))})


def _record(fields: dict[str, Any]) -> Record:
    kind = fields.pop('kind')
    if kind == 'Rejection':
        return Rejection(**{**fields, 'reason': Reason(fields['reason'])})
    recording = fields['recording']
    return Utterance(**{**fields, 'recording': AudioFile(**{**recording, 'path': Path(recording['path'])})})
