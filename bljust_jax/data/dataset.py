"""Reading prepared corpora: random access to utterances, and what is known of each without reading it.

A prepared corpus lies in `data_dir/<corpus>/<version>`: the TFDS files, one sidecar `<split>.lengths.npz` a split, and
`tokenizers/`.
"""

import contextlib
import functools
import logging as python_logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypedDict, cast

import numpy as np
from absl import logging

from bljust_jax.config import SAMPLE_RATE, DataConfig
from bljust_jax.data.corpora import CORPORA, Corpus
from bljust_jax.data.text import Tokenizer, check_tokenizer, load_tokenizer, train_tokenizer
from bljust_jax.errors import UserError

LABELLED_SPLIT = 'train_labelled'


def default_data_dir() -> Path:
    """`$BLJUST_DATA_DIR`, else `bljust_jax/data` in the user's cache folder."""
    chosen = os.environ.get('BLJUST_DATA_DIR')
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(chosen or os.path.join(cache, 'bljust_jax', 'data')).expanduser()


def data_dir_of(config: DataConfig) -> Path:
    """Where the config says that the prepared corpora are."""
    return Path(config.data_dir).expanduser() if config.data_dir else default_data_dir()


def find_corpus(name: str) -> Corpus:
    """Returns the description of the corpus `name`, or raises a `UserError` that lists the known ones."""
    if name not in CORPORA:
        raise UserError(f'corpus={name!r} is unknown: choose one of {", ".join(CORPORA)}.')
    return CORPORA[name]


def version_dir(data_dir: str | os.PathLike, corpus: Corpus) -> Path:
    """The folder of the prepared corpus; it exists only once everything in it is whole."""
    return Path(data_dir).expanduser() / corpus.name / corpus.version


def sidecar_path(folder: Path, split: str) -> Path:
    """Arrays `ids`, `speakers` (str), `samples`, `characters` (int32), each [utterances], of the split in `folder`."""
    return folder / f'{split}.lengths.npz'


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Keeps TFDS from logging every folder and shard it opens or writes."""

    def is_ours(record: python_logging.LogRecord) -> bool:
        return 'tensorflow_datasets' not in record.pathname or record.levelno > python_logging.INFO

    logger = logging.get_absl_logger()
    logger.addFilter(is_ours)
    try:
        yield
    finally:
        logger.removeFilter(is_ours)


class Record(TypedDict, total=False):
    """One utterance; `text` is missing where transcripts are not read."""

    id: str
    audio: np.ndarray
    text: str
    speaker: str


class Records(Protocol):
    """Random access to utterances."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


class Source:
    """Random access to one split: `len` and `[i]` -> `{'id', 'audio', 'text', 'speaker'}`.

    `audio` is int16 [samples] at 16 kHz, the others are `str`. Threads may share one source, and processes may
    receive a pickled one. With `text=False` records have no `text`: it is not even decoded.
    """

    def __init__(self, folder: Path, split: str, *, text: bool = True):
        import tensorflow_datasets as tfds

        self._folder, self._split, self._text = Path(folder), split, text
        with quiet_tfds():
            builder = tfds.builder_from_directory(self._folder)
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            self._records = builder.as_data_source(split, deserialize_method=raw)
        names = [name for name in builder.info.features if text or name != 'text']
        self._features = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f'utterance {index} of {len(self)} in {self._split}')
        try:
            content = self._records[index]
        except RuntimeError as error:  # array_record opens its files at the first read
            raise _damaged(self._folder, error) from error
        record = self._features.deserialize_example_np(content)
        return cast(Record, {name: value if name == 'audio' else value.decode() for name, value in record.items()})

    def __repr__(self) -> str:
        return f'Source({str(self._folder)!r}, {self._split!r}, text={self._text})'

    def __reduce__(self) -> tuple:
        return functools.partial(Source, text=self._text), (self._folder, self._split)


@dataclass(frozen=True)
class Split:
    """One split of a prepared corpus.

    Attributes:
        corpus, name: where it comes from.
        source: the utterances (see `Source`).
        samples: int32 [utterances], the length of each in samples at 16 kHz.
        characters: int32 [utterances], the length of each transcript.
        ids: str [utterances].
        speakers: str [utterances]; None if the corpus was prepared before they were noted, see `speakers_of`.
    """

    corpus: str
    name: str
    source: Records
    samples: np.ndarray = field(repr=False)
    characters: np.ndarray = field(repr=False)
    ids: np.ndarray = field(repr=False)
    speakers: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.samples.sum(dtype=np.int64)) / SAMPLE_RATE / 3600


