"""Writes any corpus as a TFDS dataset: array_record files of `id`, `audio`, `text`, `speaker`, no TensorFlow.

TFDS's own builders hold a split in memory until it is whole, and need TensorFlow beyond a gigabyte; here every
utterance is written as soon as it is made.
"""

import errno
import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.dataset_info import DatasetIdentity
from tensorflow_datasets.core.naming import ShardedFileTemplate

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.corpora.audio import decode
from bljust_jax.data.corpora.corpus import Corpus, Utterance

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHARD_UTTERANCES = 1000
_FORMAT = 'array_record'


def write_corpus(
    corpus: Corpus, utterances: Iterable[Utterance], data_dir: Path, *, progress: Callable[[], None] = lambda: None
) -> Path:
    """Writes `utterances` as a TFDS dataset under `data_dir` and returns its version folder.

    Splits come in the order of the corpus, utterances in that of their ids. `progress` is called after each.

    Raises:
        OSError: the disk is full.
        ValueError: an id occurs twice in a split.
    """
    by_split: dict[str, list[Utterance]] = {split: [] for split in corpus.splits}
    for utterance in utterances:
        by_split[utterance.split].append(utterance)
    folder = Path(data_dir) / corpus.name / corpus.version
    folder.mkdir(parents=True)
    info = _dataset_info(corpus, folder)
    try:
        splits = [_write_split(info, split, members, progress) for split, members in by_split.items()]
    except RuntimeError as error:
        raise _as_disk_error(error, folder) from error
    info.set_file_format(_FORMAT)
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
    return folder


def _dataset_info(corpus: Corpus, folder: Path) -> tfds.core.DatasetInfo:
    identity = DatasetIdentity(
        name=corpus.name, version=tfds.core.Version(corpus.version), data_dir=str(folder), module_name=__name__
    )
    return tfds.core.DatasetInfo(
        builder=identity,
        description=f'{corpus.description} Licence: {corpus.licence}.',
        citation=corpus.citation,
        homepage=corpus.homepage,
        features=tfds.features.FeaturesDict(
            {
                'id': tfds.features.Text(),
                'audio': tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding='bytes'),
                'text': tfds.features.Text(),
                'speaker': tfds.features.Text(),
            }
        ),
        metadata=tfds.core.MetadataDict(sample_rate=SAMPLE_RATE),
        disable_shuffling=True,
    )


def _write_split(
    info: tfds.core.DatasetInfo, split: str, utterances: list[Utterance], progress: Callable[[], None]
) -> tfds.core.SplitInfo:
    """Writes the shards of one split."""
    utterances = sorted(utterances, key=lambda utterance: utterance.id)
    for one, other in itertools.pairwise(utterances):
        if one.id == other.id:
            raise ValueError(f'{info.name}/{split} has two utterances with the id {one.id!r}')
    template = ShardedFileTemplate(Path(info.data_dir), dataset_name=info.name, split=split, filetype_suffix=_FORMAT)
    serializer = example_serializer.ExampleSerializer(info.features.get_serialized_info())
    starts = range(0, len(utterances), _SHARD_UTTERANCES) or range(1)
    lengths, size = [], 0
    for index, start in enumerate(starts):
        shard = utterances[start : start + _SHARD_UTTERANCES]
        writer = ArrayRecordWriter(
            str(template.sharded_filepath(shard_index=index, num_shards=len(starts))), 'group_size:1'
        )
        for utterance in shard:
            record = serializer.serialize_example(info.features.encode_example(_example(utterance)))
            writer.write(record)
            size += len(record)
            progress()
        writer.close()
        lengths.append(len(shard))
    return tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template)


def _example(utterance: Utterance) -> dict[str, str | np.ndarray]:
    return {
        'id': utterance.id,
        'audio': decode(utterance.read()),
        'text': utterance.text,
        'speaker': utterance.speaker,
    }


def _as_disk_error(error: RuntimeError, path: Path) -> Exception:
    """Turns the C++ writer's message of a full disk back into the `OSError` that it was."""
    codes = [code for code in _DISK_ERRORS if os.strerror(code).lower() in str(error).lower()]
    return OSError(codes[0], os.strerror(codes[0]), str(path)) if codes else error
