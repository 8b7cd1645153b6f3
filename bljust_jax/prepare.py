r"""Builds a corpus once: fetched, checked against its pinned content, resumable.

    python -m bljust_jax.prepare --corpus=phone_prompts
    python -m bljust_jax.prepare --corpus=amazon_queen --data_dir=DIR --tokenizer=unigram --vocab_size=500

The packages come through `apt-get download` (no root); where that does not work, fetch the `.deb` files named in the
error by hand and pass `--source=FOLDER_OR_FILE`. A run that was stopped is finished by the same command.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags, logging

from bljust_jax import cli
from bljust_jax.data import dataset
from bljust_jax.data.corpora import CORPORA, Corpus
from bljust_jax.data.corpora.debian import obtain
from bljust_jax.data.corpora.digest import SplitDigest, check_digests, digest_split
from bljust_jax.data.text import TOKENIZER_KINDS, check_tokenizer
from bljust_jax.errors import UserError


def prepare_corpus(name: str, data_dir: str | os.PathLike, sources: Sequence[str | os.PathLike] = ()) -> Path:
    """Makes the corpus `name` under `data_dir` unless it is there, and returns its folder.

    Everything is made under a hidden name and renamed once verified, so a folder that exists is whole. Processes that
    prepare the same corpus wait for one another.

    Args:
        name: one of `CORPORA`.
        data_dir: made if needed; downloaded packages stay in its `downloads/`.
        sources: `.deb` files or folders of them to use instead of downloads.

    Raises:
        UserError: a package cannot be had, or the corpus is not the pinned one.
    """
    corpus = dataset.find_corpus(name)
    target = dataset.version_dir(data_dir, corpus)
    if target.is_dir():
        return target
    data_dir = Path(data_dir).expanduser()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f'data_dir={data_dir} is or lies below a file: choose another folder.') from error
    with _lock(data_dir / f'.{name}.lock'):
        if target.is_dir():
            return target
        packages = obtain(corpus.packages, sources, data_dir / 'downloads')
        temporary = data_dir / f'.{name}.partial'
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        try:
            folder = _build(corpus, packages, temporary)
            target.parent.mkdir(exist_ok=True)
            os.replace(folder, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock that the system releases when the process ends, however it ends."""
    with path.open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info('Another process prepares this corpus: waiting for it.')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(corpus: Corpus, packages: dict[str, Path], data_dir: Path) -> Path:
    """Writes and verifies the corpus under `data_dir` and returns its version folder."""
    from bljust_jax.data.corpora.builder import write_corpus

    logging.info('Reading the packages of %s.', corpus.name)
    utterances = list(corpus.utterances(packages))
    with dataset.quiet_tfds():
        folder = write_corpus(corpus, utterances, data_dir, progress=_Progress(corpus.name, len(utterances)))
    digests = {split: _write_sidecar(folder, corpus, split) for split in corpus.splits}
    check_digests(corpus.name, digests, corpus.digests)
    return folder


def _write_sidecar(folder: Path, corpus: Corpus, split: str) -> SplitDigest:
    """Reads the split back, writes its sidecar and returns its digest."""
    source = dataset.Source(folder, split)
    records = (source[index] for index in range(len(source)))
    rows = [(record['id'], record['text'], len(record['audio']), record['speaker']) for record in records]
    ids, texts, samples, speakers = zip(*rows, strict=True) if rows else ((), (), (), ())
    np.savez(
        dataset.sidecar_path(folder, split),
        ids=np.array(ids, dtype=str),
        samples=np.array(samples, np.int32),
        characters=np.array([len(text) for text in texts], np.int32),
        speakers=np.array(speakers, dtype=str),
    )
    return digest_split([row[:3] for row in rows])


class _Progress:
    """Logs how far a run of `total` steps is, every few seconds, with rate and time to go."""

    def __init__(self, name: str, total: int, every_seconds: float = 5.0):
        self._name, self._total, self._every = name, total, every_seconds
        self._done, self._start = 0, time.monotonic()
        self._next = self._start + every_seconds

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now >= self._next or self._done == self._total:
            self._next = now + self._every
            rate = self._done / max(now - self._start, 1e-6)
            logging.info(
                '%s: %d of %d utterances, %.0f a second, %.0f s to go.',
                self._name,
                self._done,
                self._total,
                rate,
                (self._total - self._done) / rate,
            )


def summary(data_dir: str | os.PathLike, name: str) -> str:
    """A table of the prepared corpus: split, utterances, hours."""
    rows = [(split, dataset.load_split(data_dir, name, split)) for split in CORPORA[name].splits]
    width = max(len(split) for split, _ in rows)
    lines = [f'{"split":<{width}}  utterances   hours']
    lines += [f'{split:<{width}}  {len(content):>10,}  {content.hours:>6.2f}' for split, content in rows]
    return '\n'.join(lines)


def _define_flags() -> None:
    flags.DEFINE_enum('corpus', None, list(CORPORA), 'Which corpus to build.', required=True)
    flags.DEFINE_string(
        'data_dir', None, 'Where prepared corpora are kept (default: $BLJUST_DATA_DIR, else ~/.cache/bljust_jax/data).'
    )
    flags.DEFINE_multi_string(
        'source', [], 'A .deb file, or a folder of them, to use instead of downloading; may be repeated.'
    )
    flags.DEFINE_enum(
        'tokenizer', None, TOKENIZER_KINDS, 'Tokenizer to train on the labelled training transcripts as well.'
    )
    flags.DEFINE_integer(
        'vocab_size', None, 'Number of labels of the tokenizer, blank included (for unigram and bpe).', lower_bound=2
    )


def main(argv: list[str]) -> None:
    """Prepares what the flags say and prints what is there."""
    cli.refuse_arguments(argv)
    values = flags.FLAGS
    if values.tokenizer:
        check_tokenizer(values.tokenizer, values.vocab_size)
    data_dir = Path(values.data_dir).expanduser() if values.data_dir else dataset.default_data_dir()
    folder = prepare_corpus(values.corpus, data_dir, values.source)
    print(f'{values.corpus} is ready in {folder}\n{summary(data_dir, values.corpus)}')
    if values.tokenizer:
        tokenizer = dataset.load_or_train_tokenizer(data_dir, values.corpus, values.tokenizer, values.vocab_size)
        print(f'tokenizer: {values.tokenizer}, {tokenizer.vocab_size} labels including the blank')


if __name__ == '__main__':
    _define_flags()
    cli.run(main)
