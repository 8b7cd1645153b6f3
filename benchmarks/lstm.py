"""A stack of bidirectional LSTM layers, forward and backward, against PyTorch's and flax's.

    python -m benchmarks.lstm [--repeats=9] [--cells=320] [--batch=8]

3 layers of 320 cells in each direction, 8 rows of 250 frames, float32, no dropout: outputs, and gradients of parameters
and inputs. All rows are full, so that PyTorch needs no packing. flax's is `nn.Bidirectional(nn.RNN(...))` of
`OptimizedLSTMCell`. The last line compares with PyTorch.
"""

import argparse
import functools

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result

TIME, LAYERS = 250, 3


def arrays(batch: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and the gradient of the outputs `[time, batch, 2 * cells]`."""
    generator = np.random.default_rng(0)
    return tuple(generator.standard_normal((TIME, batch, 2 * cells), np.float32) for _ in range(2))


def in_jax(batch: int, cells: int, library: str) -> Call:
    """The layers of this package or of flax."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    from bljust_jax.models.lstm import LstmLayer

    lengths = jnp.full((batch,), TIME)

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for _ in range(LAYERS):
                if library == 'flax':
                    directions = (nn.RNN(nn.OptimizedLSTMCell(cells), time_major=True) for _ in range(2))
                    x = nn.Bidirectional(*directions, time_major=True)(x, seq_lengths=lengths)
                else:
                    x = LstmLayer(cells)(x, lengths)
            return x

    x, grad = map(jnp.asarray, arrays(batch, cells))
    params = jax.jit(Stack().init)(jax.random.key(0), x)

    @jax.jit
    def run(params: dict, x: jax.Array) -> tuple:
        value, pullback = jax.vjp(Stack().apply, params, x)
        return value, pullback(grad)

    return lambda: jax.block_until_ready(run(params, x))


def in_torch(batch: int, cells: int) -> Call:
    """PyTorch's."""
    import torch

    layers = torch.nn.LSTM(2 * cells, cells, LAYERS, bidirectional=True)
    x, grad = map(torch.from_numpy, arrays(batch, cells))
    x.requires_grad = True

    def call() -> None:
        layers.zero_grad()
        x.grad = None
        layers(x)[0].backward(grad)

    return call


def main() -> None:
    """Times all by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--cells', type=int, default=320)
    parser.add_argument('--batch', type=int, default=8)
    options = parser.parse_args()
    sizes = {'batch': options.batch, 'cells': options.cells}
    setups = {
        'ours': functools.partial(in_jax, **sizes, library='ours'),
        'flax': functools.partial(in_jax, **sizes, library='flax'),
        'PyTorch': functools.partial(in_torch, **sizes),
    }
    timings = alternate(setups, repeats=options.repeats)
    ours = timings['ours'].median
    print_result(
        'lstm', ours / timings['PyTorch'].median, flax=round(ours / timings['flax'].median, 4), layers=LAYERS, **sizes
    )


if __name__ == '__main__':
    main()
