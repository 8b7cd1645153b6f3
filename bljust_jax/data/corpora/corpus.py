"""What a corpus is: a name, where its files come from, and a function that turns them into utterances."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bljust_jax.data.corpora.debian import DebianPackage
from bljust_jax.data.corpora.digest import SplitDigest
from bljust_jax.data.utterance import AudioFile, Utterance

__all__ = ['AudioFile', 'Corpus', 'Utterance']


@dataclass(frozen=True)
class Corpus:
    """A corpus of pinned content that `bljust_jax.prepare` fetches by itself.

    Attributes:
        name: folder and flag name.
        version: of the prepared data, `major.minor.patch`; raised when its content changes.
        packages: the Debian packages it is made of, if any.
        splits: names of its splits.
        utterances: maps the verified package files, by package name, to all utterances of all splits.
        digests: what each split must hold; empty for a corpus that is not pinned.
        description, licence, citation, homepage: for people.
        known_leaks: ids of utterances that are tested on although their audio is in a training split as well, which an
            audit found when the content was pinned already.
    """

    name: str
    version: str
    packages: tuple[DebianPackage, ...]
    splits: tuple[str, ...]
    utterances: Callable[[Mapping[str, Path]], Iterable[Utterance]]
    digests: Mapping[str, SplitDigest]
    description: str
    licence: str
    citation: str
    homepage: str
    known_leaks: frozenset[str] = frozenset()
