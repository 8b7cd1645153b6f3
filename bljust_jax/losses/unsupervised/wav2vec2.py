"""wav2vec 2.0 (arXiv 2006.11477): tell the quantised frame that is masked from other masked frames of the utterance.

L = L_m + α L_d per masked frame, with c the prediction at a masked frame, q its quantised latent, q̃ of the distractors

    L_m = −log exp(cos(c, q)/κ) / ( exp(cos(c, q)/κ) + Σ exp(cos(c, q̃)/κ) )
    L_d = 1 − 1/(GV) Σ_g exp H(p̄_g)       p̄_g: probabilities of the V codes of group g, averaged over masked frames
"""

import math

import jax
import jax.numpy as jnp

from bljust_jax.losses.means import mean_where
from bljust_jax.models.heads import unit_length
from bljust_jax.types import Ratio


def gumbel_temperature(step: jax.Array, highest: float, lowest: float, decay: float) -> jax.Array:
    """`max(highest · decay^step, lowest)`: section 4.2 of the paper goes from 2 to 0.5 by 0.999995 a step."""
    # In float32, `1 − decay` would be wrong by a thousandth.
    return jnp.maximum(highest * jnp.exp(step.astype(jnp.float32) * math.log(decay)), lowest)


def sample_distractors(key: jax.Array, mask: jax.Array, utterances: jax.Array, count: int) -> jax.Array:
    """For each masked frame `count` other masked frames of its utterance, drawn uniformly with replacement.

    Args:
      key: draws them, row by row.
      mask: bool `[batch, time]`.
      utterances: which utterance of its row a frame belongs to, int32 `[batch, time]`, never falling along a row.
      count: how many.

    Returns:
      Their places in the row, int32 `[batch, time, count]`. A frame that is the only masked one of its utterance gets
      itself; what frames that are not masked get is of no use.
    """
    time = mask.shape[1]
    mine, others = utterances[:, :, None], utterances[:, None, :]
    peers = (mask[:, None, :] & (others == mine)).sum(axis=-1)
    first = (mask[:, None, :] & (others < mine)).sum(axis=-1)
    own = jnp.cumsum(mask, axis=1) - 1 - first  # number among the masked frames of the utterance
    spare = jnp.maximum(peers - 1, 1)[:, :, None]
    drawn = jax.random.randint(key, (*mask.shape, count), 0, spare)
    drawn += ((drawn >= own[:, :, None]) & (peers[:, :, None] > 1)).astype(drawn.dtype)
    masked_first = jnp.argsort(~mask, axis=1, stable=True)
    rank = jnp.minimum(first[:, :, None] + drawn, time - 1)
    return jnp.take_along_axis(masked_first[:, :, None], rank, axis=1)


def contrastive(
    predicted: jax.Array,
    targets: jax.Array,
    codes: jax.Array,
    mask: jax.Array,
    distractors: jax.Array,
    temperature: float,
) -> tuple[Ratio, dict[str, Ratio]]:
    """L_m in nats per masked frame.

    Args:
      predicted: c `[batch, time, dim]`.
      targets: q `[batch, time, dim]`.
      codes: of the targets, `[batch, time, group]`. A distractor that has the codes of the true frame does not count.
      mask: the masked, valid frames, bool `[batch, time]`.
      distractors: places in the row, int32 `[batch, time, count]`.
      temperature: κ.

    Returns:
      The loss, and the metrics `accuracy`, how often the true frame scores highest, and `chance`, how often it would
      by guessing among it and the distractors that count.
    """
    scores = jnp.einsum('btd,bsd->bts', unit_length(predicted), unit_length(targets), precision='highest') / temperature
    same = (codes[:, :, None, :] == codes[:, None, :, :]).all(axis=-1)
    positive = jnp.diagonal(scores, axis1=1, axis2=2)
    others = jnp.take_along_axis(jnp.where(same, -jnp.inf, scores), distractors, axis=2)
    losses = jax.nn.logsumexp(jnp.concatenate([positive[..., None], others], axis=-1), axis=-1) - positive
    hits = positive > others.max(axis=-1)
    guesses = 1 / (1 + (others > -jnp.inf).sum(axis=-1, dtype=jnp.float32))
    loss, accuracy, chance = (mean_where(values, mask) for values in (losses, hits, guesses))
    return loss, {'accuracy': accuracy, 'chance': chance}


def diversity(probabilities: jax.Array, mask: jax.Array) -> jax.Array:
    """L_d, from 0, all codes used alike, to nearly 1, one for each group. A scalar, 0 if nothing is masked.

    Args:
      probabilities: of the codes `[batch, time, group, code]`.
      mask: the masked, valid frames, bool `[batch, time]`.
    """
    codes = probabilities.shape[-1]
    lost = 1 - perplexity(probabilities, mask).mean() / codes
    return jnp.where(mask.any(), lost, 0)


def perplexity(probabilities: jax.Array, mask: jax.Array) -> jax.Array:
    """`exp H(p̄_g)` of each group, `[group]`: how many codes the masked frames use, as if they used them alike."""
    weights = jnp.where(mask, 1 / jnp.maximum(mask.sum().astype(jnp.float32), 1), 0)
    mean = jnp.einsum('btgv,bt->gv', probabilities, weights, precision='highest')
    # The slope of the entropy at 0 is infinite.
    return jnp.exp(-(mean * jnp.log(jnp.where(mean > 0, mean, 1))).sum(axis=-1))
