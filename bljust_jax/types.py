"""The few data types that travel through the whole house."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any
Params = Mapping[str, Any]
Rngs = Mapping[str, jax.Array]


class Batch(NamedTuple):
    """A batch of speech. Rows that only fill up the batch have length 0.

    Attributes:
      audio: int16 PCM at 16 kHz `[batch, samples]`.
      lengths: valid samples of each row `[batch]`, int32.
      labels: token ids `[batch, label]`, int32; `[batch, 0]` for untranscribed audio.
      label_lengths: valid labels of each row `[batch]`, int32.
      ends: where each utterance of a row ends `[batch, utterances]`, in samples, int32; 0 after a row's last.
    """

    audio: jax.Array
    lengths: jax.Array
    labels: jax.Array
    label_lengths: jax.Array
    ends: jax.Array


class Ratio(NamedTuple):
    """A mean kept as `sum` and `weight`, so that it can be added up over batches and devices before dividing."""

    sum: jax.Array
    weight: jax.Array


class LossOutput(NamedTuple):
    """What an objective returns: its value is `sum / weight`, divided once, after the sum over devices.

    Attributes:
      sum: the loss summed over its units, which `bljust_jax.objectives` lists, float32 scalar.
      weight: the number of units, float32 scalar.
      metrics: further means by name, such as `accuracy` and `chance`.
    """

    sum: jax.Array
    weight: jax.Array
    metrics: Mapping[str, Ratio]


class Loss(Protocol):
    """The training objective of one level."""

    def __call__(self, params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        """Evaluates the objective on `params`, a tree `{'encoder': ..., 'heads': {level: ...}}`.

        In training, `params['teacher']` is a tree of the same form that is not trained; `()` without a teacher.
        """


class Level(NamedTuple):
    """One level of the multilevel problem.

    Attributes:
      name: the level's name; its head's parameters are `params['heads'][name]`.
      init: `init(key) -> head parameters`.
      loss: the objective.
    """

    name: str
    init: Callable[[jax.Array], PyTree]
    loss: Loss


class TrainState(NamedTuple):
    """Everything that training continues from.

    Attributes:
      step: number of steps taken, int32 scalar.
      params: `{'encoder': ..., 'heads': {level: ...}}`.
      penalty: state of the penalty transformation (γ, what adapts it, cosines, norms), or of an alternative to it.
      optimizer: state of the descent transformation.
      drawn: batches drawn so far from each level's stream, `{level: int32 scalar}`.
      seed: the run's seed, int32 scalar; the random streams of a step are folded out of it.
      teacher: moving average of `params`, from which a level learns; `()` if there is none.
      guards: what the collapse guards remember; `()` without any.
    """

    step: jax.Array
    params: Params
    penalty: PyTree
    optimizer: PyTree
    drawn: Mapping[str, jax.Array]
    seed: jax.Array
    teacher: PyTree = ()
    guards: PyTree = ()
