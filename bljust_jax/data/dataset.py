"""Reading prepared corpora: random access to utterances, and what is known of each without reading it.

A prepared corpus lies in `data_dir/<corpus>/<version>`: the TFDS files, one sidecar `<split>.lengths.npz` a split,
`preparation.json`, `checksums.json`, `rejected.jsonl` and `tokenizers/`.
"""

import contextlib
import functools
import json
import logging as python_logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

import numpy as np
from absl import logging

from bljust_jax.config import SAMPLE_RATE, Config, DataConfig, NormaliserConfig
from bljust_jax.data.corpora import CORPORA
from bljust_jax.data.mixture import parse_mixture
from bljust_jax.data.text import (
    SENTENCEPIECE_KINDS,
    Tokenizer,
    check_tokenizer,
    load_tokenizer,
    read_normaliser,
    train_tokenizer,
)
from bljust_jax.errors import UserError

LABELLED_SPLIT = 'train_labelled'
GIVEN_VERSION = '1.0.0'  # of corpora that are not pinned


def default_data_dir() -> Path:
    """`$BLJUST_DATA_DIR`, else `bljust_jax/data` in the user's cache folder."""
    chosen = os.environ.get('BLJUST_DATA_DIR')
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(chosen or os.path.join(cache, 'bljust_jax', 'data')).expanduser()


def data_dir_of(config: DataConfig) -> Path:
    """Where the config says that the prepared corpora are."""
    return Path(config.data_dir).expanduser() if config.data_dir else default_data_dir()


def version_dir(data_dir: str | os.PathLike, corpus: str) -> Path:
    """The folder of the prepared corpus; it exists only once everything in it is whole."""
    version = CORPORA[corpus].version if corpus in CORPORA else GIVEN_VERSION
    return Path(data_dir).expanduser() / corpus / version


def is_corpus_name(name: str) -> bool:
    """Whether a corpus can be called so."""
    return re.fullmatch(r'[a-z][a-z0-9_]{0,63}', name) is not None


def prepared_corpora(data_dir: str | os.PathLike) -> list[str]:
    """The names of the corpora that are prepared in a folder."""
    folders = Path(data_dir).expanduser().glob('*/*/dataset_info.json')
    names = {path.parent.parent.name for path in folders}
    return sorted(name for name in names if is_corpus_name(name) and version_dir(data_dir, name).is_dir())


def sidecar_path(folder: Path, split: str) -> Path:
    """Arrays `ids`, `speakers` (str), `samples`, `characters` (int32), each [utterances], of the split in `folder`."""
    return folder / f'{split}.lengths.npz'


def preparation_path(folder: Path) -> Path:
    """What the corpus in `folder` was made of, by which rules, and what became of it: see `preparing.finish`."""
    return folder / 'preparation.json'


def read_preparation(folder: Path) -> dict[str, Any]:
    """The content of `preparation_path`; empty if there is none, as in corpora of earlier versions."""
    try:
        return json.loads(preparation_path(folder).read_text())
    except (FileNotFoundError, ValueError):
        return {}


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
    folder = prepared_dir(data_dir, corpus)
    if split not in (splits := splits_of(data_dir, corpus)):
        raise UserError(f'{corpus} has no split {split!r}: choose one of {", ".join(splits)}.')
    return open_split(folder, corpus, split, text=text)


def splits_of(data_dir: str | os.PathLike, corpus: str) -> list[str]:
    """The splits of a prepared corpus; one that is not prepared is a `UserError`."""
    folder = prepared_dir(data_dir, corpus)
    if corpus in CORPORA:
        return list(CORPORA[corpus].splits)
    if not (known := read_preparation(folder)):
        raise _damaged(folder, f'{preparation_path(folder).name} cannot be read')
    return [split for split, content in known['splits'].items() if content['utterances']]


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


