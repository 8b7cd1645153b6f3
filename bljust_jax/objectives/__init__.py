"""Objective name -> `Level`: audio in, `LossOutput` out, through the shared encoder and the level's own head.

Every loss is a mean over its natural unit, so that γ means the same in every batch: nats per label for CTC, RNN-T,
attention decoders and pseudo-labels, per masked frame for wav2vec 2.0, HuBERT and data2vec, per masked frame and
codebook for BEST-RQ, per predicted frame for CPC, per frame for distillation.
"""

from collections.abc import Callable

import jax

from bljust_jax.config import Config
from bljust_jax.errors import UserError
from bljust_jax.losses.spread import hidden_spread
from bljust_jax.objectives.attention import attention_level, hybrid_level
from bljust_jax.objectives.best_rq import best_rq_level
from bljust_jax.objectives.cpc import cpc_level
from bljust_jax.objectives.ctc import ctc_level
from bljust_jax.objectives.data2vec import data2vec_level
from bljust_jax.objectives.distillation import distillation_level
from bljust_jax.objectives.hubert import hubert_level
from bljust_jax.objectives.pseudo_label import pseudo_label_level
from bljust_jax.objectives.rnnt import rnnt_level
from bljust_jax.objectives.setup import Frames, Setup
from bljust_jax.objectives.wav2vec2 import wav2vec2_level
from bljust_jax.types import Batch, Level, LossOutput, Params, Rngs

__all__ = [
    'DISTILLATION',
    'SUPERVISED',
    'TAUGHT',
    'UNSUPERVISED',
    'MakeLevel',
    'Setup',
    'has_teacher',
    'make_level',
    'with_spread',
]

MakeLevel = Callable[[Setup], Level]
SUPERVISED: dict[str, MakeLevel] = {
    'ctc': ctc_level,
    'rnnt': rnnt_level,
    'attention': attention_level,
    'hybrid': hybrid_level,
}
DISTILLATION: dict[str, MakeLevel] = {'distillation': distillation_level}
UNSUPERVISED: dict[str, MakeLevel] = {
    'best_rq': best_rq_level,
    'cpc': cpc_level,
    'wav2vec2': wav2vec2_level,
    'hubert': hubert_level,
    'data2vec': data2vec_level,
    'pseudo_label': pseudo_label_level,
    **DISTILLATION,
}
TAUGHT = frozenset({'distillation', 'data2vec', 'pseudo_label'})  # those with a teacher, whatever their options


def has_teacher(config: Config, name: str) -> bool:
    """Whether the level `name` learns from a teacher."""
    objective = getattr(config.levels, name).objective
    return objective in TAUGHT or (objective == 'hubert' and config.hubert.layer > 0)


def make_level(objectives: dict[str, MakeLevel], setup: Setup) -> Level:
    """The level `setup.name` with the one of `objectives` that the config names for it.

    Raises:
      UserError: if it is not among them.
    """
    objective = getattr(setup.config.levels, setup.name).objective
    if objective not in objectives:
        raise UserError(
            f'config.levels.{setup.name}.objective must be one of {", ".join(objectives)}, not {objective!r}.'
        )
    seen: list[Frames] = []
    return with_spread(objectives[objective](setup._replace(seen=seen)), seen)


def with_spread(level: Level, seen: list[Frames]) -> Level:
    """`level` with the `hidden_spread` of what its loss noted last in `seen`: hidden frames of the shared encoder."""

    def loss(params: Params, batch: Batch, rngs: Rngs, step: jax.Array) -> LossOutput:
        seen.clear()
        output = level.loss(params, batch, rngs, step)
        spread = hidden_spread(*seen[-1]) if seen else {}
        seen.clear()
        return output._replace(metrics={**output.metrics, **spread})

    return level._replace(loss=loss)
