"""RNN-T of transcribed audio."""

import functools

import jax
import jax.numpy as jnp

from bljust_jax.losses import rnnt_joint_loss
from bljust_jax.losses.supervised.rnnt import rnnt_feasible
from bljust_jax.models.transducer import Transducer
from bljust_jax.objectives.setup import Setup, weigh_labels
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs


def rnnt_level(setup: Setup) -> Level:
    """RNN-T on SpecAugmented features; infeasible rows weigh nothing and are counted in `infeasible`."""
    options = setup.config.transducer
    transducer = Transducer(options, setup.vocab_size)

    def init(key: jax.Array) -> Params:
        return transducer.init(key, setup.frame, jnp.zeros((1, 1), jnp.int32))['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        hidden, lengths = setup.encode(params, *setup.augmented(batch, rngs), rngs)
        apply = functools.partial(transducer.apply, setup.head(params))
        predicted = apply(batch.labels, True, method='predict', rngs={'dropout': rngs['dropout']})
        losses = rnnt_joint_loss(
            lambda frames, labels: apply(frames[:, :, None], labels[:, None], method='join'),
            apply(hidden, method='project'),
            predicted,
            lengths,
            batch.labels,
            batch.label_lengths,
            chunk=options.chunk,
        )
        weight, metrics = weigh_labels(batch, rnnt_feasible(lengths, batch.label_lengths))
        return LossOutput(losses.sum(), weight, metrics)

    return Level(setup.name, init, loss)
