"""Manifests of JSON objects, one a line, with the keys that NeMo writes (`audio_filepath`, `text`, `duration`, ...)."""

from collections.abc import Iterator

from bljust_jax.data.corpora.corpus import Utterance
from bljust_jax.data.preparing.rejection import Rejection
from bljust_jax.data.sources.lines import json_lines
from bljust_jax.data.sources.request import Request
from bljust_jax.data.sources.rows import read_row


def read(request: Request) -> Iterator[Utterance | Rejection]:
    """Yields the utterance of each line, or why there is none; keys may be any of `rows.FIELDS`, others are ignored."""
    for number, row in json_lines(request.path):
        yield read_row(row, number, request)
