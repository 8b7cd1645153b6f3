"""From a config to the parts of a run: encoder, levels, phases, transformations, initial state and steps."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from bljust_jax import rng
from bljust_jax.config import Config
from bljust_jax.losses.objectives import SUPERVISED, UNSUPERVISED, make_level
from bljust_jax.models import make_encoder
from bljust_jax.optimizer import make_descent, make_penalty
from bljust_jax.step import Step, make_steps
from bljust_jax.strategies import Phase, learning_rate_curve, make_phases
from bljust_jax.types import Level, Params, TrainState


class System(NamedTuple):
    """What is trained and how, still without data or devices.

    Attributes:
      config: what it was built from.
      vocab_size: number of labels, blank included.
      encoder: the shared encoder.
      levels: all levels, upper-most first.
      phases: the strategy.
      combine: the penalty transformation.
      descent: what turns its direction into a step.
    """

    config: Config
    vocab_size: int
    encoder: nn.Module
    levels: tuple[Level, ...]
    phases: tuple[Phase, ...]
    combine: optax.GradientTransformationExtraArgs
    descent: optax.GradientTransformationExtraArgs

    def init_params(self, seed: jax.Array) -> Params:
        """Initial `{'encoder': ..., 'heads': {level: ...}}`: every level has a head, whatever the strategy."""
        key = jax.random.key(seed)
        features = jnp.zeros((1, 64, self.config.log_mel.mels))
        encoder = self.encoder.init(rng.stream(key, 'init/encoder', 0), features, jnp.full((1,), 64), False)
        heads = {level.name: level.init(rng.stream(key, f'init/{level.name}', 0)) for level in self.levels}
        return {'encoder': encoder['params'], 'heads': heads}

    def init_state(self, seed: jax.Array) -> TrainState:
        """The state before the first step."""
        params = self.init_params(seed)
        return TrainState(
            step=jnp.int32(0),
            params=params,
            penalty=self.combine.init(params),
            optimizer=self.descent.init(params),
            drawn={level.name: jnp.int32(0) for level in self.levels},
            seed=jnp.int32(seed),
        )

    def make_steps(self, shardings: TrainState | None = None) -> dict[tuple[str, ...], Step]:
        """The step of every set of levels that is active together in some phase."""
        active_sets = dict.fromkeys(phase.levels for phase in self.phases)
        return make_steps(
            self.levels,
            active_sets,
            combine=self.combine,
            descent=self.descent,
            learning_rates=self.learning_rates,
            shardings=shardings,
        )

    def learning_rates(self, step: jax.Array) -> Mapping[str, jax.Array]:
        """Step size of the encoder and of each head at `step`."""
        factor = learning_rate_curve(self.phases, self.config.optimizer)(step)
        rates = {'encoder': self.config.optimizer.learning_rate}
        rates |= {level.name: getattr(self.config.levels, level.name).learning_rate for level in self.levels}
        return {group: rate * factor for group, rate in rates.items()}


def build(config: Config, vocab_size: int) -> System:
    """Builds the system that `config` describes, for `vocab_size` labels (blank included).

    Raises:
      UserError: for a strategy, encoder or objective that does not exist.
    """
    encoder = make_encoder(config)
    features = jax.ShapeDtypeStruct((1, 64, config.log_mel.mels), jnp.float32)
    lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
    hidden = jax.eval_shape(
        lambda features, lengths: encoder.init_with_output(jax.random.key(0), features, lengths, False)[0][0],
        features,
        lengths,
    )
    upper, *lower = (field.name for field in dataclasses.fields(config.levels))
    objectives = {upper: SUPERVISED} | dict.fromkeys(lower, UNSUPERVISED)
    levels = tuple(
        make_level(name, getattr(config.levels, name), table, config, encoder, hidden.shape[-1], vocab_size)
        for name, table in objectives.items()
    )
    phases = tuple(make_phases(config.strategy))
    return System(
        config, vocab_size, encoder, levels, phases, make_penalty(config, phases), make_descent(config, phases)
    )
