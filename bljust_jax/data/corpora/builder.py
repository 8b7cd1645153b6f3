"""The TFDS builder of every corpus: array_record files of `id`, `audio`, `text`, `speaker`, no TensorFlow."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.corpora.audio import decode
from bljust_jax.data.corpora.corpus import Corpus, Utterance

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SpeechBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes the utterances of one corpus; `write_corpus` runs it."""

    VERSION = tfds.core.Version('1.0.0')
    # TFDS downloads nothing here, and looking for checksums needs importlib_resources, which it does not declare.
    url_infos: ClassVar[dict] = {}

    def __init__(self, corpus: Corpus, utterances: Iterable[Utterance], progress: Callable[[], None], data_dir: Path):
        self.name = corpus.name
        self.VERSION = tfds.core.Version(corpus.version)
        self._corpus, self._utterances, self._progress = corpus, utterances, progress
        super().__init__(data_dir=data_dir, file_format='array_record')

    def _info(self) -> tfds.core.DatasetInfo:
        corpus = self._corpus
        return self.dataset_info_from_configs(
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

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        by_split: dict[str, list[Utterance]] = {split: [] for split in self._corpus.splits}
        for utterance in self._utterances:
            by_split[utterance.split].append(utterance)
        return {split: self._generate_examples(members) for split, members in by_split.items()}

    def _generate_examples(self, utterances: list[Utterance]) -> Iterator[tuple[str, dict]]:
        for utterance in sorted(utterances, key=lambda utterance: utterance.id):
            yield (
                utterance.id,
                {
                    'id': utterance.id,
                    'audio': decode(utterance.recording),
                    'text': utterance.text,
                    'speaker': utterance.speaker,
                },
            )
            self._progress()


def write_corpus(
    corpus: Corpus, utterances: Iterable[Utterance], data_dir: Path, *, progress: Callable[[], None] = lambda: None
) -> Path:
    """Writes `utterances` as a TFDS dataset under `data_dir` and returns its version folder.

    `progress` is called after each utterance.
    """
    tfds.disable_progress_bar()
    builder = SpeechBuilder(corpus, utterances, progress, data_dir)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download that there is not
        try:
            builder.download_and_prepare()
        except RuntimeError as error:
            raise _as_disk_error(error, data_dir) from error
    return Path(builder.data_dir)


def _as_disk_error(error: RuntimeError, path: Path) -> Exception:
    """Turns the C++ writer's message of a full disk back into the `OSError` that it was."""
    codes = [code for code in _DISK_ERRORS if os.strerror(code).lower() in str(error).lower()]
    return OSError(codes[0], os.strerror(codes[0]), str(path)) if codes else error
