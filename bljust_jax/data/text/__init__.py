"""Text: normalising transcripts, and tokenizers that turn them into label ids (id 0 is always the blank)."""

from bljust_jax.data.text.alphabets import outside_alphabet
from bljust_jax.data.text.byte import ByteTokenizer
from bljust_jax.data.text.char import CharTokenizer
from bljust_jax.data.text.labels import BLANK_ID, Tokenizer
from bljust_jax.data.text.normaliser import Normaliser, make_normaliser, normalise, strip_asides
from bljust_jax.data.text.numbers import has_long_number
from bljust_jax.data.text.pieces import SENTENCEPIECE_KINDS, SentencePieceTokenizer
from bljust_jax.data.text.problems import check_text
from bljust_jax.data.text.stored import read_normaliser, save_normaliser
from bljust_jax.data.text.tokenizer import TOKENIZER_KINDS, check_tokenizer, load_tokenizer, train_tokenizer

__all__ = [
    'BLANK_ID',
    'SENTENCEPIECE_KINDS',
    'TOKENIZER_KINDS',
    'ByteTokenizer',
    'CharTokenizer',
    'Normaliser',
    'SentencePieceTokenizer',
    'Tokenizer',
    'check_text',
    'check_tokenizer',
    'has_long_number',
    'load_tokenizer',
    'make_normaliser',
    'normalise',
    'outside_alphabet',
    'read_normaliser',
    'save_normaliser',
    'strip_asides',
    'train_tokenizer',
]
