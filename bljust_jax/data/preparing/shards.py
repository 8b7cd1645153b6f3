"""Writing a shard: an `array_record` file of examples, and what is known of it beside it; no TensorFlow."""

import errno
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer

from bljust_jax.data.preparing.examples import Example, examples, rejection
from bljust_jax.data.preparing.plan import Shard
from bljust_jax.data.preparing.rejection import Rejection, Unusable
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.utterance import Utterance
from bljust_jax.files import flush_to_disk, write_atomically

FORMAT = 'array_record'
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Guard = Callable[[Utterance, Rules], Unusable | None]


@dataclass(frozen=True)
class Part:
    """What is known of a written shard, kept as JSON beside it. It is written last: where it is, the shard is whole.

    Attributes:
        split, index, fingerprint: as in `Shard`.
        records: how many there were, rejected ones included.
        file: name of the file of the examples; empty if none was taken.
        size: bytes of the examples in it, uncompressed.
        stored: bytes of the file.
        sha256: of this file.
        ids, speakers, samples, characters: of each example, the last two lengths of audio and transcript.
        rejected: a dictionary of each `Rejection`.
    """

    split: str
    index: int
    fingerprint: str
    records: int
    file: str
    size: int
    stored: int
    sha256: str
    ids: list[str]
    speakers: list[str]
    samples: list[int]
    characters: list[int]
    rejected: list[dict[str, str]]


def features() -> tfds.features.FeaturesDict:
    """The fields of an example on disk."""
    return tfds.features.FeaturesDict(
        {
            'id': tfds.features.Text(),
            'audio': tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding='bytes'),
            'text': tfds.features.Text(),
            'speaker': tfds.features.Text(),
        }
    )


def no_guard(utterance: Utterance, rules: Rules) -> None:
    """Takes it that reading any record leaves the process alive."""


def write_shard(
    folder: Path,
    shard: Shard,
    rules: Rules,
    *,
    note: Callable[[int], Any] = lambda records: None,
    guard: Guard = no_guard,
) -> Part:
    """Reads the records of a shard and writes its two files into `folder`; each appears whole or not at all.

    Args:
        folder: which exists.
        shard: what to write.
        rules: for `examples`.
        note: is told of every record that is done: 1.
        guard: says what is wrong with a record that must not be read in this process.

    Raises:
        OSError: the disk is full.
    """
    path = folder / f'{shard.name}.{FORMAT}'
    temporary = path.with_suffix(f'.{uuid.uuid4().hex}.tmp')  # other machines may write beside this one
    taken: list[tuple[str, str, int, int]] = []
    rejected: list[dict[str, str]] = []
    try:
        writer, size = None, 0
        for result in _results(shard.records, rules, note, guard):
            if isinstance(result, Rejection):
                rejected.append(asdict(result))
                continue
            writer = writer or ArrayRecordWriter(str(temporary), 'group_size:1')
            content = _serialised(result)
            writer.write(content)
            size += len(content)
            taken.append((result.id, result.speaker, len(result.audio), len(result.text)))
        if writer is not None:
            writer.close()
            flush_to_disk(temporary)
            os.replace(temporary, path)
    except RuntimeError as error:
        raise _as_disk_error(error, folder) from error
    finally:
        temporary.unlink(missing_ok=True)
    ids, speakers, samples, characters = map(list, zip(*taken, strict=True)) if taken else ([], [], [], [])
    part = Part(
        shard.split,
        shard.index,
        shard.fingerprint,
        len(shard.records),
        path.name if taken else '',
        size,
        path.stat().st_size if taken else 0,
        sha256_of(path) if taken else '',
        ids,
        speakers,
        samples,
        characters,
        rejected,
    )
    write_atomically(part_path(folder, shard.name), json.dumps(asdict(part)))
    return part


def part_path(folder: Path, name: str) -> Path:
    """Where the `Part` of a shard is."""
    return folder / f'{name}.json'


def read_part(path: Path) -> Part | None:
    """The `Part` in a file; None if it is not there, or is none."""
    try:
        return Part(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of the content of a file."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _results(
    records: Sequence[Utterance | Rejection], rules: Rules, note: Callable[[int], Any], guard: Guard
) -> Iterator[Example | Rejection]:
    for record in records:
        if isinstance(record, Rejection):
            yield record
        elif error := guard(record, rules):
            yield rejection(record, error)
        else:
            yield from examples(record, rules)
        note(1)


@functools.cache
def _serializer() -> tuple[tfds.features.FeaturesDict, example_serializer.ExampleSerializer]:
    fields = features()
    return fields, example_serializer.ExampleSerializer(fields.get_serialized_info())


def _serialised(example: Example) -> bytes:
    """The bytes of an example: the same in every process, unlike those of TFDS's own writers."""
    fields, serializer = _serializer()
    values = {'id': example.id, 'audio': example.audio, 'text': example.text, 'speaker': example.speaker}
    return serializer.get_tf_example(fields.encode_example(values)).SerializeToString(deterministic=True)


def _as_disk_error(error: RuntimeError, path: Path) -> Exception:
    """Turns the C++ writer's message of a full disk back into the `OSError` that it was."""
    codes = [code for code in _DISK_ERRORS if os.strerror(code).lower() in str(error).lower()]
    return OSError(codes[0], os.strerror(codes[0]), str(path)) if codes else error
