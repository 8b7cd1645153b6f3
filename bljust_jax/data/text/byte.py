"""Bytes as labels: any language, nothing to train."""

import json
import os
from collections.abc import Iterable, Sequence

from bljust_jax.data.text.labels import labels_in
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically


class ByteTokenizer:
    """The bytes of UTF-8, byte b with id b + 1.

    Attributes:
        vocab_size: 257.
        names: printable ASCII as it is, the space ▁, other bytes as in `<0xE4>`.
        labels_per_character: 1 for a text in ASCII, 2 in Cyrillic, 3 in Devanagari or Han.
    """

    vocab_size = 257
    names = tuple('▁' if b == 0x20 else chr(b) if 0x20 < b < 0x7F else f'<0x{b:02X}>' for b in range(256))

    def __init__(self, labels_per_character: float = 4.0):
        if not 1 <= labels_per_character <= 4:
            raise ValueError(f'labels_per_character must be in [1, 4], not {labels_per_character}')
        self.labels_per_character = float(labels_per_character)

    @classmethod
    def train(cls, texts: Iterable[str]) -> 'ByteTokenizer':
        """Returns the tokenizer, which knows how many bytes a character of `texts` has at most, text by text."""
        ratios = [len(text.encode()) / len(text) for text in texts if text]
        if not ratios:
            raise UserError('A tokenizer needs transcripts with at least one character: the training split has none.')
        return cls(max(ratios))

    def encode(self, text: str) -> list[int]:
        try:
            return [byte + 1 for byte in text.encode()]
        except UnicodeEncodeError as error:
            raise UserError(f'{text!r} cannot be written in UTF-8: it holds half of a surrogate pair.') from error

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(index - 1 for index in labels_in(ids, self.vocab_size)).decode(errors='replace')

    def save(self, path: str | os.PathLike) -> None:
        write_atomically(path, json.dumps({'kind': 'byte', 'labels_per_character': self.labels_per_character}))
