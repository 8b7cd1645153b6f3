"""Corpora of pinned content: fetched, written in the order of their ids, and checked against their digests."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from bljust_jax.data import dataset
from bljust_jax.data.corpora import Corpus, Utterance
from bljust_jax.data.corpora.debian import obtain
from bljust_jax.data.corpora.digest import SplitDigest, check_digests, digest_split
from bljust_jax.data.preparing.build import build, partial_dir
from bljust_jax.data.preparing.finish import About
from bljust_jax.data.preparing.plan import Shard, plan
from bljust_jax.data.preparing.rules import TAKE_ALL


def prepare_pinned(corpus: Corpus, data_dir: Path, sources: Sequence[str | os.PathLike] = ()) -> None:
    """Makes a corpus of pinned content under `data_dir`, in this process.

    Its utterances may depend on the order in which they are made, so it always begins at the first.

    Raises:
        UserError: a package cannot be had, or the corpus is not the pinned one.
    """
    packages = obtain(corpus.packages, sources, data_dir / 'downloads')
    temporary = partial_dir(data_dir, corpus.name)
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    logging.info('Reading %s.', corpus.name)
    by_split: dict[str, list[Utterance]] = {split: [] for split in corpus.splits}
    for utterance in corpus.utterances(packages):
        by_split[utterance.split].append(utterance)

    def shards() -> Iterator[Shard]:
        for members in by_split.values():
            yield from plan(sorted(members, key=lambda utterance: utterance.id), TAKE_ALL)

    def check(folder: Path) -> None:
        check_digests(corpus.name, {split: _digest(folder, split) for split in corpus.splits}, corpus.digests)

    about = About(
        corpus.name,
        corpus.description,
        corpus.licence,
        corpus.citation,
        corpus.homepage,
        {'corpus': [corpus.name]},
        corpus.splits,
    )
    try:
        build(about, shards, TAKE_ALL, data_dir, workers=0, max_rejected=0.0, check=check)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(folder: Path, split: str) -> SplitDigest:
    """Reads a split back."""
    source = dataset.Source(folder, split)
    records = (source[index] for index in range(len(source)))
    return digest_split((record['id'], record['text'], len(record['audio'])) for record in records)
