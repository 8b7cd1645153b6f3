"""Heads of the objectives that mask latent frames: a learned vector takes their place, and something is predicted.

Calling one uses every part, to initialise it.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from bljust_jax.models.heads import unit_length
from bljust_jax.models.quantizer import ProductQuantizer, Quantized


class MaskEmbedding(nn.Module):
    """One learned vector where the mask is set: `(latents [batch, time, width], mask [batch, time]) -> latents`."""

    @nn.compact
    def __call__(self, latents: jax.Array, mask: jax.Array) -> jax.Array:
        embedding = self.param('embedding', nn.initializers.uniform(1.0), latents.shape[-1:], jnp.float32)
        return jnp.where(mask[..., None], embedding[None, None], latents)


class MaskingHead(nn.Module):
    """What the heads have in common: the vector for masked latents."""

    def setup(self) -> None:
        self.masking = MaskEmbedding()

    def __call__(self, latents: jax.Array, hidden: jax.Array) -> None:
        """Of latents `[batch, time, width]` and hidden frames `[batch, time, width']`."""
        self.mask(latents, jnp.zeros(latents.shape[:2], bool))
        self.predict(hidden)

    def mask(self, latents: jax.Array, mask: jax.Array) -> jax.Array:
        """The latents `[batch, time, width]` with the learned vector where `mask [batch, time]` is set."""
        return self.masking(latents, mask)

    def predict(self, hidden: jax.Array) -> jax.Array:
        """What the head predicts from hidden frames `[batch, time, width']`."""
        raise NotImplementedError


class RegressionHead(MaskingHead):
    """data2vec: the prediction is one projection of the hidden frames, to `size`."""

    size: int

    def setup(self) -> None:
        super().setup()
        self.projection = nn.Dense(self.size)

    def predict(self, hidden: jax.Array) -> jax.Array:
        """Hidden frames `[batch, time, width]` to `[batch, time, size]`."""
        return self.projection(hidden)


class UnitHead(MaskingHead):
    """HuBERT (arXiv 2106.07447): `units` logits, `cos(A o_t, e_c) / temperature`, the e_c of `dim`."""

    units: int
    dim: int
    temperature: float

    def setup(self) -> None:
        super().setup()
        self.projection = nn.Dense(self.dim)
        self.embeddings = self.param('embeddings', nn.initializers.normal(1.0), (self.units, self.dim), jnp.float32)

    def predict(self, hidden: jax.Array) -> jax.Array:
        """Hidden frames `[batch, time, width]` to logits `[batch, time, units]`."""
        projected, embeddings = unit_length(self.projection(hidden)), unit_length(self.embeddings)
        return jnp.einsum('btd,cd->btc', projected, embeddings) / self.temperature


class Wav2Vec2Head(MaskingHead):
    """wav2vec 2.0: a quantiser, and projections of its targets and of the predictions to `dim`.

    `quantizer_dim` is that of a quantised frame, all `groups` together.
    """

    groups: int
    codes: int
    quantizer_dim: int
    dim: int

    def setup(self) -> None:
        super().setup()
        self.quantizer = ProductQuantizer(self.groups, self.codes, self.quantizer_dim)
        self.project_q = nn.Dense(self.dim)
        self.project_hid = nn.Dense(self.dim)

    def __call__(self, latents: jax.Array, hidden: jax.Array) -> None:
        """As that of every head, and the targets."""
        super().__call__(latents, hidden)
        self.targets(latents)

    def targets(
        self, latents: jax.Array, noise: jax.Array | None = None, temperature: jax.Array | float = 1.0
    ) -> tuple[jax.Array, Quantized]:
        """The quantised latents, projected to `[batch, time, dim]`, and what the quantiser made of them."""
        quantized = self.quantizer(latents, noise, temperature)
        return self.project_q(quantized.vectors), quantized

    def predict(self, hidden: jax.Array) -> jax.Array:
        """Hidden frames `[batch, time, width]`, projected to `[batch, time, dim]`."""
        return self.project_hid(hidden)
