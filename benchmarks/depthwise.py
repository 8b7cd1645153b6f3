"""The forms of a depthwise convolution over time, forward and backward, on the backend at hand.

    python -m benchmarks.depthwise [--repeats=9]

At 8 rows of 250 frames, width 256, 31 taps, float32. `shifted products, derived` is the chosen form of CPU without its
own gradient. The last line compares the form that `depthwise` chooses with XLA's grouped convolution.
"""

import argparse
import functools

from benchmarks.side_by_side import Call, alternate, print_result

BATCH, TIME, WIDTH, KERNEL = 8, 250, 256, 31
FORMS = ('chosen', 'grouped convolution', 'shifted products, derived', 'Fourier transform')


def program(form: str) -> Call:
    """Value and gradients of one form."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from bljust_jax.models.depthwise import depthwise, grouped_convolution, shifted_products

    def fourier(x: jax.Array, kernel: jax.Array) -> jax.Array:
        half, size = KERNEL // 2, -(-(TIME + KERNEL - 1) // 16) * 16
        product = jnp.fft.rfft(x, size, axis=1) * jnp.fft.rfft(kernel[::-1], size, axis=0)[None]
        return jnp.fft.irfft(product, size, axis=1)[:, half : half + TIME]

    functions = dict(zip(FORMS, (depthwise, grouped_convolution, shifted_products.__wrapped__, fourier), strict=True))

    @jax.jit
    def run(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        value, pullback = jax.vjp(functions[form], x, kernel)
        return value, pullback(grad)

    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((BATCH, TIME, WIDTH), (KERNEL, WIDTH), (BATCH, TIME, WIDTH))
    arguments = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    return lambda: jax.block_until_ready(run(*arguments))


def main() -> None:
    """Times all forms by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=9)
    options = parser.parse_args()
    timings = alternate({form: functools.partial(program, form) for form in FORMS}, repeats=options.repeats)
    milliseconds = {form: round(1e3 * timing.median, 2) for form, timing in timings.items()}
    ratio = timings['chosen'].median / timings['grouped convolution'].median
    print_result('depthwise', ratio, milliseconds=milliseconds)


if __name__ == '__main__':
    main()
