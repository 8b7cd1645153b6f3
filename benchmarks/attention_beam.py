"""Utterances per second of beam search with an attention decoder. `python -m benchmarks.attention_beam` from the root.

Decoding alone, hidden frames and CTC logits to labels, on a full batch of 8 s rows of the preset `mini` with the
default decoder, whose weights are random: it is made to go on for a label to every three frames. There is no target;
the ratio is the time of a beam of 8 with CTC's scores over that of greedy decoding without.
"""

import functools

import numpy as np

from benchmarks.beam import CONFIG, ROWS, SECONDS, VOCAB, logits
from benchmarks.side_by_side import Call, alternate, print_result

REPEATS, LABELS_PER_FRAME = 5, 1 / 3


def search(beam: int, hybrid: bool) -> Call:
    """Beam search, with CTC's scores or without."""
    import jax
    import jax.numpy as jnp

    from bljust_jax.decode import attention_beam
    from bljust_jax.models.attention_decoder import BOUNDARY, AttentionDecoder

    decoder = AttentionDecoder(CONFIG.attention_decoder, VOCAB)
    ctc_logits, lengths = logits()
    hidden = np.random.default_rng(1).normal(size=(*ctc_logits.shape[:2], CONFIG.conformer.width)).astype(np.float32)
    params = decoder.init(jax.random.key(0), hidden[:, :1], lengths, jnp.zeros((ROWS, 1), jnp.int32))['params']
    params['output']['bias'] = params['output']['bias'].at[BOUNDARY].set(-1e4)
    options = {'beam': beam, 'best': 1, 'labels_per_frame': LABELS_PER_FRAME}
    decode = jax.jit(functools.partial(attention_beam, decoder, **options))
    rows = jax.device_put((params, hidden, lengths))
    ctc = {'ctc_logits': jax.device_put(ctc_logits), 'ctc_weight': 0.3} if hybrid else {}
    return lambda: jax.block_until_ready(decode(*rows, **ctc))


def main() -> None:
    """Prints a table of times and rates and, last, the result."""
    print(f'{ROWS} rows of {SECONDS} s, vocabulary {VOCAB}')
    searches = {
        'attention, greedy': (1, False),
        'attention, beam 8': (8, False),
        'hybrid, greedy': (1, True),
        'hybrid, beam 8': (8, True),
    }
    setups = {name: functools.partial(search, *arguments) for name, arguments in searches.items()}
    timings = alternate(setups, repeats=REPEATS)
    rates = {name: ROWS / timing.median for name, timing in timings.items()}
    for name, rate in rates.items():
        print(f'{name:<20} {rate:10.0f} utterances a second, {SECONDS * rate:10.0f} times real time')
    print_result(
        'attention_beam',
        timings['hybrid, beam 8'].median / timings['attention, greedy'].median,
        utterances_per_second={name: round(rate, 1) for name, rate in rates.items()},
    )


if __name__ == '__main__':
    main()
