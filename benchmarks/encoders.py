"""Every encoder against the Conformer, at about its size: forward and backward pass of a training step.

    python -m benchmarks.encoders [--encoders=fast_conformer,lstm] [--repeats=9]

Sizes and features are those of the `mini` preset in the encoder's file of `configs`; a batch is three full rows of 8 s,
and dropout is on.
"""

import argparse
import functools
import importlib

from benchmarks.side_by_side import Call, alternate, print_result

ROWS, SECONDS = 3, 8.0
FILES = {'fast_conformer': 'conformer', 'e_branchformer': 'conformer', 'transformer': 'transformer', 'lstm': 'lstm'}


def setup(name: str) -> Call:
    """The gradient of a loss on the hidden frames of the encoder `name`."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from bljust_jax.config import from_config_dict
    from bljust_jax.models import encode, make_encoder
    from bljust_jax.types import Params

    values = importlib.import_module(f'configs.{FILES.get(name, name)}').get_config('mini')
    values.encoder = name
    config = from_config_dict(values)
    frames = round(SECONDS / config.log_mel.hop)
    features = jax.random.normal(jax.random.key(0), (ROWS, frames, config.log_mel.mels))
    lengths = jnp.full(ROWS, frames)
    encoder = make_encoder(config)

    def loss(params: Params, key: jax.Array) -> jax.Array:
        hidden, _ = encode(encoder, params, features, lengths, dtype=config.compute_dtype, rngs={'dropout': key})
        return jnp.sin(hidden).mean()

    params = {'encoder': jax.jit(encoder.init, static_argnums=3)(jax.random.key(0), features, lengths, False)['params']}
    print(f'{name}: {sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.2f}M parameters', flush=True)
    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(gradient(params, jax.random.key(1)))


def main() -> None:
    """Times all encoders by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--encoders', default=','.join(FILES), help='separated by commas')
    parser.add_argument('--repeats', type=int, default=9)
    options = parser.parse_args()
    names = options.encoders.split(',')
    timings = alternate(
        {name: functools.partial(setup, name) for name in ['conformer', *names]}, repeats=options.repeats
    )
    ratios = {name: round(timings[name].median / timings['conformer'].median, 3) for name in names}
    print_result('encoders', max(ratios.values()), **ratios)


if __name__ == '__main__':
    main()
