"""Text: normalising transcripts, and tokenizers that turn them into label ids (id 0 is always the blank)."""

import base64
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

BLANK_ID = 0

_ASIDES = re.compile(r'<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)')
_TOKENS = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+")
_GLUED = re.compile(r'(?<=[a-z])[0-9]+|[0-9]+(?=[a-z])')
_ONES = (
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
    'seventeen eighteen nineteen'
).split()
_TENS = 'zero ten twenty thirty forty fifty sixty seventy eighty ninety'.split()
_LONGEST_NUMBER = 5


def normalise(text: str) -> str:
    """Returns `text` as lower-case words of a-z and inner apostrophes, one space between words.

    Accents are dropped (NFKD to ASCII); `<...>`, `[...]` and `(...)` are removed with their content; `&` becomes
    "and". Numbers are spelt out, 1100-1999 not round as years ("nineteen ninety"); those of six digits or more and
    those that touch a letter ("3D", "13th") digit by digit.
    """
    text = unicodedata.normalize('NFKD', text.replace('\u2019', "'")).encode('ascii', 'ignore').decode().lower()
    text = strip_asides(text).replace('&', ' and ')
    text = _GLUED.sub(lambda number: f' {" ".join(number[0])} ', text)
    return ' '.join(_spell(token) if token.isdigit() else token for token in _TOKENS.findall(text))


def strip_asides(text: str) -> str:
    """Removes what is not spoken: `<...>`, `[...]` and `(...)`."""
    return _ASIDES.sub(' ', text)


def has_long_number(text: str) -> bool:
    """True if `text` holds a number of six digits or more, which nobody reads aloud the same way."""
    return re.search(rf'[0-9]{{{_LONGEST_NUMBER + 1},}}', text) is not None


def _spell(digits: str) -> str:
    """Spells a run of ASCII digits; leading zeros are not read."""
    if len(digits) > _LONGEST_NUMBER:
        return ' '.join(_ONES[int(digit)] for digit in digits)
    number = int(digits)
    if 1100 <= number <= 1999 and number % 100:
        hundreds, rest = divmod(number, 100)
        return f'{_cardinal(hundreds)} {"oh " if rest < 10 else ""}{_cardinal(rest)}'
    return _cardinal(number)


def _cardinal(number: int) -> str:
    """Spells 0 <= number < 100,000 without "and"."""
    if number < 20:
        return _ONES[number]
    for unit, name in ((1000, 'thousand'), (100, 'hundred')):
        if number >= unit:
            count, rest = divmod(number, unit)
            return f'{_cardinal(count)} {name}' + (f' {_cardinal(rest)}' if rest else '')
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f' {_ONES[ones]}' if ones else '')


