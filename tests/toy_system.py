"""A system of toy levels, whose gradients compile in no time, and batches for it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType

from bljust_jax.build import System
from bljust_jax.config import Config, LevelConfig, LevelsConfig, LogMelConfig, OptimizerConfig, StrategyConfig
from bljust_jax.optimizer import make_descent, make_penalty
from bljust_jax.strategies import make_phases
from bljust_jax.types import Batch, Level, LossOutput, Ratio

BOTH = ('sup', 'unsup')
CONFIG = Config(
    log_mel=LogMelConfig(mels=4),
    levels=LevelsConfig(unsup=LevelConfig('best_rq', gamma='linear', gamma_max=3.0)),
    strategy=StrategyConfig('bl_just', labelled_steps=6, explore_steps=4, finetune_steps=2, cycles=2),
    optimizer=OptimizerConfig(warmup_steps=0),
)


class ToyEncoder(nn.Module):
    @nn.compact
    def __call__(self, features, lengths, train):
        return jnp.tanh(nn.Dense(3)(features)), lengths


def toy_level(name, traces):
    """Squared error of a linear head on the toy encoder, fed with audio; reports a draw from each random stream."""
    head = nn.Dense(1)

    def init(key):
        return head.init(key, jnp.zeros((1, 3)))['params']

    def loss(params, batch, rngs, step):
        traces.append(name)
        features = batch.audio.astype(jnp.float32).reshape(len(batch.audio), -1, 4) / 100
        hidden, _ = ToyEncoder().apply({'params': params['encoder']}, features, batch.lengths, True)
        error = head.apply({'params': params['heads'][name]}, hidden.mean(axis=1))[:, 0] - 1.0
        valid = (batch.lengths > 0).astype(jnp.float32)
        draws = {f'draw_{stream}': Ratio(jax.random.uniform(key), jnp.float32(1)) for stream, key in rngs.items()}
        return LossOutput((error**2 * valid).sum(), valid.sum(), draws)

    return Level(name, init, loss)


def toy_system(config=CONFIG, traces=None):
    phases = tuple(make_phases(config.strategy))
    levels = tuple(toy_level(name, [] if traces is None else traces) for name in BOTH)
    return System(config, 3, ToyEncoder(), levels, phases, make_penalty(config, phases), make_descent(config, phases))


def toy_batch(seed, rows=4, samples=8):
    audio = np.random.default_rng(seed).integers(-100, 100, (rows, samples)).astype(np.int16)
    lengths = np.full(rows, samples, np.int32)
    return Batch(audio, lengths, np.zeros((rows, 0), np.int32), np.zeros(rows, np.int32), lengths[:, None])


BATCHES = {'sup': toy_batch(0), 'unsup': toy_batch(1)}


def mesh_of(shape):
    devices = jax.devices()[: shape[0] * shape[1]]
    return jax.make_mesh(shape, ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2, devices=devices)
