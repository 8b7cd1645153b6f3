"""What tokenizers have in common: labels, and the sentence for a character that has none."""

import os
from collections.abc import Sequence
from typing import Protocol

BLANK_ID = 0


class Tokenizer(Protocol):
    """Text to label ids in [1, vocab_size) and back; 0 is the blank of CTC and RNN-T and never encoded.

    `names` are the written forms of the labels 1, 2, ..., without white space: a space is ▁, as in SentencePiece.
    `labels_per_character` is the most that a text of those it was trained on takes, never below 1; a label more, which
    begins a text, is not counted.
    """

    vocab_size: int
    names: tuple[str, ...]
    labels_per_character: float

    def encode(self, text: str) -> list[int]:
        """Returns the label ids of `text`; raises `UserError` naming a character that has none."""

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, blanks skipped; raises `ValueError` for an id out of range.

        Bytes that are not UTF-8 become U+FFFD.
        """

    def save(self, path: str | os.PathLike) -> None:
        """Writes the tokenizer to a file that appears whole or not at all; `load_tokenizer` reads it."""


def labels_in(ids: Sequence[int], vocab_size: int) -> list[int]:
    """Python ints of `ids` without the blanks."""
    ids = [int(index) for index in ids]
    strays = [index for index in ids if not 0 <= index < vocab_size]
    if strays:
        raise ValueError(f'id {strays[0]} is not in [0, {vocab_size})')
    return [index for index in ids if index != BLANK_ID]


def unknown_message(unknown: Sequence[str], text: str) -> str:
    """What to do about characters without labels."""
    listed = ' '.join(map(repr, unknown)) or 'some character'
    return f'The tokenizer has no label for {listed} (in {text!r}): normalise the text or train on transcripts with it.'