def load_split(data_dir: str | os.PathLike, corpus: str, split: str, *, text: bool = True) -> Split:
    """Opens a split of a prepared corpus.

    Args:
        data_dir: what `--data_dir` was when it was prepared.
        corpus: name of the corpus.
        split: name of the split.
        text: False leaves the transcripts unread, as training on untranscribed speech must.

    Raises:
        UserError: no such corpus or split, or it is not prepared.
    """
    description = find_corpus(corpus)
    if split not in description.splits:
        raise UserError(f'{corpus} has no split {split!r}: choose one of {", ".join(description.splits)}.')
    folder = prepared_dir(data_dir, description)
    return open_split(folder, corpus, split, text=text)


def open_split(folder: Path, corpus: str, split: str, *, text: bool = True) -> Split:
    """Opens a split in the version folder of `corpus`; a damaged one is a `UserError`."""
    try:
        with sidecar_path(folder, split).open('rb') as file, np.load(file, allow_pickle=False) as sidecar:
            columns = {name: sidecar[name] for name in ('samples', 'characters', 'ids')}
            columns |= {'speakers': sidecar['speakers']} if 'speakers' in sidecar else {}
        source = Source(folder, split, text=text)
    except Exception as error:  # whatever the parsers of zip, JSON and protocol buffers raise
        raise _damaged(folder, error) from error
    if len(source) != len(columns['ids']):
        raise _damaged(folder, f'{len(source)} records in {split}, {len(columns["ids"])} expected')
    return Split(corpus, split, source, **columns)


def speakers_of(split: Split) -> np.ndarray:
    """Who speaks each utterance of a split, str [utterances]; read from the records if the sidecar does not know."""
    if split.speakers is not None:
        return split.speakers
    logging.info('Reading who speaks in %s %s.', split.corpus, split.name)
    return np.array([split.source[index]['speaker'] for index in range(len(split))])


def _damaged(folder: Path, reason: object) -> UserError:
    corpus, data_dir = folder.parent.name, folder.parent.parent
    return UserError(f'{folder} is damaged ({reason}): delete it and run {prepare_command(corpus, data_dir)}.')


def prepared_dir(data_dir: str | os.PathLike, corpus: Corpus) -> Path:
    """Returns the version folder of `corpus`, or raises a `UserError` that says how to prepare it."""
    folder = version_dir(data_dir, corpus)
    if not folder.is_dir():
        there = [name for name, other in CORPORA.items() if version_dir(data_dir, other).is_dir()]
        raise UserError(
            f'{corpus.name} {corpus.version} is not prepared in {data_dir} (there: {", ".join(there) or "nothing"}): '
            f'run {prepare_command(corpus.name, data_dir)}.'
        )
    return folder


def prepare_command(corpus: str, data_dir: str | os.PathLike) -> str:
    """The command that prepares `corpus`, for messages."""
    return f'"python -m bljust_jax.prepare --corpus={corpus} --data_dir={data_dir}"'


def load_or_train_tokenizer(
    data_dir: str | os.PathLike,
    corpus: str,
    kind: str = 'char',
    vocab_size: int | None = None,
    split: str = LABELLED_SPLIT,
) -> Tokenizer:
    """Returns the tokenizer of `corpus`, trained once on its labelled training transcripts and kept beside the data.

    Args:
        data_dir: what `--data_dir` was when the corpus was prepared.
        corpus: name of the corpus.
        kind: `char`, `unigram` or `bpe`.
        vocab_size: number of ids including the blank, for `unigram` and `bpe`.
        split: the split of these transcripts.
    """
    check_tokenizer(kind, vocab_size)
    folder = prepared_dir(data_dir, find_corpus(corpus)) / 'tokenizers'
    of_kind = kind if kind == 'char' else f'{kind}-{vocab_size}'
    path = folder / (f'{of_kind}.json' if split == LABELLED_SPLIT else f'{of_kind}-{split}.json')
    if not path.exists():
        tokenizer = train_tokenizer(texts_of(load_split(data_dir, corpus, split)), kind, vocab_size)
        folder.mkdir(exist_ok=True)
        tokenizer.save(path)
    return load_tokenizer(path)


def texts_of(split: Split) -> list[str]:
    """The transcripts of a split, in its order."""
    return [split.source[index]['text'] for index in range(len(split))]
