"""SentencePiece units as labels."""

import base64
import collections
import io
import json
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np

from bljust_jax.data.text.labels import labels_in, unknown_message
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

SENTENCEPIECE_KINDS = ('unigram', 'bpe')
_BYTES = 256
_LEAST_COVERAGE = 0.98  # SentencePiece takes no less


class SentencePieceTokenizer:
    """SentencePiece units (unigram or BPE), their ids shifted by one so that 0 is the blank.

    Attributes:
        vocab_size: number of ids including the blank. One of them is SentencePiece's own `<unk>`, never encoded.
        names: the pieces; with byte fallback there are `<0x00>` to `<0xFF>` among them.
        labels_per_character: 1, or more with byte fallback.
    """

    def __init__(self, model: bytes, labels_per_character: float = 1.0):
        import sentencepiece

        self.model = bytes(model)
        self.labels_per_character = float(labels_per_character)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)
        self.vocab_size = self._processor.vocab_size() + 1
        self.names = tuple(self._processor.id_to_piece(list(range(self.vocab_size - 1))))

    @classmethod
    def train(
        cls, texts: Iterable[str], kind: str, vocab_size: int, *, byte_fallback: bool = False
    ) -> 'SentencePieceTokenizer':
        """Trains `vocab_size - 1` pieces on `texts`.

        Args:
            texts: normalised transcripts.
            kind: `unigram` or `bpe`.
            vocab_size: number of ids including the blank.
            byte_fallback: 256 of the pieces are bytes, of which any character can be made that is no piece itself. If
                there are more characters than half of the other pieces, rare ones are left to bytes: at most 2%.

        Raises:
            UserError: `vocab_size` does not suit `texts` (the message says the possible range).
        """
        import sentencepiece

        if kind not in SENTENCEPIECE_KINDS:
            raise ValueError(f'kind={kind!r} is not one of {", ".join(SENTENCEPIECE_KINDS)}')
        texts = [text for text in texts if text]
        counts = collections.Counter(''.join(texts).replace(' ', '▁')) + collections.Counter({'▁': len(texts)})
        pieces = vocab_size - 2 - _BYTES * byte_fallback  # besides the blank and <unk>
        kept = _kept_characters(counts, pieces // 2) if byte_fallback else len(counts)
        least = vocab_size - pieces + kept
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
                character_coverage=sum(count for _, count in counts.most_common(kept)) / counts.total(),
                byte_fallback=byte_fallback,
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
        tokenizer = cls(model.getvalue())
        if byte_fallback:
            ratios = ((len(tokenizer.encode(text)) - 1) / len(text) for text in texts)
            tokenizer.labels_per_character = max(1.0, *ratios)
        return tokenizer

    def encode(self, text: str) -> list[int]:
        ids = self._processor.encode(text)
        unknown_id = self._processor.unk_id()
        if unknown_id in ids:
            known = set(''.join(self.names[1:])) | {' '}
            raise UserError(unknown_message(sorted(set(text) - known), text))
        return [index + 1 for index in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode([index - 1 for index in labels_in(ids, self.vocab_size)])

    def save(self, path: str | os.PathLike) -> None:
        content = {'kind': 'sentencepiece', 'model': base64.b64encode(self.model).decode()}
        bound = {} if self.labels_per_character == 1 else {'labels_per_character': self.labels_per_character}
        write_atomically(path, json.dumps(content | bound))

    def __reduce__(self) -> tuple:
        return SentencePieceTokenizer, (self.model, self.labels_per_character)


def _kept_characters(counts: collections.Counter[str], most: int) -> int:
    """How many of the most frequent characters are to be pieces: `most`, or more if these cover too little text."""
    up_to = np.cumsum([count for _, count in counts.most_common()]) / counts.total()
    return min(max(most, int(np.searchsorted(up_to, _LEAST_COVERAGE)) + 1), len(counts))


def _trainer_reason(error: Exception) -> str:
    """Why SentencePiece refused, in one clause; its limits do not count the blank."""
    message = ' '.join(str(error).split())
    limit = re.search(r'<= ([0-9]+)', message)
    return f'these transcripts allow at most {int(limit[1]) + 1}.' if limit else message
