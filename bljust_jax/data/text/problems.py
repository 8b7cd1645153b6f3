"""What no transcript may hold, whatever the language: signs that the text is damaged or not what it looks like."""

import re

_PROBLEMS = {
    '\0': 'a NUL character',
    '\ud800-\udfff': 'half of a surrogate pair, which is no character',
    '\ufffd': 'U+FFFD, which stands for bytes that were not UTF-8',
    '\u202a-\u202e\u2066-\u2069': 'a control character that changes the direction of writing',
}
_DAMAGED = re.compile(f'[{"".join(_PROBLEMS)}]')


def check_text(text: str) -> str | None:
    r"""What is wrong with a raw transcript, as a clause with the character and where it stands; None if nothing is.

    >>> check_text('na\u202eive')
    'a control character that changes the direction of writing (U+202E at character 2)'
    """
    if (found := _DAMAGED.search(text)) is None:
        return None
    problem = next(problem for characters, problem in _PROBLEMS.items() if re.match(f'[{characters}]', found[0]))
    return f'{problem} (U+{ord(found[0]):04X} at character {found.start()})'
