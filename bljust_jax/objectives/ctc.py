"""CTC of transcribed audio, with its options: other layers of the encoder, label smoothing."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bljust_jax.errors import UserError
from bljust_jax.losses.means import mean_where
from bljust_jax.losses.supervised.ctc import ctc_feasible, ctc_loss, uniform_divergence
from bljust_jax.masking import length_mask
from bljust_jax.models import widths as widths_of
from bljust_jax.models.encoder import Layers
from bljust_jax.models.heads import LinearHead
from bljust_jax.objectives.setup import Setup, weigh_labels
from bljust_jax.types import Batch, Level, LossOutput, Params, Ratio, Rngs


class CtcRows(NamedTuple):
    """CTC of each row of a batch.

    Attributes:
      losses: in nats `[batch]`; 0 in infeasible rows.
      feasible: which rows are not, bool `[batch]`.
      weight: labels of the feasible rows, scalar.
      metrics: of all of them.
    """

    losses: jax.Array
    feasible: jax.Array
    weight: jax.Array
    metrics: dict[str, Ratio]


RowsOf = Callable[[Params, jax.Array, Layers, jax.Array, Batch], CtcRows]


def ctc_level(setup: Setup) -> Level:
    """CTC on SpecAugmented features; infeasible rows weigh nothing and are counted in `infeasible`."""
    head, rows_of = LinearHead(setup.vocab_size), make_ctc(setup)

    def init(key: jax.Array) -> Params:
        return head.init(key, setup.frame)['params']

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        del step
        latents, lengths = setup.latents(params, *setup.augmented(batch, rngs))
        hidden, layers = setup.context(params, latents, lengths, rngs)
        rows = rows_of(params['heads'][setup.name], hidden, layers, lengths, batch)
        return LossOutput(rows.losses.sum(), rows.weight, rows.metrics)

    return Level(setup.name, init, loss)


def make_ctc(setup: Setup) -> RowsOf:
    """`(parameters of the linear head, hidden, layers, lengths, batch) -> CtcRows`, as `config.ctc` has it.

    With smoothing ε and weight w of the layers K, all of which share the head, the loss of a row is

        (1 − w) L(hidden) + w / |K| Σ_{k ∈ K} L(layer k),        L = (1 − ε) CTC + ε Σ_t KL(u ‖ p_t)

    Raises:
      UserError: for a layer that the encoder does not have before its last one, or of another width than that.
    """
    options, head = setup.config.ctc, LinearHead(setup.vocab_size)
    _check_layers(setup)

    def rows_of(params: Params, hidden: jax.Array, layers: Layers, lengths: jax.Array, batch: Batch) -> CtcRows:
        feasible = ctc_feasible(lengths, batch.labels, batch.label_lengths)
        weight, metrics = weigh_labels(batch, feasible)

        def smoothed(logits: jax.Array) -> jax.Array:
            losses = ctc_loss(logits, lengths, batch.labels, batch.label_lengths)
            if not options.label_smoothing:
                return losses
            divergence = jnp.where(feasible, uniform_divergence(logits, lengths), 0.0)
            return (1 - options.label_smoothing) * losses + options.label_smoothing * divergence

        logits = head.apply({'params': params}, hidden)
        losses = smoothed(logits)
        valid = length_mask(lengths, hidden.shape[1])
        metrics['blank'] = mean_where(jnp.argmax(logits, axis=-1) == 0, valid)
        if chosen := options.intermediate_layers:
            between = [smoothed(head.apply({'params': params}, layers[number - 1])) for number in chosen]
            mean = sum(between[1:], between[0]) / len(between)
            losses = (1 - options.intermediate_weight) * losses + options.intermediate_weight * mean
            metrics['intermediate_loss'] = Ratio(mean.sum(), weight)
        return CtcRows(losses, feasible, weight, metrics)

    return rows_of


def ctc_branch(head: Params) -> Params:
    """The linear head among the parameters of the head of `ctc` or `hybrid`, the objectives with CTC posteriors."""
    return head.get('ctc', head)


WITH_POSTERIORS = ('ctc', 'hybrid')


def _check_layers(setup: Setup) -> None:
    chosen = setup.config.ctc.intermediate_layers
    if not chosen:
        return
    widths = widths_of(setup.encoder, setup.config.log_mel.mels).layers
    if max(chosen) >= len(widths):
        raise UserError(
            f'config.ctc.intermediate_layers must be below {len(widths)}, the last of the layers of '
            f'config.encoder={setup.config.encoder}, not {chosen!r}.'
        )
    for number in chosen:
        if widths[number - 1] != setup.width:
            raise UserError(
                f'config.ctc.intermediate_layers cannot have {number}: its width is {widths[number - 1]}, and '
                f'the head that it shares with the last layer is made for {setup.width}.'
            )
