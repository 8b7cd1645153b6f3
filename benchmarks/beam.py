"""Utterances per second of greedy decoding and prefix beam search. `python -m benchmarks.beam` from the root.

Decoding alone, logits to labels, on a full batch of 8 s rows of the preset `mini` (30 ms frames, 28 labels and the
blank), for beams of 8 and 32 and, with a 5-gram over the labels, 8. Logits are noise with a peak at a random path's
labels. There is no target; the ratio is the time of beam 8 over that of greedy decoding.
"""

import functools

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result
from configs import conformer

VOCAB, SECONDS, ORDER, REPEATS = 29, 8.0, 5, 9
CONFIG = conformer.mini()
ROWS = int(CONFIG.eval.batch_seconds / SECONDS)


def logits() -> tuple[np.ndarray, np.ndarray]:
    """`[rows, frames, vocab]` in which a label has a third of the frames to itself, and the lengths `[rows]`."""
    rng = np.random.default_rng(0)
    frames = int(SECONDS / (4 * CONFIG.log_mel.hop))
    path = np.where(rng.uniform(size=(ROWS, frames)) < 1 / 3, rng.integers(1, VOCAB, (ROWS, frames)), 0)
    noise = rng.normal(scale=1.5, size=(ROWS, frames, VOCAB))
    return (noise + 6.0 * np.eye(VOCAB)[path]).astype(np.float32), np.full(ROWS, frames, np.int32)


def greedy() -> Call:
    """Greedy decoding."""
    import jax

    from bljust_jax.decode import ctc_greedy

    decode, rows = jax.jit(ctc_greedy), jax.device_put(logits())
    return lambda: jax.block_until_ready(decode(*rows))


def beam_search(beam: int, language: bool = False) -> Call:
    """Beam search; the language model is of random sentences, on which its time does not depend."""
    import jax

    from bljust_jax.decode import ctc_beam
    from bljust_jax.lm import kneser_ney, ngram_table

    names = tuple(map(chr, range(ord('a'), ord('a') + VOCAB - 1)))
    rng = np.random.default_rng(1)
    sentences = [[names[label] for label in rng.integers(0, VOCAB - 1, 40)] for _ in range(200)] if language else []
    lm = ngram_table(kneser_ney(sentences, names, ORDER), names) if language else None
    decode, rows = jax.jit(functools.partial(ctc_beam, beam=beam)), jax.device_put(logits())
    return lambda: jax.block_until_ready(decode(*rows, lm=lm))


def main() -> None:
    """Prints a table of times and rates and, last, the result."""
    print(f'{ROWS} rows of {SECONDS} s, vocabulary {VOCAB}')
    searches = {'beam 8': (8,), 'beam 32': (32,), f'beam 8, {ORDER}-gram': (8, True)}
    setups = {'greedy': greedy} | {name: functools.partial(beam_search, *given) for name, given in searches.items()}
    timings = alternate(setups, repeats=REPEATS)
    rates = {name: ROWS / timing.median for name, timing in timings.items()}
    for name, rate in rates.items():
        print(f'{name:<15} {rate:10.0f} utterances a second, {SECONDS * rate:10.0f} times real time')
    print_result(
        'beam',
        timings['beam 8'].median / timings['greedy'].median,
        utterances_per_second={name: round(rate, 1) for name, rate in rates.items()},
    )


if __name__ == '__main__':
    main()
