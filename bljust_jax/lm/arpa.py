r"""Back-off n-gram models and ARPA files, the text format in which toolkits exchange them.

A model lists n-grams with a probability and the weight of backing off to the next shorter context:

    p(w | h) = p_listed(h w)                if h w is listed
             = backoff(h) p(w | h[1:])      else; backoff is 1 where h is not listed

An ARPA file has base-10 logarithms, in memory they are natural ones.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

BEGIN, END, UNKNOWN = '<s>', '</s>', '<unk>'
Ngram = tuple[str, ...]

_LN10 = math.log(10.0)
_ZERO = -99.0  # how ARPA writes the base-10 logarithm of 0


class Entry(NamedTuple):
    """What is listed of an n-gram: natural logarithms of its probability and of its back-off weight."""

    log_prob: float
    backoff: float = 0.0


class NgramModel(NamedTuple):
    """A back-off model.

    Attributes:
      order: the longest n-grams' length.
      entries: the listed n-grams.
    """

    order: int
    entries: Mapping[Ngram, Entry]

    def log_prob(self, context: Ngram, word: str) -> float:
        """Log-probability of `word` after `context`, of which the last `order - 1` words count.

        Raises:
          KeyError: if not even the word by itself is listed.
        """
        context = context[max(0, len(context) - self.order + 1) :]
        weight = 0.0
        while (*context, word) not in self.entries and context:
            weight += self.entries[context].backoff if context in self.entries else 0.0
            context = context[1:]
        return weight + self.entries[(*context, word)].log_prob

    def sentence_log_prob(self, words: Sequence[str]) -> float:
        """Log-probability of the sentence, its end included."""
        sentence = (BEGIN, *words, END)
        return sum(self.log_prob(sentence[:place], sentence[place]) for place in range(1, len(sentence)))

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Exp of the mean negative log-probability of a word, each sentence's end counting as one."""
        sentences = list(sentences)
        words = sum(len(sentence) + 1 for sentence in sentences)
        return math.exp(-sum(map(self.sentence_log_prob, sentences)) / words)


def write_arpa(path: str | os.PathLike[str], model: NgramModel) -> None:
    """Writes `model` to `path`, whole or not at all."""
    by_order: list[list[Ngram]] = [[] for _ in range(model.order)]
    for ngram in sorted(model.entries):
        by_order[len(ngram) - 1].append(ngram)
    lines = ['\\data\\', *(f'ngram {order}={len(ngrams)}' for order, ngrams in enumerate(by_order, start=1))]
    for order, ngrams in enumerate(by_order, start=1):
        lines += ['', f'\\{order}-grams:']
        for ngram in ngrams:
            log_prob, backoff = (value / _LN10 for value in model.entries[ngram])
            weight = f'\t{backoff:.9g}' if order < model.order else ''
            lines.append(f'{max(log_prob, _ZERO):.9g}\t{" ".join(ngram)}{weight}')
    write_atomically(path, '\n'.join([*lines, '', '\\end\\', '']))


def read_arpa(path: str | os.PathLike[str]) -> NgramModel:
    """The model in the ARPA file `path`, whoever wrote it.

    Raises:
      UserError: if there is no such file, or naming the line that is no ARPA.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f'There is no language model {path}: python -m bljust_jax.lm makes one.') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is no ARPA file (it is not text in UTF-8).') from error
    counts: dict[int, int] = {}
    entries: dict[Ngram, Entry] = {}
    order, ended = None, False  # order: of the section that a line is in; 0 is \data\
    for number, line in enumerate(lines, start=1):
        line = line.strip(' \t\r')
        if header := re.fullmatch(r'\\(\d+)-grams:', line):
            order = int(header[1])
        elif line == '\\data\\':
            order = 0
        elif line == '\\end\\':
            ended = True
            break
        elif line and order is not None:
            try:
                if order:
                    ngram, entry = _parse(line, order)
                    if ngram in entries:
                        raise ValueError('an n-gram that was listed before')
                    entries[ngram] = entry
                else:
                    length, count = re.fullmatch(r'ngram\s+(\d+)\s*=\s*(\d+)', line).groups()  # type: ignore[union-attr]
                    counts[int(length)] = int(count)
            except (ValueError, AttributeError) as error:
                raise UserError(f'{path}, line {number}, is no ARPA: {line!r}.') from error
    listed = dict.fromkeys(counts, 0)
    for ngram in entries:
        listed[len(ngram)] = listed.get(len(ngram), 0) + 1
    if not (ended and entries and listed == counts):
        raise UserError(f'{path} is no whole ARPA file: it announces {counts} n-grams by length and lists {listed}.')
    return NgramModel(max(counts), entries)


def _parse(line: str, order: int) -> tuple[Ngram, Entry]:
    """An n-gram and its entry; a missing back-off weight is 1."""
    fields = line.split()
    if len(fields) not in (order + 1, order + 2):
        raise ValueError(f'{len(fields)} fields')
    log_prob, backoff = float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0
    if not (log_prob <= 0 and math.isfinite(log_prob) and math.isfinite(backoff)):
        raise ValueError('no logarithm of a probability')
    return tuple(fields[1 : order + 1]), Entry(log_prob * _LN10, backoff * _LN10)
