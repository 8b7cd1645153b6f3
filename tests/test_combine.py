"""Every value of `optimizer.combine` in the training step, against its definition, and in whole runs."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize

from bljust_jax.bilevel import COMBINERS
from bljust_jax.build import build
from bljust_jax.config import (
    BestRqConfig,
    Config,
    ConformerConfig,
    LevelConfig,
    LevelsConfig,
    LogMelConfig,
    OptimizerConfig,
    StrategyConfig,
)
from bljust_jax.step import level_gradient, make_update
from bljust_jax.train import train
from bljust_jax.types import Batch
from tests.params import random_params
from tests.runs import final_state, logged, tiny_config

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

BOTH = ('sup', 'unsup')
GAMMA, STEP_SIZE = 0.3, 0.05
CONFIG = Config(
    log_mel=LogMelConfig(mels=4),
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4),
    best_rq=BestRqConfig(codebook_size=6, code_dim=4),
    levels=LevelsConfig(unsup=LevelConfig('best_rq', gamma='constant', gamma_max=GAMMA)),
    strategy=StrategyConfig('joint', labelled_steps=3, finetune_steps=0),
)


def batch(seed):
    return Batch(
        np.random.default_rng(seed).normal(scale=3000, size=(3, 3200)).astype(np.int16),
        np.array([3200, 2800, 3000], np.int32),
        np.array([[1, 2], [3, 3], [4, 0]], np.int32),
        np.array([2, 1, 1], np.int32),
        np.array([[1000, 3200], [2800, 0], [3000, 0]], np.int32),
    )


@pytest.fixture(scope='module')
def gradients():
    """The compiled gradients, which are the same for all combiners."""
    return [jax.jit(functools.partial(level_gradient, level)) for level in build(CONFIG, 5).levels]


def weights_of(name, step, upper, lower, before):
    """The weights of g0 and γ g1 by each method's definition for two levels, in float64."""
    match name:
        case 'penalty' | 'weighted_sum':
            return np.ones(2)
        case 'alternating':
            return np.eye(2)[step % 2]
        case 'pcgrad':
            conflict = min(upper @ lower, 0.0)
            return 1 - np.array([conflict / (upper @ upper), conflict / (lower @ lower)])
        case 'mgda':
            share = np.clip((lower - upper) @ lower / ((lower - upper) @ (lower - upper)), 0, 1)
            return np.array([share, 1 - share])
        case 'cagrad':
            mean = (upper + lower) / 2
            radius = 0.5 * np.linalg.norm(mean)

            def dual(share):
                mixed = share * upper + (1 - share) * lower
                return mixed @ mean + radius * np.linalg.norm(mixed)

            share = optimize.minimize_scalar(dual, bounds=(0, 1), method='bounded', options={'xatol': 1e-9}).x
            mixed = share * upper + (1 - share) * lower
            return 0.5 + radius / np.linalg.norm(mixed) * np.array([share, 1 - share])
        case 'modo':
            levels = np.stack([upper, lower])
            moved = before - 0.1 * levels @ levels.T @ before
            excess = (moved.sum() - 1) / 2
            return np.clip(moved - excess, 0, 1)


@pytest.mark.parametrize('name', COMBINERS)
def test_three_steps_follow_the_definition(name, gradients):
    """The encoder takes the weighted gradients of both levels, and each head all of its own."""
    config = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(combine=name))
    system = build(config, 5)
    descent = optax.with_extra_args_support(optax.sgd(STEP_SIZE))
    update = jax.jit(
        make_update(BOTH, levels=BOTH, combine=system.combine, descent=descent, learning_rates=lambda step: {})
    )
    params = random_params(jax.eval_shape(system.init_params, 0))
    abstract = jax.eval_shape(system.init_state, 0)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    state = state._replace(params=params, penalty=system.combine.init(params), optimizer=descent.init(params))
    weights = np.full(2, 0.5)
    for step in range(3):
        batches = batch(2 * step), batch(2 * step + 1)
        seen = [
            gradient(data, state.params, state.seed, state.step)
            for gradient, data in zip(gradients, batches, strict=True)
        ]
        upper, lower = (np.asarray(ravel_pytree(level.grads['encoder'])[0], np.float64) for level in seen)
        assert np.abs(upper).max() > 1e-3 and np.abs(lower).max() > 1e-3
        weights = weights_of(name, step, upper, GAMMA * lower, weights)
        before, (state, metrics) = state.params, update(state, seen)
        taken = jax.tree.map(lambda then, now: (np.float64(then) - now) / STEP_SIZE, before, state.params)
        expected = weights[0] * upper + weights[1] * GAMMA * lower
        np.testing.assert_allclose(ravel_pytree(taken['encoder'])[0], expected, rtol=1e-3, atol=2e-5)
        for level, own in zip(BOTH, seen, strict=True):
            actual, all_of_it = ravel_pytree(taken['heads'][level])[0], ravel_pytree(own.grads['heads'][level])[0]
            np.testing.assert_allclose(actual, all_of_it, rtol=1e-3, atol=2e-5)
        if name != 'penalty':
            np.testing.assert_allclose(
                [metrics[f'weight/{level}'].sum for level in BOTH], weights, rtol=1e-3, atol=1e-4
            )
        assert metrics['gamma/unsup'].sum == np.float32(GAMMA)


@pytest.mark.usefixtures('compiled_once')
@pytest.mark.parametrize('name', COMBINERS)
def test_a_run_of_three_steps(name: str, data_dir: Path, tmp_path: Path):
    overrides = {'strategy__name': 'joint', 'strategy__labelled_steps': 3, 'strategy__finetune_steps': 0}
    train(tiny_config(data_dir, optimizer__combine=name, **overrides), tmp_path)
    lines = [line for line in logged(tmp_path) if 'phase' in line]
    assert [line['step'] for line in lines] == [1, 2, 3]
    for line in lines:
        assert all(math.isfinite(line[f'{gauge}/{level}']) for gauge in ('loss', 'grad_norm') for level in BOTH)
        assert (f'weight/{BOTH[0]}' in line) == (name != 'penalty')
    assert final_state(tmp_path).step == 3
