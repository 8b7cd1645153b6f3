"""Which characters a transcript may have: the letters of a few languages, or what a config names."""

import functools
import re
import unicodedata

from bljust_jax.config import NormaliserConfig
from bljust_jax.errors import UserError

OF_LANGUAGE = 'language'

_LATIN = 'abcdefghijklmnopqrstuvwxyz'
_ALPHABETS = {
    'cs': _LATIN + 'áčďéěíňóřšťúůýž',
    'da': _LATIN + 'æøåé',
    'de': _LATIN + 'äöüß',
    'el': 'αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ',
    'en': _LATIN,
    'es': _LATIN + 'áéíñóúü',
    'fi': _LATIN + 'åäöšž',
    'fr': _LATIN + 'àâæçéèêëîïôœùûüÿ',
    'it': _LATIN + 'àèéìíîòóùú',
    'nl': _LATIN + 'áéèëêíïóöúü',
    'no': _LATIN + 'æøåéèêóòâô',
    'pl': _LATIN + 'ąćęłńóśźż',
    'pt': _LATIN + 'áâãàçéêíóôõúü',
    'ru': 'абвгдежзийклмнопрстуфхцчшщъыьэюяё',
    'sv': _LATIN + 'åäöé',
    'tr': _LATIN + 'çğıöşüâîû',
    'uk': 'абвгґдеєжзиіїйклмнопрстуфхцчшщьюя',
    'hi': ''.join(map(chr, [*range(0x0901, 0x094E), 0x0950, *range(0x0958, 0x0962), 0x0970])),
    'zh': ''.join(map(chr, [0x3007, *range(0x3400, 0x4DC0), *range(0x4E00, 0xA000)])),
}


def outside_alphabet(text: str, config: NormaliserConfig) -> list[str]:
    """The characters of a normalised transcript that `config.alphabet` does not have, sorted; the space always is.

    Where accents are stripped, letters that are not ASCII are among them whatever the alphabet.

    The letters of a language (`alphabet='language'`) go with the apostrophe and with whatever else the other fields
    keep: digits, punctuation, the marks that join letters.
    """
    allowed, letters_only = _allowed(config)
    strangers = set(text) - allowed - {' '}
    if not allowed:
        return sorted(c for c in strangers if not c.isascii()) if strips_accents(config) else []
    return sorted(c for c in strangers if not letters_only or unicodedata.category(c)[0] in 'LM')


def check_alphabet(config: NormaliserConfig) -> None:
    """Raises a `UserError` if the config names the alphabet of a language that is not known here, or strips it off."""
    language = base_language(config.language)
    if config.alphabet == OF_LANGUAGE and language not in _ALPHABETS:
        raise UserError(
            f'alphabet={OF_LANGUAGE!r} is known for {", ".join(sorted(_ALPHABETS))}, not for '
            f'language={config.language!r}: write the letters themselves.'
        )
    named = _ALPHABETS.get(language, '') if config.alphabet in ('', OF_LANGUAGE) else config.alphabet
    if config.accents == 'strip' and named and not re.search('[a-zA-Z]', named):
        raise UserError(
            f"accents='strip' leaves nothing but ASCII, and language={config.language!r} is not written in it: choose "
            "accents='keep'."
        )


def base_language(language: str) -> str:
    """The language without its region: `pt` of `pt-BR`."""
    return re.split('[-_]', language)[0]


def strips_accents(config: NormaliserConfig) -> bool:
    """Whether letters are brought to ASCII."""
    return config.accents == 'strip' or (config.accents == 'auto' and base_language(config.language) == 'en')


def recase(text: str, config: NormaliserConfig) -> str:
    """`text` in the case of `config`; Turkish and Azerbaijani have two letters i."""
    dotted = base_language(config.language) in ('tr', 'az')
    if config.case == 'lower':
        return (text.replace('İ', 'i').replace('I', 'ı') if dotted else text).lower()
    if config.case == 'upper':
        return (text.replace('i', 'İ') if dotted else text).upper()
    return text


@functools.lru_cache(maxsize=16)
def _allowed(config: NormaliserConfig) -> tuple[frozenset[str], bool]:
    """The allowed characters, none for any, and whether they say something of letters alone."""
    of_language = config.alphabet == OF_LANGUAGE
    letters = _ALPHABETS[base_language(config.language)] if of_language else config.alphabet
    cased = letters + letters.upper() if config.case == 'keep' and of_language else recase(letters, config)
    return frozenset(unicodedata.normalize('NFKC', cased)), of_language
