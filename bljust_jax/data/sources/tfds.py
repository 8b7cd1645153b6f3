"""Speech that TensorFlow Datasets has prepared, such as `librispeech`: read with TensorFlow, which only this needs.

What is stored as the bytes of files (`lazy_decode`) is not decoded by TensorFlow, so that the samples are those that
the files themselves would give.
"""

import importlib.util
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.sources.trees import not_laid_out
from bljust_jax.errors import UserError

_LAZY = 'lazy_decode'
# What features are called that hold the transcript, the speaker and the id.
_KNOWN = (('text', 'transcript', 'transcription', 'sentence'), ('speaker_id', 'speaker', 'client_id'), ('id',))


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset and the names of its features.

    Attributes:
        builder: what reads it.
        audio: the feature that is audio.
        text, speaker, id: features; None if there is none.
    """

    builder: Any
    audio: str
    text: str | None
    speaker: str | None
    id: str | None

    @property
    def info(self) -> Any:
        """About the dataset, for people."""
        return self.builder.info

    @property
    def name(self) -> str:
        """As TFDS calls it."""
        return self.builder.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, those of LibriSpeech as in `librispeech`: `train_clean_100`."""
        return tuple(map(_our_name, self.info.splits))

    def read(self, split: str) -> Iterator[Utterance]:
        """Yields the utterances of a split, each with the bytes of an audio file, in the order of its files."""
        import tensorflow_datasets as tfds

        (theirs,) = (name for name in self.info.splits if _our_name(name) == split)
        lazy = self.info.features[self.audio].get_serialized_info().np_dtype == np.object_
        records = self.builder.as_dataset(
            split=theirs,
            shuffle_files=False,
            decoders={self.audio: tfds.decode.SkipDecoding()} if lazy else None,
            read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1),
        )
        for record in tfds.as_numpy(records):
            audio = record[self.audio]
            yield Utterance(
                _as_text(record[self.id or 'tfds_id']),
                audio if lazy else self._file(audio),
                _as_text(record[self.text]) if self.text else None,
                _as_text(record[self.speaker]) if self.speaker else '',
                split,
            )

    def _file(self, samples: np.ndarray) -> bytes:
        """Samples that TFDS has decoded, int16 or wider integers `[samples]`, as a file."""
        file = io.BytesIO()
        rate = self.info.features[self.audio].sample_rate
        soundfile.write(file, samples.astype(np.int16), rate, format='WAV', subtype='PCM_16')
        return file.getvalue()


def has(name: str, root: Path, split: str) -> bool:
    """Whether the dataset is in `root`, with the split."""
    return split in open_dataset(name, root).splits


def read(name: str, root: Path, split: str) -> Iterator[Utterance]:
    """Yields the utterances of a split of the dataset `name` in `root`; see `open_dataset`."""
    yield from open_dataset(name, root).read(split)


def open_dataset(name: str, root: Path) -> Dataset:
    """Opens a dataset that TFDS has prepared in `root`, its `data_dir`.

    Args:
        name: `librispeech`, or `librispeech/default` to choose a configuration: by default `lazy_decode`, if it is
            there.
        root: the folder that holds the folder of the dataset.

    Raises:
        UserError: TensorFlow is not installed, the dataset is not there, or it is no speech.
    """
    if importlib.util.find_spec('tensorflow') is None:
        raise UserError(f'tfds:{name} needs TensorFlow: "pip install bljust-jax[tf]".')
    import tensorflow_datasets as tfds

    if '/' not in name and (root / name / _LAZY).is_dir():
        name = f'{name}/{_LAZY}'
    try:
        builder = tfds.core.read_only_builder.builder_from_files(
            **dict(zip(('name', 'config'), name.split('/', 1), strict=False)), data_dir=str(root)
        )
    except tfds.core.registered.DatasetNotFoundError as error:
        raise not_laid_out(root, f'the dataset {name} that TensorFlow Datasets has prepared') from error
    features = builder.info.features
    audio = [key for key, feature in features.items() if isinstance(feature, tfds.features.Audio)]
    if len(audio) != 1:
        raise UserError(f'tfds:{name} has {len(audio)} features of audio ({", ".join(features)}): one is needed.')
    if not features[audio[0]].sample_rate:
        raise UserError(f'tfds:{name} does not say at which rate its audio is sampled.')
    names = (next((name for name in known if name in features), None) for known in _KNOWN)
    return Dataset(builder, audio[0], *names)


def _our_name(split: str) -> str:
    return re.sub(r'(clean|other)(?=\d)', r'\1_', split)


def _as_text(value: Any) -> str:
    return value.decode('utf-8', 'surrogateescape') if isinstance(value, bytes) else str(value)
