"""Characters as labels."""

import json
import os
from collections.abc import Iterable, Sequence

from bljust_jax.data.text.labels import labels_in, unknown_message
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically


class CharTokenizer:
    """One id per character of an alphabet. A character is a Unicode code point: a vowel sign is one by itself.

    Attributes:
        alphabet: the characters with ids 1, 2, ..., sorted.
        vocab_size: number of ids including the blank.
        names: the characters, the space written ▁.
        labels_per_character: 1.
    """

    labels_per_character = 1.0

    def __init__(self, alphabet: Iterable[str]):
        self.alphabet = ''.join(sorted(set(alphabet)))
        if not self.alphabet:
            raise UserError('A tokenizer needs transcripts with at least one character: the training split has none.')
        self.vocab_size = len(self.alphabet) + 1
        self.names = tuple(self.alphabet.replace(' ', '▁'))
        self._ids = {character: index for index, character in enumerate(self.alphabet, start=1)}

    @classmethod
    def train(cls, texts: Iterable[str]) -> 'CharTokenizer':
        """Returns the tokenizer of all characters in `texts`, and of the space that joins packed utterances."""
        characters = ''.join(texts)
        return cls(characters and characters + ' ')

    def encode(self, text: str) -> list[int]:
        unknown = sorted(set(text) - self._ids.keys())
        if unknown:
            raise UserError(unknown_message(unknown, text))
        return [self._ids[character] for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return ''.join(self.alphabet[index - 1] for index in labels_in(ids, self.vocab_size))

    def save(self, path: str | os.PathLike) -> None:
        write_atomically(path, json.dumps({'kind': 'char', 'alphabet': self.alphabet}))
