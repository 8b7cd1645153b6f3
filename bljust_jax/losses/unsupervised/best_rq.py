"""BEST-RQ (arXiv 2202.01855): predict, where speech is masked, the codes that a frozen random quantiser gives it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.config import BestRqConfig
from bljust_jax.losses.unsupervised.codes import code_metrics, count_codes
from bljust_jax.models.heads import unit_length
from bljust_jax.types import Ratio


class Quantizer(NamedTuple):
    """The frozen random projection `[codebooks, stacked features, dim]` and codes `[codebooks, size, dim]`."""

    projection: jax.Array
    codes: jax.Array


def make_quantizer(config: BestRqConfig, features: int) -> Quantizer:
    """The quantiser of `features`-dimensional (stacked) frames; a function of the config alone."""
    projection, codes = jax.random.split(jax.random.key(config.seed))
    return Quantizer(
        jax.nn.initializers.xavier_uniform()(projection, (config.codebooks, features, config.code_dim), jnp.float32),
        unit_length(jax.random.normal(codes, (config.codebooks, config.codebook_size, config.code_dim))),
    )


def stack_frames(features: jax.Array, factor: int) -> jax.Array:
    """`[batch, time, mel] -> [batch, ceil(time / factor), factor · mel]`, the last stack zero-padded."""
    batch, time, mels = features.shape
    stacks = -(-time // factor)
    features = jnp.pad(features, ((0, 0), (0, stacks * factor - time), (0, 0)))
    return features.reshape(batch, stacks, factor * mels)


def quantize(quantizer: Quantizer, stacked: jax.Array) -> jax.Array:
    """The nearest code by cosine similarity of each stacked frame: int32 `[batch, stack, codebook]`.

    In full precision everywhere, so that accelerators agree with CPU on the targets.
    """
    projected = jnp.einsum('btf,cfd->btcd', stacked, quantizer.projection, precision='highest')
    similarity = jnp.einsum('btcd,ckd->btck', unit_length(projected), quantizer.codes, precision='highest')
    return jnp.argmax(similarity, axis=-1)


def mask_features(features: jax.Array, mask: jax.Array, factor: int, key: jax.Array, noise: float) -> jax.Array:
    """`features [batch, time, mel]` with Gaussian noise where the `mask [batch, stack]` of `factor` frames is set."""
    frames = jnp.repeat(mask, factor, axis=1)[:, : features.shape[1], None]
    return jnp.where(frames, noise * jax.random.normal(key, features.shape), features)


def masked_prediction(logits: jax.Array, codes: jax.Array, mask: jax.Array) -> tuple[Ratio, dict[str, Ratio]]:
    """Cross-entropy in nats per masked frame and codebook, with its diagnostics.

    Args:
      logits: `[batch, stack, codebook, size]`.
      codes: the targets `[batch, stack, codebook]`.
      mask: the masked, valid frames, bool `[batch, stack]`.

    Returns:
      The loss, and the metrics `accuracy`; `chance`, what always answering the batch's most frequent code would score;
      those of `code_metrics`; and the loss of each, `loss_codebook_<i>` from 0, if there are several codebooks.
    """
    weights = jnp.broadcast_to(mask[..., None], codes.shape).astype(jnp.float32)
    weight = weights.sum()
    log_probability = jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], axis=-1)[..., 0]
    hits = jnp.where(jnp.argmax(logits, axis=-1) == codes, weights, 0)
    counts = count_codes(codes, mask, logits.shape[-1])
    losses = -(log_probability * weights).sum(axis=(0, 1))
    each = {f'loss_codebook_{i}': Ratio(loss, weight / len(losses)) for i, loss in enumerate(losses)}
    return Ratio(losses.sum(), weight), {
        'accuracy': Ratio(hits.sum(), weight),
        'chance': Ratio(counts.max(axis=1).sum(), weight),
        **code_metrics(counts),
        **(each if len(losses) > 1 else {}),
    }
