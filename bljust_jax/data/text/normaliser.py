"""Normalising transcripts: the form in which a corpus is written, trained on and scored."""

import functools
import re
import unicodedata
from collections.abc import Callable

from bljust_jax.config import NormaliserConfig
from bljust_jax.config.checks import check
from bljust_jax.data.text.alphabets import base_language, check_alphabet, recase, strips_accents
from bljust_jax.data.text.numbers import Spell, make_speller, read_digits

Normaliser = Callable[[str], str]

_ASIDES = re.compile(r'<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)')
_APOSTROPHES = str.maketrans('\u2019\u02bc', "''")  # the second is how Ukrainian writes it
_LIGATURES = str.maketrans(
    dict(pair.split(':') for pair in 'ß:ss ẞ:SS æ:ae Æ:AE œ:oe Œ:OE ø:o Ø:O ł:l Ł:L đ:d Đ:D ı:i'.split())
)
_FRACTION = re.compile('[\u00bc-\u00be\u2150-\u215f\u2189]')  # one half is not a digit of the number before it
_WITHOUT_MEANING = re.compile('[\u0640\ufe00-\ufe0f\U000e0100-\U000e01ef]')  # tatweel, variation selectors
_INNER = re.compile("['\u05f3\u05f4]")  # apostrophe, geresh, gershayim
_JOINERS = re.compile('[\u200c\u200d]')
_VIRAMA = 9  # its canonical combining class
_AND = dict(pair.split(':') for pair in 'de:und en:and es:y fr:et it:e nl:en pl:i pt:e ru:и sv:och uk:і'.split())
_WITHOUT_SPACES = ('zh', 'yue', 'ja')
_HAN_KANA = '\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff'
_SPACES_BETWEEN = re.compile(f'(?<=[{_HAN_KANA}]) +(?=[{_HAN_KANA}])')


def make_normaliser(config: NormaliserConfig) -> Normaliser:
    """The function that brings transcripts into the form that `config` asks for, see there; it is idempotent.

    What comes out is in Unicode's composed form (NFC) with compatibility characters folded (NFKC: full-width letters,
    ligatures), one space between words, none at the ends. `<...>`, `[...]` and `(...)` are removed with their content.
    In Chinese and Japanese there is no space between two Han or kana characters. Zero-width joiners stay where they
    shape letters, beside a virama or between Arabic letters; all other characters without a width go.

    Raises:
      UserError: a field has a wrong value, or does not go with the language.
    """
    check(config, 'text')
    check_alphabet(config)
    spell = make_speller(config.language) if config.numbers == 'words' else None
    language, strip = base_language(config.language), strips_accents(config)
    keep = config.punctuation == 'keep'

    def normalise_text(text: str) -> str:
        text = _FRACTION.sub(r' \g<0> ', text)
        text = _ascii(text) if strip else unicodedata.normalize('NFKC', text)
        text = strip_asides(text if strip else text.translate(_APOSTROPHES))
        if not keep and language in _AND:
            text = text.replace('&', f' {_AND[language]} ')
        if spell is not None:
            text = _with_words(text, spell, spaced=language not in _WITHOUT_SPACES)
        text = _composed(recase(text, config))
        text = _composed(''.join(map(_kept if keep else _word_character, text)))
        text = _composed(_JOINERS.sub(_if_shaping, _without_stray_marks(text)))
        text = ' '.join((text if keep else _INNER.sub(_if_inside, text)).split())
        return _SPACES_BETWEEN.sub('', text) if language in _WITHOUT_SPACES else text

    return normalise_text


def strip_asides(text: str) -> str:
    """Removes what is not spoken: `<...>`, `[...]` and `(...)`."""
    return _ASIDES.sub(' ', text)


def _ascii(text: str) -> str:
    """`text` in ASCII: without accents, and with a space for a symbol that has no such form.

    Letters that have none, of other scripts, stay: `outside_alphabet` tells of them, as without them the transcript
    would not be what is said.
    """
    text = unicodedata.normalize('NFKD', text.translate(_LIGATURES)).translate(_APOSTROPHES)
    return text if text.isascii() else ''.join(map(_ascii_character, text))


@functools.cache
def _ascii_character(character: str) -> str:
    category = unicodedata.category(character)
    if character.isascii() or category[0] in 'LN':
        return character
    return ' ' if category[0] in 'PSZ' else ''


def _composed(text: str) -> str:
    """NFKC, but for Thai's and Lao's vowel AM, which it takes apart."""
    text = unicodedata.normalize('NFKC', text)
    return text.replace('\u0e4d\u0e32', '\u0e33').replace('\u0ecd\u0eb2', '\u0eb3')


def _with_words(text: str, spell: Spell, *, spaced: bool) -> str:
    """`text` with each run of digits in words, a space between these and letters if the language has spaces."""

    def words(run: re.Match[str]) -> str:
        before, after = text[max(run.start() - 1, 0) : run.start()], text[run.end() : run.end() + 1]
        glued = spaced and (_is_letter(before) or _is_letter(after))
        read = read_digits(run[0], spell, glued=glued)
        return ' ' * (spaced and _clings(before)) + read + ' ' * (spaced and _clings(after))

    return re.sub(r'\d+', words, text)


def _clings(neighbour: str) -> bool:
    """Whether a word beside this character would be one word with it."""
    return _is_letter(neighbour) or _INNER.fullmatch(neighbour) is not None


@functools.cache
def _is_letter(character: str) -> bool:
    """Whether it is a letter or a mark on one; nothing ('') is neither."""
    return bool(character) and unicodedata.category(character)[0] in 'LM'


@functools.cache
def _kept(character: str) -> str:
    """What stands for a character where punctuation is kept: itself, a space, or nothing."""
    category = unicodedata.category(character)
    if _JOINERS.match(character):
        return character
    if category == 'Cf' or _WITHOUT_MEANING.match(character):
        return ''
    return character if category[0] in 'LMNPS' else ' '


@functools.cache
def _word_character(character: str) -> str:
    """The same where punctuation is dropped, but for what may stand inside a word: `_if_inside` sees to that."""
    is_punctuation = unicodedata.category(character)[0] in 'PS' and not _INNER.match(character)
    return ' ' if is_punctuation else _kept(character)


def _without_stray_marks(text: str) -> str:
    """`text` without the marks, accents and vowel signs that stand on no letter."""
    if text.isascii():
        return text
    characters, on_letter = [], False
    for character in text:
        stray = unicodedata.category(character)[0] == 'M' and not on_letter
        characters.append('' if stray else character)
        on_letter = on_letter if _JOINERS.match(character) else _is_letter(character) and not stray
    return ''.join(characters)


def _if_inside(found: re.Match[str]) -> str:
    """The character found if it has letters on both sides, else a space."""
    text, at = found.string, found.start()
    return found[0] if _is_letter(text[max(at - 1, 0) : at]) and _is_letter(text[at + 1 : at + 2]) else ' '


def _if_shaping(found: re.Match[str]) -> str:
    """The joiner found if it is beside a virama or between two Arabic letters, else nothing (as in RFC 5892, A.1-2)."""
    around = found.string[max(found.start() - 1, 0) : found.start()], found.string[found.end() : found.end() + 1]
    virama = any(c and unicodedata.combining(c) == _VIRAMA for c in around)
    arabic = all(c and unicodedata.bidirectional(c) == 'AL' for c in around)
    return found[0] if virama or arabic else ''


normalise = make_normaliser(NormaliserConfig())
