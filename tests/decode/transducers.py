"""Tiny transducers with random parameters, and what they say in float64."""

import itertools
import math
from collections import defaultdict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.config import TransducerConfig
from bljust_jax.models.transducer import Transducer
from tests.params import random_params

VOCAB, WIDTH = 3, 4
CONFIGS = {
    'lstm': TransducerConfig(width=4, joint_dim=5, layers=2),
    'stateless': TransducerConfig(prediction='stateless', width=4, joint_dim=5),
}


class Head(NamedTuple):
    """A transducer and its parameters."""

    transducer: Transducer
    params: dict


def make_head(prediction='lstm', vocab=VOCAB, scale=4.0, blank=None):
    """Parameters are normal, and `blank` is the only bias of logits if it is given."""
    transducer = Transducer(CONFIGS[prediction], vocab)
    shapes = jax.eval_shape(transducer.init, jax.random.key(0), jnp.zeros((1, 1, WIDTH)), jnp.zeros((1, 1), jnp.int32))
    params = jax.tree.map(lambda leaf: scale * leaf, random_params(shapes['params']))
    if blank is not None:
        params['output']['bias'] = blank * np.eye(1, vocab, dtype=np.float32)[0]
    return Head(transducer, params)


def certain_head():
    """Reads label k = 1, 2 in a frame whose entry k - 1 is 1, unless it was the last label: of that it is certain."""
    transducer, params = make_head('stateless')
    params = jax.tree.map(np.zeros_like, params)
    prediction = params['prediction']
    for k in (0, 1):
        prediction['embedding']['embedding'][k + 1, k] = 1
        prediction['projection']['kernel'][WIDTH + k, k] = 6  # of the last of two labels
        params['frame']['kernel'][k, k], params['label']['kernel'][k, k] = 3, -1
        params['output']['kernel'][k, k + 1] = 24
    params['output']['bias'][0] = 12
    return Head(transducer, params)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(scale=2.0, size=shape).astype(np.float32)


def log_prob_tables(head, hidden, longest):
    """For every row of `hidden`: labelling of up to `longest` labels -> log-probabilities `[time, vocab]` after it."""
    vocab = head.transducer.vocab_size
    prefixes = [p for size in range(longest + 1) for p in itertools.product(range(1, vocab), repeat=size)]
    labels = np.array([p + (0,) * (longest - len(p)) for p in prefixes], np.int32).reshape(len(prefixes), longest)

    @jax.jit
    def logits_of(row):
        return head.transducer.apply({'params': head.params}, jnp.tile(row[None], (len(prefixes), 1, 1)), labels)

    tables = []
    for row in hidden:
        logits = np.asarray(logits_of(row), np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        tables.append({p: log_probs[i, :, len(p)] for i, p in enumerate(prefixes)})
    return tables


def likelihoods(table, time, max_symbols):
    """Log-likelihood of every labelling, over all ways of reading up to `max_symbols` labels in each frame."""
    vocab = table[()].shape[-1]
    in_frame = [way for size in range(max_symbols + 1) for way in itertools.product(range(1, vocab), repeat=size)]
    totals = defaultdict(float)
    for path in itertools.product(in_frame, repeat=time):
        read, log_prob = (), 0.0
        for frame, way in enumerate(path):
            for label in (*way, 0):
                log_prob += table[read][frame, label]
                read += (label,) if label else ()
        totals[read] += math.exp(log_prob)
    return {labels: math.log(total) for labels, total in totals.items()}
