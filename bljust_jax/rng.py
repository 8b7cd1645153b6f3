"""Named PRNG streams: the name is folded in first, then the step."""

import zlib

import jax


def stream(key: jax.Array, name: str, step: jax.Array | int) -> jax.Array:
    """The key of stream `name` at `step`; independent of every other name and step."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)
