"""Transcripts in the `trn` format of NIST's sclite: one utterance a line, its words and then its id in brackets.

Two of them, of the references and of one run, are scored by

    sclite -r reference.trn trn -h hypothesis.trn trn -i spu_id -s -e utf-8 -o sum pra

where `spu_id` has sclite report by speaker, which is what stands before an id's first hyphen, and `-s` keeps upper and
lower case apart, in ids too. Its rates may be a little above those of `bljust_jax.metrics`: it aligns with weights of 4
for a substitution and 3 for an insertion or deletion, which are not always the fewest errors.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bljust_jax.files import write_atomically

# What means something to sclite within words (alternatives, nothing, a comment, ...) becomes its full-width form.
_PLAIN = {ord(mark): ord(mark) - ord('!') + 0xFF01 for mark in '(){}@;*\\'}
_UNKNOWN = 'unknown'


def write_trn(path: str | os.PathLike[str], lines: Sequence[Mapping[str, Any]], field: str) -> None:
    """Writes one field of `hypotheses/<split>.jsonl` as `words (speaker-id)`, whole or not at all, in the order given.

    Speakers and ids are percent-encoded, hyphens of speakers too, so that they hold no space or bracket, differ where
    they did, and `urllib.parse.unquote` gives them back. An unknown speaker is called `unknown`.

    Args:
      path: the file; its folder must be there.
      lines: with `id`, `speaker` and `field`.
      field: 'reference' or 'hypothesis'; may be empty.

    Raises:
      ValueError: if a speaker has an id twice.
    """
    ids = [_utterance_id(line) for line in lines]
    if len(set(ids)) < len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ValueError(f'sclite needs ids that differ; these come more than once: {", ".join(twice[:3])}.')
    words = [' '.join(line[field].split()).translate(_PLAIN) for line in lines]
    write_atomically(path, ''.join(f'{text} ({name})\n' for text, name in zip(words, ids, strict=True)))


def _utterance_id(line: Mapping[str, Any]) -> str:
    speaker = quote(str(line.get('speaker') or _UNKNOWN), safe='').replace('-', '%2D')
    return f'{speaker}-{quote(str(line["id"]), safe="")}'
