"""Utterances per second of RNN-T decoding, greedy and by beam search. `python -m benchmarks.rnnt_beam` from the root.

Decoding alone, hidden frames to labels, on a full batch of 8 s rows of the preset `mini` of configs/rnnt.py (30 ms
frames, 28 labels and the blank). Hidden frames are noise, to which random parameters answer with a label in about half
of the frames. There is no target; the ratio is the time of beam 8 over that of greedy decoding.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result
from configs import rnnt

VOCAB, SECONDS, REPEATS = 29, 8.0, 7
BLANK = 8.0  # added to its logit
CONFIG = rnnt.mini()
ROWS = int(CONFIG.eval.batch_seconds / SECONDS)


def head(prediction: str) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A transducer, its parameters, hidden frames `[rows, frames, width]` and their lengths."""
    import jax
    import jax.numpy as jnp

    from bljust_jax.models.transducer import Transducer

    frames = int(SECONDS / (4 * CONFIG.log_mel.hop))
    hidden = np.random.default_rng(0).normal(size=(ROWS, frames, CONFIG.conformer.width)).astype(np.float32)
    transducer = Transducer(dataclasses.replace(CONFIG.transducer, prediction=prediction), VOCAB)
    params = transducer.init(jax.random.key(0), hidden[:, :1], jnp.zeros((ROWS, 1), jnp.int32))['params']
    output = params['output']
    output = {'kernel': 4 * output['kernel'], 'bias': output['bias'].at[0].add(BLANK)}
    return transducer, params | {'output': output}, hidden, np.full(ROWS, frames, np.int32)


def setup(decoder: str, prediction: str, **options: Any) -> Call:
    """A decoder, jitted."""
    import jax

    from bljust_jax.decode import rnnt_beam, rnnt_greedy

    transducer, *arrays = head(prediction)
    decode = functools.partial({'greedy': rnnt_greedy, 'beam': rnnt_beam}[decoder], transducer, **options)
    decode, arrays = jax.jit(decode), jax.device_put(arrays)
    return lambda: jax.block_until_ready(decode(*arrays))


def main() -> None:
    """Prints a table of times and rates and, last, the result."""
    print(f'{ROWS} rows of {SECONDS} s, vocabulary {VOCAB}')
    setups = {
        'greedy, stateless': functools.partial(setup, 'greedy', 'stateless'),
        'greedy, lstm': functools.partial(setup, 'greedy', 'lstm'),
        'beam 8, stateless': functools.partial(setup, 'beam', 'stateless'),
        'beam 8, stateless, search alone': functools.partial(setup, 'beam', 'stateless', at_least_greedy=False),
        'beam 8, lstm': functools.partial(setup, 'beam', 'lstm'),
    }
    timings = alternate(setups, repeats=REPEATS)
    rates = {name: ROWS / timing.median for name, timing in timings.items()}
    for name, rate in rates.items():
        print(f'{name:<32} {rate:10.0f} utterances a second, {SECONDS * rate:10.0f} times real time')
    print_result(
        'rnnt_beam',
        timings['beam 8, stateless'].median / timings['greedy, stateless'].median,
        utterances_per_second={name: round(rate, 1) for name, rate in rates.items()},
    )


if __name__ == '__main__':
    main()
