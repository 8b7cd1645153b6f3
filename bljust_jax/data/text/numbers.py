"""Numbers in words."""

import re
from collections.abc import Callable

from bljust_jax.errors import UserError

_ONES = (
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
    'seventeen eighteen nineteen'
).split()
_TENS = 'zero ten twenty thirty forty fifty sixty seventy eighty ninety'.split()
_LONGEST_NUMBER = 5

Spell = Callable[[int], str]


def has_long_number(text: str) -> bool:
    """True if `text` holds a number of six digits or more, which nobody reads aloud the same way."""
    return re.search(rf'[0-9]{{{_LONGEST_NUMBER + 1},}}', text) is not None


def make_speller(language: str) -> Spell:
    """The function from a whole number, 0 or above, to its words in `language`.

    English is spelt here, as transcripts of speech have it; other languages are left to num2words.

    Raises:
      UserError: num2words does not know the language.
    """
    if re.split('[-_]', language)[0] == 'en':
        return _english
    import num2words

    # num2words itself takes the first two letters of what it does not know: Finnish for Filipino.
    codes = language.replace('-', '_'), re.split('[-_]', language)[0]
    code = next((code for code in codes if code in num2words.CONVERTER_CLASSES), None)
    if code is None:
        known = ', '.join(sorted({name.partition('_')[0] for name in num2words.CONVERTER_CLASSES}))
        raise UserError(
            f"numbers='words' is not there for language={language!r} (for {known}): choose numbers='keep', and give an "
            'alphabet without digits to have transcripts with digits rejected.'
        )
    return lambda number: num2words.num2words(number, lang=code)


def read_digits(digits: str, spell: Spell, *, glued: bool) -> str:
    """The words of a run of decimal digits of any script; leading zeros are not read.

    Numbers of six digits or more and those `glued` to a letter ("3D") are read digit by digit.
    """
    if glued or len(digits) > _LONGEST_NUMBER:
        return ' '.join(spell(int(digit)) for digit in digits)
    return spell(int(digits))


def _english(number: int) -> str:
    """Spells a number below 100,000; 1100-1999 not round as years ("nineteen ninety")."""
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
