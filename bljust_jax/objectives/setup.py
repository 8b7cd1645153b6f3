"""What objectives are made of: the shared encoder on a batch, and who they belong to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.config import Config
from bljust_jax.features import log_mel, spec_augment, utterances_of_frames
from bljust_jax.losses.means import mean_where
from bljust_jax.models import Encoder, encode, encode_context, encode_latents, hidden_width, widths
from bljust_jax.models.encoder import Layers
from bljust_jax.types import Batch, Params, Ratio, Rngs

Frames = tuple[jax.Array, jax.Array]


class Setup(NamedTuple):
    """What the objective of a level is made of.

    Attributes:
      name: of the level; its head's parameters are `params['heads'][name]`.
      config: of the run.
      encoder: the shared encoder.
      width: of its hidden frames.
      vocab_size: number of labels, blank included.
      upper: name of the upper level, whose head some lower ones look at.
      teacher: encoder of the teacher, with the parameters `params['teacher']`; None if the run has none.
      seen: where the shared encoder's hidden frames in training are noted, for `with_spread`; None for nowhere.
    """

    name: str
    config: Config
    encoder: Encoder
    width: int
    vocab_size: int
    upper: str
    teacher: Encoder | None = None
    seen: list[Frames] | None = None

    @property
    def frame(self) -> jax.Array:
        """A hidden frame `[1, 1, width]`, to initialise heads with."""
        return jnp.zeros((1, 1, self.width))

    @property
    def latent(self) -> jax.Array:
        """A latent frame `[1, 1, latent]`, for the same."""
        return jnp.zeros((1, 1, widths(self.encoder, self.config.log_mel.mels).latents))

    def head(self, params: Params) -> dict[str, Params]:
        """The variables of the level's head, for its `apply`."""
        return {'params': params['heads'][self.name]}

    def of_teacher(self) -> 'Setup':
        """The same with the teacher for the encoder, whose parameters are `params['teacher']`.

        Raises:
          ValueError: if there is no teacher.
        """
        if self.teacher is None:
            raise ValueError(f'The level {self.name} has no teacher.')
        width = hidden_width(self.teacher, self.config.log_mel.mels)
        return self._replace(encoder=self.teacher, width=width, teacher=None, seen=None)

    def clean(self, batch: Batch) -> Frames:
        """Features `[batch, time, mel]` of the audio, and their lengths."""
        return log_mel(batch.audio, batch.lengths, self.config.log_mel, batch.ends)

    def augmented(self, batch: Batch, rngs: Rngs) -> Frames:
        """The same, SpecAugmented."""
        features, lengths = self.clean(batch)
        return spec_augment(features, lengths, rngs['augment'], self.config.spec_augment), lengths

    def encode(self, params: Params, features: jax.Array, lengths: jax.Array, rngs: Rngs | None = None) -> Frames:
        """What the shared encoder makes of features: hidden frames `[batch, time', width]` and their lengths."""
        hidden, lengths = encode(self.encoder, params, features, lengths, dtype=self.config.compute_dtype, rngs=rngs)
        return self._noted(hidden, lengths, rngs), lengths

    def latents(self, params: Params, features: jax.Array, lengths: jax.Array) -> Frames:
        """The encoder's first part: latents `[batch, time', latent]` and their lengths."""
        return encode_latents(self.encoder, params, features, lengths, dtype=self.config.compute_dtype)

    def context(
        self, params: Params, latents: jax.Array, lengths: jax.Array, rngs: Rngs | None = None
    ) -> tuple[jax.Array, Layers]:
        """The encoder's second part: hidden frames, and the outputs of the layers."""
        dtype = self.config.compute_dtype
        hidden, layers = encode_context(self.encoder, params, latents, lengths, dtype=dtype, rngs=rngs)
        return self._noted(hidden, lengths, rngs), layers

    def utterances(self, batch: Batch, frames: int) -> jax.Array:
        """Which utterance of its row each of the hidden `frames` belongs to, int32 `[batch, frames]`, from 0."""
        return utterances_of_frames(batch.ends, frames, self.config.log_mel, self.encoder.subsampling)

    def _noted(self, hidden: jax.Array, lengths: jax.Array, rngs: Rngs | None) -> jax.Array:
        if self.seen is not None and rngs is not None:
            self.seen.append((hidden, lengths))
        return hidden


def weigh_labels(batch: Batch, feasible: jax.Array) -> tuple[jax.Array, dict[str, Ratio]]:
    """Of a supervised loss: the number of labels in `feasible [batch]` rows, float32, and how many are `infeasible`."""
    weight = jnp.where(feasible, batch.label_lengths, 0).sum().astype(jnp.float32)
    return weight, {'infeasible': mean_where(~feasible, batch.lengths > 0)}