def prepared_dir(data_dir: str | os.PathLike, corpus: str) -> Path:
    """Returns the version folder of `corpus`, or raises a `UserError` that says how to prepare it."""
    if is_corpus_name(corpus) and (folder := version_dir(data_dir, corpus)).is_dir():
        return folder
    there = ', '.join(prepared_corpora(data_dir)) or 'nothing'
    if corpus not in CORPORA:
        raise UserError(
            f'corpus={corpus!r} is unknown: choose one of {", ".join(CORPORA)}, or one that is prepared in {data_dir} '
            f'(there: {there}); "python -m bljust_jax.prepare --help" says how to prepare your own.'
        )
    raise UserError(
        f'{corpus} {CORPORA[corpus].version} is not prepared in {data_dir} (there: {there}): '
        f'run {prepare_command(corpus, data_dir)}.'
    )


def prepare_command(corpus: str, data_dir: str | os.PathLike) -> str:
    """The command that prepares `corpus`, for messages."""
    sources = read_preparation(version_dir(data_dir, corpus)).get('sources') or {'corpus': [corpus]}
    flags = ' '.join(f'--{flag}={value}' for flag, values in sources.items() for value in values)
    return f'"python -m bljust_jax.prepare {flags} --data_dir={data_dir}"'


def load_or_train_tokenizer(
    data_dir: str | os.PathLike,
    corpus: str,
    kind: str = 'char',
    vocab_size: int | None = None,
    split: str = LABELLED_SPLIT,
    *,
    byte_fallback: bool = False,
) -> Tokenizer:
    """Returns the tokenizer of `corpus`, trained once on its labelled training transcripts and kept beside the data.

    Args:
        data_dir: what `--data_dir` was when the corpus was prepared.
        corpus: name of the corpus.
        kind: `char`, `byte`, `unigram` or `bpe`.
        vocab_size: number of ids including the blank, for `unigram` and `bpe`.
        split: the split of these transcripts, or several (see `parse_mixture`).
        byte_fallback: for `unigram` and `bpe`; see `SentencePieceTokenizer.train`.
    """
    check_tokenizer(kind, vocab_size, byte_fallback=byte_fallback)
    folder = prepared_dir(data_dir, corpus) / 'tokenizers'
    of_kind = f'{kind}-{vocab_size}' + '-bytes' * byte_fallback if kind in SENTENCEPIECE_KINDS else kind
    ingredients = parse_mixture(split, corpus, 'config.data.labelled')
    name = '+'.join(one.name(corpus) for one in ingredients)
    path = folder / (f'{of_kind}.json' if name == LABELLED_SPLIT else f'{of_kind}-{name}.json')
    if not path.exists():
        texts = [text for one in ingredients for text in texts_of(load_split(data_dir, one.corpus, one.split))]
        tokenizer = train_tokenizer(texts, kind, vocab_size, byte_fallback=byte_fallback)
        folder.mkdir(exist_ok=True)
        tokenizer.save(path)
    return load_tokenizer(path)


def tokenizer_of_corpus(config: Config) -> Tokenizer:
    """The tokenizer that a config asks for, of its labelled split; see `load_or_train_tokenizer`."""
    data, options = config.data, config.tokenizer
    return load_or_train_tokenizer(
        data_dir_of(data),
        data.corpus,
        options.kind,
        options.vocab_size,
        data.labelled,
        byte_fallback=options.byte_fallback,
    )


def normaliser_of_corpus(config: Config) -> NormaliserConfig:
    """How the transcripts of the labelled splits were normalised, and those that it is scored on.

    Raises:
      UserError: if they are of corpora that were normalised differently.
    """
    data = config.data
    labelled = parse_mixture(data.labelled, data.corpus, 'config.data.labelled')
    names = sorted({data.corpus, *(one.corpus for one in labelled)})
    normalisers = [read_normaliser(prepared_dir(data_dir_of(data), name)) for name in names]
    for name, normaliser in zip(names, normalisers, strict=True):
        if normaliser != normalisers[0]:
            raise UserError(
                f'config.data.labelled={data.labelled!r} goes with {names[0]} and {name}, whose transcripts are '
                f'normalised differently ({normalisers[0]} and {normaliser}): prepare them with the same flags.'
            )
    return normalisers[0]


def texts_of(split: Split) -> list[str]:
    """The transcripts of a split, in its order."""
    return [split.source[index]['text'] for index in range(len(split))]
