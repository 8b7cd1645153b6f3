"""An n-gram model as dense arrays, for decoders that run inside jit.

A state is a context that the model knows: the longest suffix of the labels so far that anything follows. Back-off is
resolved beforehand, so that a lookup is one row: `scores[state]` are the log-probabilities of all labels, and
`next[state, label]` is the state after one of them. This takes 8 bytes for each state and label.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.errors import UserError
from bljust_jax.lm.arpa import BEGIN, END, UNKNOWN, Entry, Ngram, NgramModel

MAX_ENTRIES = 2**27  # states · labels: 1 GiB
_REMEDY = 'make one for its labels by python -m bljust_jax.lm --workdir.'


class NgramTable(NamedTuple):
    """A language model over labels as a deterministic automaton.

    Attributes:
      scores: natural log-probability of each label in each state `[state, vocab]`, float32; 0 for the blank.
      final: log-probability that the labels end here `[state]`, float32.
      next: the state after a label `[state, vocab]`, int32; that of the blank is the state itself.
      start: the state before the first label, int32 scalar.
    """

    scores: jax.Array
    final: jax.Array
    next: jax.Array
    start: jax.Array


def no_language(vocab: int) -> NgramTable:
    """The table that adds nothing to any score."""
    return NgramTable(jnp.zeros((1, vocab)), jnp.zeros(1), jnp.zeros((1, vocab), jnp.int32), jnp.int32(0))


def ngram_table(model: NgramModel, names: Sequence[str]) -> NgramTable:
    """The table of `model` over the labels 1, 2, ... with these names (`Tokenizer.names`); label 0 is the blank.

    Raises:
      UserError: if a word of the model is no label or a label has no probability, which means that the model was made
        for another tokenizer, or if the table would be larger than `MAX_ENTRIES`.
    """
    columns = {name: label for label, name in enumerate([*names, END], start=1)}
    if len(columns) != len(names) + 1 or BEGIN in columns:
        raise ValueError(f'Labels need different names, none of them {BEGIN} or {END}: {", ".join(names)}.')
    entries = _over_labels(model, columns)
    contexts = {ngram[:-1] for ngram in entries} | {n for n, entry in entries.items() if entry.backoff and n[-1] != END}
    states = {context: state for state, context in enumerate(sorted(contexts, key=len))}
    if len(states) * (len(names) + 1) > MAX_ENTRIES:
        raise UserError(
            f'A language model of {len(states)} contexts and {len(names)} labels is too large for a table: '
            f'make one of an order below {model.order}.'
        )
    listed: dict[Ngram, list[Ngram]] = {context: [] for context in states}
    for ngram in entries:
        if ngram[-1] in columns:
            listed[ngram[:-1]].append(ngram)
    scores = np.zeros((len(states), len(names) + 2), np.float32)
    after = np.zeros(scores.shape, np.int32)
    for context, state in states.items():  # shorter ones first: what a context does not list, its suffix knows
        if context:
            suffix = _longest(context[1:], states)
            scores[state] = scores[suffix] + (entries[context].backoff if context in entries else 0.0)
            after[state] = after[suffix]
        for ngram in listed[context]:
            scores[state, columns[ngram[-1]]] = entries[ngram].log_prob
            after[state, columns[ngram[-1]]] = states.get(ngram, after[state, columns[ngram[-1]]])
    scores[:, 0], after[:, 0] = 0.0, np.arange(len(states))
    start = np.int32(_longest((BEGIN,), states))
    return NgramTable(*map(jnp.asarray, (scores[:, :-1], scores[:, -1], after[:, :-1], start)))


def _over_labels(model: NgramModel, columns: Mapping[str, int]) -> dict[Ngram, Entry]:
    """The n-grams without the unknown word, whose probability goes to each label that is not listed."""
    unknown = None if UNKNOWN in columns else model.entries.get((UNKNOWN,))
    entries = {n: entry for n, entry in model.entries.items() if unknown is None or UNKNOWN not in n}
    strays = {word for ngram in entries for word in ngram if word not in columns and word != BEGIN}
    missing = [name for name in columns if (name,) not in entries]
    if strays:
        raise UserError(f'The language model knows {min(strays)!r}, which is no label of this run: {_REMEDY}')
    if missing and unknown is None:
        raise UserError(f'The language model does not know the label {missing[0]!r}: {_REMEDY}')
    return entries | {(name,): Entry(unknown.log_prob) for name in missing if unknown}


def _longest(context: Ngram, states: Mapping[Ngram, int]) -> int:
    """The state of the longest suffix that is one; that of the empty context is 0."""
    while context not in states:
        context = context[1:]
    return states[context]
