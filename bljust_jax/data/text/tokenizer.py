"""Training and loading tokenizers of any kind."""

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path

from bljust_jax.data.text.byte import ByteTokenizer
from bljust_jax.data.text.char import CharTokenizer
from bljust_jax.data.text.labels import Tokenizer
from bljust_jax.data.text.pieces import SENTENCEPIECE_KINDS, SentencePieceTokenizer
from bljust_jax.errors import UserError

TOKENIZER_KINDS = ('char', 'byte', *SENTENCEPIECE_KINDS)


def train_tokenizer(
    texts: Iterable[str], kind: str = 'char', vocab_size: int | None = None, *, byte_fallback: bool = False
) -> Tokenizer:
    """Trains a tokenizer of `kind` (`char`, `byte`, `unigram` or `bpe`) on normalised transcripts.

    `vocab_size`, the blank included, and `byte_fallback` are for the SentencePiece kinds.
    """
    check_tokenizer(kind, vocab_size, byte_fallback=byte_fallback)
    if kind == 'byte':
        return ByteTokenizer.train(texts)
    if kind == 'char' or vocab_size is None:
        return CharTokenizer.train(texts)
    return SentencePieceTokenizer.train(texts, kind, vocab_size, byte_fallback=byte_fallback)


def check_tokenizer(kind: str, vocab_size: int | None, *, byte_fallback: bool = False) -> None:
    """Raises a `UserError` if there is no such kind of tokenizer, or it lacks a `vocab_size` or has no fallback."""
    if kind not in TOKENIZER_KINDS:
        raise UserError(f'tokenizer={kind!r} is unknown: choose one of {", ".join(TOKENIZER_KINDS)}.')
    if kind in SENTENCEPIECE_KINDS and vocab_size is None:
        raise UserError(f'tokenizer={kind} needs a vocab_size, such as 500.')
    if kind not in SENTENCEPIECE_KINDS and byte_fallback:
        raise UserError(f'tokenizer={kind} has no byte fallback: choose one of {", ".join(SENTENCEPIECE_KINDS)}.')


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Reads a tokenizer that `save` wrote; a missing or foreign file is a `UserError`."""
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        if content['kind'] == 'char':
            return CharTokenizer(content['alphabet'])
        if content['kind'] == 'byte':
            return ByteTokenizer(content['labels_per_character'])
        if content['kind'] == 'sentencepiece':
            model = base64.b64decode(content['model'], validate=True)
            return SentencePieceTokenizer(model, content.get('labels_per_character', 1.0))
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist: no tokenizer was saved there.') from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f'{path} is not a tokenizer of bljust_jax ({type(error).__name__}).') from error
    raise UserError(f'{path} holds a tokenizer of the unknown kind {content["kind"]!r}.')
