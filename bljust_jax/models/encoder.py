"""The form of every encoder: a front end that makes latents of features, and a network that sees their context."""

import jax
from flax import linen as nn

Layers = tuple[jax.Array, ...]


class Encoder(nn.Module):
    """`(features [batch, time, mel], lengths [batch], train) -> (hidden [batch, time', width], lengths)`.

    Valid frames do not depend on padding; frames at and after a row's length are unspecified.

    Attributes:
      frontend: `(features, lengths) -> (latents [batch, time', latent], lengths)`. Its attribute `factor` is the number
        of feature frames to a latent one, and a row of n frames becomes one of ceil(n / factor).
      context: `(latents, lengths, train) -> (hidden, layers)`: as many frames, and the output of each of its layers.
    """

    frontend: nn.Module
    context: nn.Module

    @property
    def subsampling(self) -> int:
        """Feature frames to a hidden frame."""
        return self.frontend.factor

    def __call__(self, features: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        latents, lengths = self.frontend(features, lengths)
        return self.context(latents, lengths, train)[0], lengths

    def latents(self, features: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What the front end makes of the features: `(latents, lengths)`."""
        return self.frontend(features, lengths)

    def contextualize(self, latents: jax.Array, lengths: jax.Array, train: bool) -> tuple[jax.Array, Layers]:
        """What the context network makes of latents, masked or not: `(hidden, layers)`."""
        return self.context(latents, lengths, train)
