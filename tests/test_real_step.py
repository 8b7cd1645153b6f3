"""The training step with the real levels."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.config import BestRqConfig, ConformerConfig, CpcConfig, LevelConfig, LevelsConfig
from bljust_jax.sharding import batch_putter, state_shardings
from bljust_jax.types import Batch
from tests.params import random_params
from tests.products import products
from tests.toy_system import BOTH, CONFIG, mesh_of, toy_batch

pytestmark = pytest.mark.standard_dtypes


REAL = dataclasses.replace(
    CONFIG,
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4),
    best_rq=BestRqConfig(codebook_size=6, code_dim=4),
    cpc=CpcConfig(context_seconds=0.08, future_seconds=0.04),
)


def real_losses(shape):
    """Losses of three joint steps of a real system on a mesh, and the share of a kernel on its first device.

    No step, nor what it compiles, brings anything from the host to the devices.
    """
    mesh = mesh_of(shape)
    system = build(REAL, 5)
    abstract = jax.eval_shape(system.init_state, 0)
    shardings = state_shardings(mesh, abstract)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    state = jax.device_put(state._replace(params=random_params(abstract.params)), shardings)
    step, put = system.make_steps(shardings)[BOTH], batch_putter(mesh)
    losses = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        batch = Batch(
            rng.normal(scale=3000, size=(4, 3200)).astype(np.int16),
            np.array([3200, 2800, 3000, 0], np.int32),
            np.array([[1, 2], [3, 3], [4, 0], [0, 0]], np.int32),
            np.array([2, 1, 1, 0], np.int32),
            np.array([[1000, 3200], [2800, 0], [3000, 0], [0, 0]], np.int32),
        )
        batches = {name: put(batch) for name in BOTH}
        with jax.transfer_guard('disallow'):
            state, metrics = step(state, batches)
        losses += [float(metrics[f'loss/{name}'].sum / metrics[f'loss/{name}'].weight) for name in BOTH]
    same = jax.tree.map(lambda leaf, sharding: leaf.sharding.is_equivalent_to(sharding, leaf.ndim), state, shardings)
    assert jax.tree.all(same)
    kernel = state.params['encoder']['context']['block_0']['FeedForward_0']['Dense_0']['kernel']
    return losses, kernel.addressable_shards[0].data.size / kernel.size


def parts_of_a_step(config):
    """The parts of a joint step of a real system and what they are called with: each level's gradient, the update."""
    system = build(config, 5)
    state, step = jax.eval_shape(system.init_state, 0), system.make_steps()[BOTH]
    batch = jax.eval_shape(lambda: toy_batch(0, samples=3200)._replace(labels=jnp.zeros((4, 2), jnp.int32)))
    parts = [(step.gradients[name], (batch, state.params, state.seed, state.drawn[name])) for name in BOTH]
    gradients = [jax.eval_shape(part, *arguments) for part, arguments in parts]
    return [*parts, (step.update, (state, gradients))]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('objective', ['best_rq', 'cpc'])
def test_state_and_gradients_are_float32_whatever_the_encoder_computes_in(objective, dtype):
    levels = LevelsConfig(unsup=LevelConfig(objective))
    *gradients, (update, (state, given)) = parts_of_a_step(
        dataclasses.replace(REAL, levels=levels, compute_dtype=dtype)
    )
    for (gradient, arguments), result in zip(gradients, given, strict=True):
        assert {leaf.dtype for leaf in jax.tree.leaves((result.value, result.grads))} == {jnp.dtype('float32')}
        multiplied = products(gradient, *arguments)
        assert (multiplied['bf16'] > multiplied['f32'] > 0) if dtype == 'bfloat16' else set(multiplied) == {'f32'}
    after, _ = jax.eval_shape(update, state, given)
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype('float32')}


def test_no_part_of_a_step_talks_to_the_host():
    for part, arguments in parts_of_a_step(REAL):
        assert not re.search('callback|infeed|outfeed|stablehlo.(send|recv)', part.lower(*arguments).as_text())


@pytest.fixture(scope='module')
def one_device():
    return real_losses((1, 1))


@pytest.mark.parametrize(('shape', 'share'), [((2, 1), 1.0), ((1, 2), 0.5)])
def test_two_devices_give_the_losses_of_one(shape, share, one_device):
    """Dropout, SpecAugment and masks included."""
    losses, part = real_losses(shape)
    assert part == share
    np.testing.assert_allclose(losses, one_device[0], rtol=1e-5)
    assert len(set(losses)) == 6 and np.isfinite(losses).all()
