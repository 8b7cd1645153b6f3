"""What a corpus is: a name, where its files come from, and a function that turns them into utterances."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bljust_jax.data.corpora.debian import DebianPackage
from bljust_jax.data.corpora.digest import SplitDigest


@dataclass(frozen=True)
class Utterance:
    """One recording with what is known about it.

    Attributes:
        id: unique within its split.
        recording: the bytes of an audio file in any format libsndfile reads, or a function that makes them, for
            corpora that do not fit in memory.
        text: normalised transcript; empty where there is none.
        speaker: who speaks.
        split: the split it belongs to.
    """

    id: str
    recording: bytes | Callable[[], bytes]
    text: str
    speaker: str
    split: str

    def read(self) -> bytes:
        """The bytes of the audio file."""
        return self.recording() if callable(self.recording) else self.recording


@dataclass(frozen=True)
class Corpus:
    """A corpus that `bljust_jax.prepare` can build.

    Attributes:
        name: folder and flag name.
        version: of the prepared data, `major.minor.patch`; raised when its content changes.
        packages: the Debian packages it is made of, if any.
        splits: names of its splits.
        utterances: maps the verified package files, by package name, to all utterances of all splits.
        digests: what each split must hold; empty for a corpus that is not pinned.
        description, licence, citation, homepage: for people.
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
