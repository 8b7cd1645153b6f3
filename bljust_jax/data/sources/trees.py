"""What the readers of corpora in folders share: lines into records, and what is said of a folder that is another."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.sources.lines import text_lines
from bljust_jax.errors import UserError

Record = Utterance | Rejection

_SHOWN_NAMES = 8


def read_lines(path: Path, split: str, parse: Callable[[str], Utterance | None], *, skip: int = 0) -> Iterator[Record]:
    """Yields what `parse` makes of each line of `text_lines`, None aside; what it or `text_lines` refuses is rejected.

    A file that cannot be read to its end is one `Rejection` more.

    Args:
        path: of a text file.
        split: of its utterances.
        parse: takes a line without its end; raises `Unusable`.
        skip: this many lines at the beginning are not parsed, blank ones not counted.
    """
    try:
        for number, line in itertools.islice(text_lines(path), skip, None):
            try:
                if isinstance(line, Unusable):
                    raise line
                utterance = parse(line)
            except Unusable as error:
                yield Rejection(f'{path.name}:{number}', split, str(path), error.reason, error.detail)
            else:
                if utterance is not None:
                    yield utterance
    except UserError as error:
        reason = Reason.MISSING if isinstance(error.__cause__, FileNotFoundError) else Reason.UNREADABLE
        yield Rejection(path.name, split, str(path), reason, str(error).removesuffix('.'))


def below(root: Path, pattern: str) -> Iterator[Path]:
    """Yields the files anywhere below `root` whose names match; of links to folders, those in `root` are followed."""
    yield from root.glob(pattern)
    yield from root.glob(f'*/**/{pattern}')


def unlisted(folder: Path, split: str) -> Iterator[Rejection]:
    """Yields a `Rejection` for each folder from `folder` down whose content cannot be listed: it would seem empty."""
    errors: list[OSError] = []
    for _ in os.walk(folder, onerror=errors.append):
        pass
    for error in errors:
        if not isinstance(error, FileNotFoundError):
            detail = f'the folder cannot be listed: {error.strerror}'
            yield Rejection(Path(error.filename).name, split, str(error.filename), Reason.UNREADABLE, detail)


def not_laid_out(root: Path, expected: str) -> UserError:
    """The error for a folder that is no such corpus: what was expected in it and what was found."""
    return UserError(f'{root} should hold {expected}, but {_found(root)}: give the folder of the corpus.')


def _found(root: Path) -> str:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    rest = len(names) - _SHOWN_NAMES
    more = f' and {rest} more' if rest > 0 else ''
    return f'has {", ".join(names[:_SHOWN_NAMES])}{more}' if names else 'is empty'
