"""The forms of a grouped convolution over time, forward and backward, on the backend at hand.

    python -m benchmarks.grouped [--repeats=5]

At 8 rows of 250 frames, width 256, 16 groups, 128 taps, float32. The last line compares the form that `grouped` chooses
with XLA's grouped convolution.
"""

import argparse
import functools

from benchmarks.side_by_side import Call, alternate, print_result

BATCH, TIME, WIDTH, GROUPS, TAPS = 8, 250, 256, 16, 128
FORMS = ('chosen', 'grouped convolution', 'product of unfolded frames')


def program(form: str) -> Call:
    """Value and gradients of one form."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from bljust_jax.models.grouped import convolution, grouped

    def unfolded(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (TAPS // 2, TAPS - 1 - TAPS // 2), (0, 0)))
        frames = padded[:, jnp.arange(TIME)[:, None] + jnp.arange(TAPS)].reshape(BATCH, TIME, TAPS, GROUPS, -1)
        product = jnp.einsum('btkgi,kigo->btgo', frames, kernel.reshape(TAPS, -1, GROUPS, WIDTH // GROUPS))
        return product.reshape(x.shape)

    functions = dict(zip(FORMS, (grouped, convolution, unfolded), strict=True))

    @jax.jit
    def run(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        value, pullback = jax.vjp(functions[form], x, kernel)
        return value, pullback(grad)

    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((BATCH, TIME, WIDTH), (TAPS, WIDTH // GROUPS, WIDTH), (BATCH, TIME, WIDTH))
    arguments = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    return lambda: jax.block_until_ready(run(*arguments))


def main() -> None:
    """Times all forms by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    options = parser.parse_args()
    timings = alternate({form: functools.partial(program, form) for form in FORMS}, repeats=options.repeats)
    milliseconds = {form: round(1e3 * timing.median, 2) for form, timing in timings.items()}
    ratio = timings['chosen'].median / timings['grouped convolution'].median
    print_result('grouped', ratio, milliseconds=milliseconds)


if __name__ == '__main__':
    main()
