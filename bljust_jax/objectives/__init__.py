"""Objective name -> `Level`: audio in, `LossOutput` out, through the shared encoder and the level's own head.

Every loss is a mean over its natural unit, so that γ means the same in every batch: nats per label for CTC, attention
decoders and both together, per masked frame and codebook for BEST-RQ, per predicted frame for CPC, per frame for
distillation.
"""

from collections.abc import Callable

from bljust_jax.errors import UserError
from bljust_jax.objectives.attention import attention_level, hybrid_level
from bljust_jax.objectives.best_rq import best_rq_level
from bljust_jax.objectives.cpc import cpc_level
from bljust_jax.objectives.ctc import ctc_level
from bljust_jax.objectives.distillation import distillation_level
from bljust_jax.objectives.setup import Setup
from bljust_jax.types import Level

__all__ = ['DISTILLATION', 'SUPERVISED', 'TAUGHT', 'UNSUPERVISED', 'MakeLevel', 'Setup', 'make_level']

MakeLevel = Callable[[Setup], Level]
SUPERVISED: dict[str, MakeLevel] = {
    'ctc': ctc_level,
    'attention': attention_level,
    'hybrid': hybrid_level,
}
UNSUPERVISED: dict[str, MakeLevel] = {'best_rq': best_rq_level, 'cpc': cpc_level}
DISTILLATION: dict[str, MakeLevel] = {'distillation': distillation_level}
TAUGHT = frozenset({'distillation'})  # those with a teacher


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
    return objectives[objective](setup)