class Tokenizer(Protocol):
    """Text to label ids in [1, vocab_size) and back; 0 is the blank of CTC and RNN-T and never encoded.

    `names` are the written forms of the labels 1, 2, ..., without white space: a space is ▁, as in SentencePiece.
    """

    vocab_size: int
    names: tuple[str, ...]

    def encode(self, text: str) -> list[int]:
        """Returns the label ids of `text`; raises `UserError` naming a character that has none."""

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, blanks skipped; raises `ValueError` for an id out of range."""

    def save(self, path: str | os.PathLike) -> None:
        """Writes the tokenizer to a file that appears whole or not at all; `load_tokenizer` reads it."""


class CharTokenizer:
    """One id per character of an alphabet.

    Attributes:
        alphabet: the characters with ids 1, 2, ..., sorted.
        vocab_size: number of ids including the blank.
        names: the characters, the space written ▁.
    """

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
            raise UserError(_unknown_message(unknown, text))
        return [self._ids[character] for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return ''.join(self.alphabet[index - 1] for index in _labels(ids, self.vocab_size))

    def save(self, path: str | os.PathLike) -> None:
        write_atomically(path, json.dumps({'kind': 'char', 'alphabet': self.alphabet}))


class SentencePieceTokenizer:
    """SentencePiece units (unigram or BPE), their ids shifted by one so that 0 is the blank.

    Attributes:
        vocab_size: number of ids including the blank. One of them is SentencePiece's own `<unk>`, never encoded.
        names: the pieces.
    """

    def __init__(self, model: bytes):
        import sentencepiece

        self.model = bytes(model)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)
        self.vocab_size = self._processor.vocab_size() + 1
        self.names = tuple(self._processor.id_to_piece(list(range(self.vocab_size - 1))))

    @classmethod
    def train(cls, texts: Iterable[str], kind: str, vocab_size: int) -> 'SentencePieceTokenizer':
        """Trains `vocab_size - 1` pieces on `texts`.

        Args:
            texts: normalised transcripts.
            kind: `unigram` or `bpe`.
            vocab_size: number of ids including the blank.

        Raises:
            UserError: `vocab_size` does not suit `texts` (the message says the possible range).
        """
        import sentencepiece

        if kind not in SENTENCEPIECE_KINDS:
            raise ValueError(f'kind={kind!r} is not one of {", ".join(SENTENCEPIECE_KINDS)}')
        texts = [text for text in texts if text]
        least = len(set(''.join(texts)) | {' '}) + 2
        if not texts or vocab_size < least:
            raise UserError(
                f'vocab_size={vocab_size} is too small for {kind}: these transcripts need at least {least}.'
            )
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type=kind,
                vocab_size=vocab_size - 1,
                character_coverage=1.0,
                normalization_rule_name='identity',
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise UserError(f'vocab_size={vocab_size} does not suit {kind} here: {_trainer_reason(error)}') from error
        return cls(model.getvalue())

    def encode(self, text: str) -> list[int]:
        ids = self._processor.encode(text)
        unknown_id = self._processor.unk_id()
        if unknown_id in ids:
            known = set(''.join(self.names[1:])) | {' '}
            raise UserError(_unknown_message(sorted(set(text) - known), text))
        return [index + 1 for index in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode([index - 1 for index in _labels(ids, self.vocab_size)])

    def save(self, path: str | os.PathLike) -> None:
        model = base64.b64encode(self.model).decode()
        write_atomically(path, json.dumps({'kind': 'sentencepiece', 'model': model}))

    def __reduce__(self) -> tuple:
        return SentencePieceTokenizer, (self.model,)


SENTENCEPIECE_KINDS = ('unigram', 'bpe')
TOKENIZER_KINDS = ('char', *SENTENCEPIECE_KINDS)


def train_tokenizer(texts: Iterable[str], kind: str = 'char', vocab_size: int | None = None) -> Tokenizer:
    """Trains a tokenizer of `kind` (`char`, `unigram` or `bpe`) on normalised transcripts.

    `vocab_size`, the blank included, is for the SentencePiece kinds; characters bring their own.
    """
    check_tokenizer(kind, vocab_size)
    if kind == 'char' or vocab_size is None:
        return CharTokenizer.train(texts)
    return SentencePieceTokenizer.train(texts, kind, vocab_size)


def check_tokenizer(kind: str, vocab_size: int | None) -> None:
    """Raises a `UserError` if there is no such kind of tokenizer, or it lacks a `vocab_size`."""
    if kind not in TOKENIZER_KINDS:
        raise UserError(f'tokenizer={kind!r} is unknown: choose one of {", ".join(TOKENIZER_KINDS)}.')
    if kind != 'char' and vocab_size is None:
        raise UserError(f'tokenizer={kind} needs a vocab_size, such as 500.')


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Reads a tokenizer that `save` wrote; a missing or foreign file is a `UserError`."""
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        if content['kind'] == 'char':
            return CharTokenizer(content['alphabet'])
        if content['kind'] == 'sentencepiece':
            return SentencePieceTokenizer(base64.b64decode(content['model'], validate=True))
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist: no tokenizer was saved there.') from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f'{path} is not a tokenizer of bljust_jax ({type(error).__name__}).') from error
    raise UserError(f'{path} holds a tokenizer of the unknown kind {content["kind"]!r}.')


def _labels(ids: Sequence[int], vocab_size: int) -> list[int]:
    """Python ints of `ids` without the blanks."""
    ids = [int(index) for index in ids]
    strays = [index for index in ids if not 0 <= index < vocab_size]
    if strays:
        raise ValueError(f'id {strays[0]} is not in [0, {vocab_size})')
    return [index for index in ids if index != BLANK_ID]


def _unknown_message(unknown: Sequence[str], text: str) -> str:
    listed = ' '.join(map(repr, unknown)) or 'some character'
    return f'The tokenizer has no label for {listed} (in {text!r}): normalise the text or train on transcripts with it.'


def _trainer_reason(error: Exception) -> str:
    """Why SentencePiece refused, in one clause; its limits do not count the blank."""
    message = ' '.join(str(error).split())
    limit = re.search(r'<= ([0-9]+)', message)
    return f'these transcripts allow at most {int(limit[1]) + 1}.' if limit else message
