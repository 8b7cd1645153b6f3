import itertools

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.rng import stream


def data(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_stream_is_a_pure_function_of_key_name_and_step():
    first = data(stream(jax.random.key(3), 'dropout', 7))
    assert data(jax.jit(stream, static_argnums=1)(jax.random.key(3), 'dropout', jnp.int32(7))) == first


def test_stream_does_not_change_between_versions():
    """A change here would silently give resumed runs other dropout and other masks."""
    assert int(jax.random.bits(stream(jax.random.key(0), 'spec_augment', 1), dtype=jnp.uint32)) == 4040950102


def test_keys_differ_in_seed_name_and_step():
    cases = itertools.product(range(3), ('dropout', 'spec_augment', 'best_rq'), range(20))
    keys = [data(stream(jax.random.key(seed), name, step)) for seed, name, step in cases]
    assert len(set(keys)) == len(keys) == 180
